from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_ensemble.policy import Policy, load_policy
from livewarden_ensemble.recording import Recording, write_recording
from livewarden_ensemble.watch.again import decide_again, read_stream, searches_content

ROOT = Path(__file__).parents[3]
SCORES = st.lists(
    st.dictionaries(st.sampled_from(["hate", "scam_spam"]), st.floats(0, 1), max_size=2),
    min_size=1,
    max_size=10,
)


@functools.cache
def patient() -> Policy:
    """Another policy, with another memory. No fixture: hypothesis would print all of it."""
    return load_policy(ROOT / "examples" / "watch" / "patient.yaml")


@settings(max_examples=40, deadline=None)
@given(scores=SCORES)
def test_deciding_again_is_deciding(scores: list[dict[str, float]], make_moments: Callable) -> None:
    """From the records of one policy comes, clip for clip, what the other says of the stream."""
    moments, recordings = make_moments(scores)
    asked, _ = make_moments(scores, by=patient())
    again = decide_again(moments, recordings, patient())
    for mine, theirs in zip(again, asked, strict=True):
        same = replace(mine.verdict, evidence=theirs.verdict.evidence)
        assert same == theirs.verdict


def test_a_clip_without_a_record_keeps_the_clients_verdict(make_moments: Callable) -> None:
    """Where no server decided, there is nothing to decide again; the memory goes on after it."""
    moments, recordings = make_moments([{"hate": 0.99}] * 3)
    del recordings[2]
    again = decide_again(moments, recordings, patient())
    assert again[1] == moments[1]
    assert again[2].verdict.provenance.policy.id == "patient"


def test_of_a_clip_that_was_sent_twice_the_later_record_counts(
    tmp_path: Path, make_moments: Callable
) -> None:
    """A retry leaves two records; records of other streams are passed over."""
    first, second = make_moments([{"hate": 0.1}, {"hate": 0.2}])[1].values()
    retried = replace_seq(second, 1)
    (tmp_path / "a.jsonl").write_bytes(write_recording(first) + write_recording(retried))
    assert read_stream(tmp_path) == {1: retried}


def replace_seq(recording: Recording, seq: int) -> Recording:
    context = msgspec.structs.replace(recording.context, clip_seq=seq)
    return msgspec.structs.replace(recording, context=context)


def test_a_policy_with_a_list_needs_the_content(tmp_path: Path, policy: Policy) -> None:
    """Lists of the policy itself count, and lists of one that it only tries out."""
    (tmp_path / "words.txt").write_text("forbidden\n")
    text = (ROOT / "examples" / "watch" / "patient.yaml").read_text()
    listed = tmp_path / "listed.yaml"
    listed.write_text(
        text + "\nblocklists:\n  words: { file: words.txt, mode: evidence, label: hate }\n"
    )
    trying = tmp_path / "trying.yaml"
    trying.write_text(
        text.replace("id: patient", "id: trying") + "\nshadow:\n  - { file: listed.yaml }\n"
    )
    assert not searches_content(policy)
    assert searches_content(load_policy(listed))
    assert searches_content(load_policy(trying))
