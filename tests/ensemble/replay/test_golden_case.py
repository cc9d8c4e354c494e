from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from livewarden_client.wire import LABELS, MODALITIES, TAXONOMY_VERSION
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.golden_case import CaseResult, run_cases
from livewarden_ensemble.golden_clip import GivenClip, cover_clip, score_clip

ROOT = Path(__file__).parents[3]

POLICY: dict[str, Any] = {
    "policy": {"id": "small", "version": "1", "taxonomy": TAXONOMY_VERSION},
    "defaults": {
        "thresholds": {"review": 0.6, "restrict": 0.8, "block": 0.95},
        "confirm": {"hits": 2, "of": 4, "within": "30s", "needed_for": "restrict"},
    },
    "labels": {},
    "blocklists": {
        "words": {"label": "hate", "mode": "evidence", "phrases": ["forbidden word"]},
    },
    "surfaces": {"kids": {"defaults": {"thresholds": {"review": 0.3}}}},
}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run cases under a small policy; each is given as Python data."""

    def run_given(*cases: dict[str, Any], **file: Any) -> list[CaseResult]:
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(POLICY, sort_keys=False))
        path = tmp_path / "cases.yaml"
        given = {"policy": "small.yaml", "cases": list(cases)} | file
        path.write_text(yaml.safe_dump(given, sort_keys=False))
        return run_cases(path)

    return run_given


def find_faults(run: Any, **case: Any) -> tuple[str, ...]:
    (result,) = run({"name": "one", **case})
    return result.faults


def test_cases_of_the_default_policy_hold() -> None:
    """The policy that ships says what its own cases expect."""
    results = run_cases(ROOT / "policies/default.cases.yaml")
    assert len(results) >= 6
    assert [result.faults for result in results if result.faults] == []


def test_cases_of_the_docs_hold(tmp_path: Path) -> None:
    """The example in docs/policy-commands.md runs as it stands, under the default policy."""
    page = (ROOT / "docs/policy-commands.md").read_text()
    (example,) = re.findall(r"```yaml\n(policy: .*?)```", page, re.DOTALL)
    path = tmp_path / "cases.yaml"
    path.write_text(example)
    results = run_cases(path, ROOT / "policies/default.yaml")
    assert [result.faults for result in results] == [(), ()]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"expect": "block"}, "the action is allow, not block (reasons: none)"),
        (
            {"scores": {"hate": 0.7}, "expect": {"action": "review", "label": "weapons"}},
            "the label is hate, not weapons",
        ),
        (
            {"scores": {"hate": 0.7}, "expect": {"action": "review", "label": None}},
            "the label is hate, not None",
        ),
        (
            {"scores": {"hate": 0.7}, "expect": {"action": "review", "reasons": ["hate.other"]}},
            "the reason hate.other is missing (reasons: hate.score>=review)",
        ),
        (
            {
                "scores": {"hate": 0.7},
                "expect": {"action": "review", "absent": ["hate.score>=review"]},
            },
            "the reason hate.score>=review is there",
        ),
        ({"expect": {"action": "allow", "review": True}}, "a person is not asked to look"),
        (
            {"expect": {"action": "allow", "visibility": ["blur"]}},
            "the visibility is not limited, not blur",
        ),
    ],
)
def test_what_comes_out_otherwise_is_told(run: Any, case: dict[str, Any], said: str) -> None:
    """Each part of an expectation that does not hold is one fault, in words."""
    assert find_faults(run, **case) == (said,)


@pytest.mark.parametrize(
    "case",
    [
        {"expect": "allow"},
        {"expect": {"action": "allow", "label": None, "review": False, "visibility": []}},
        {"scores": {"hate": {"chat": 0.7}}, "expect": {"action": "review", "label": "hate"}},
        {"scores": {"hate": 0.4}, "expect": "allow"},
        {"scores": {"hate": 0.4}, "surface": "kids", "expect": "review"},
        {"states": {"frames": "corrupt"}, "expect": "review"},
        {"states": {"chat": {"late": 1}}, "expect": "review"},
        {"failed": {"vision_encoder": "timeout"}, "expect": "review"},
        {
            "texts": [{"kind": "chat", "text": "a forbidden word"}],
            "expect": {"action": "review", "reasons": ["list.words.hit"]},
        },
        {
            "clips": [
                {"scores": {"hate": 0.85}, "expect": "review"},
                {"scores": {"hate": 0.85}, "expect": "restrict"},
            ]
        },
        {
            "clips": [
                {"scores": {"hate": 0.85}, "expect": "review"},
                {"at": "5m", "scores": {"hate": 0.85}, "expect": "review"},
            ]
        },
    ],
)
def test_cases_that_hold_have_no_fault(run: Any, case: dict[str, Any]) -> None:
    """Scores, places, gaps, texts and times of a case reach the policy."""
    assert find_faults(run, **case) == ()


def test_fault_names_the_clip_and_the_line(run: Any) -> None:
    """A case of several clips says which of them came out otherwise, and where it stands."""
    results = run(
        {"name": "first", "expect": "allow"},
        {"name": "second", "clips": [{"expect": "allow"}, {"expect": "block"}]},
    )
    assert [(r.name, r.line, r.clips, len(r.faults)) for r in results] == [
        ("first", 3, 1, 0),
        ("second", 5, 2, 1),
    ]
    assert results[1].faults[0].startswith("clip 1: the action is allow")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"expects": "allow"}, "cases[0].expects: is no key here; did you mean 'expect'?"),
        ({}, "cases[0]: needs either `clips` or `expect`"),
        ({"expect": "allow", "clips": [{"expect": "allow"}]}, "needs either `clips` or `expect`"),
        ({"clips": [{}]}, "cases[0].clips[0]: lacks the key 'expect'"),
        ({"expect": "alow"}, "cases[0].expect"),
        ({"expect": "allow", "scores": {"hatr": 1}}, "is no label; did you mean 'hate'?"),
        ({"expect": "allow", "scores": {"hate": 2}}, "cases[0].scores.hate"),
        (
            {"expect": "allow", "scores": {"hate": {"picture": 1}}},
            "cases[0].scores.hate.picture: is no modality; there are: asr",
        ),
        (
            {"expect": "allow", "states": {"frames": "corupt"}},
            "cases[0].states.frames: is no state; did you mean 'corrupt'?",
        ),
        ({"expect": "allow", "at": "soon"}, "cases[0].at"),
    ],
)
def test_bad_case_is_refused_with_its_place(run: Any, case: dict[str, Any], said: str) -> None:
    """A mistake in the file of cases is told with file, line and key."""
    with pytest.raises(PolicyInvalid) as caught:
        run({"name": "one", **case})
    assert said in str(caught.value)
    assert "cases.yaml:" in str(caught.value)


def test_bad_file_is_refused(run: Any, tmp_path: Path) -> None:
    """A file without cases, policy, calendar day or existence is refused."""
    good = {"name": "one", "expect": "allow"}
    for file, said in (
        ({"policy": None}, "names no policy, and none was given"),
        ({"start": "2026-02-30"}, "start: 2026-02-30 is no day"),
        ({"cases": []}, "cases"),
    ):
        with pytest.raises(PolicyInvalid, match=said):
            run(good, **file)
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        run_cases(tmp_path / "none.yaml")


def test_whole_clip_is_whole() -> None:
    """A clip that says nothing else was sent, decoded and scored in every modality."""
    coverage = cover_clip(GivenClip())
    assert (coverage.frames.sent, coverage.frames.scored, coverage.texts.scored) == (4, 4, 4)
    assert (coverage.missing, coverage.degraded) == ((), False)


def test_states_lower_coverage() -> None:
    """Items in a state other than ok are listed; only those that no model saw are not scored."""
    clip = msgspec.convert(
        {"states": {"frames": {"corrupt": 2, "animated": 1}, "chat": "truncated"}}, GivenClip
    )
    coverage = cover_clip(clip)
    assert coverage.frames.states == {"corrupt": (0, 1), "animated": (2,)}
    assert (coverage.frames.scored, coverage.texts.scored) == (2, 4)
    assert coverage.texts.states == {"truncated": (1,)}
    assert coverage.degraded


def test_what_was_not_sent_is_missing_and_has_no_score() -> None:
    """A modality that was left out is missing, and its scores are 0."""
    clip = msgspec.convert(
        {"frames": 0, "texts": [{"kind": "chat"}], "scores": {"hate": 0.5}}, GivenClip
    )
    coverage = cover_clip(clip)
    assert coverage.missing == ("visual", "title", "asr", "ocr")
    scores = score_clip(clip, coverage)
    assert scores is not None
    assert scores.joint[LABELS.index("hate")] == 0.5
    assert scores.modality[:, LABELS.index("hate")].tolist() == [0, 0, 0.5, 0, 0]
    assert scores.present == tuple(name == "chat" for name in MODALITIES)


def test_nothing_scored_has_no_scores() -> None:
    """A clip that no model answered for, or that is empty, has no scores."""
    for clip in (GivenClip(scored=False), GivenClip(frames=0, texts=())):
        assert score_clip(clip, cover_clip(clip)) is None
