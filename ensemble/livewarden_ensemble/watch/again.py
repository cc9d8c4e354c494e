"""Deciding again: a recording's verdicts under another policy, from the scores that it got.

The models run once. That is exact as long as policies look at scores alone; one that searches the
content for lists or hash banks needs the content, which records do not hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from livewarden_client.verdict import PolicyRef
from livewarden_ensemble.record import decide_record
from livewarden_ensemble.recording import read_recordings
from livewarden_ensemble.stream_state import FRESH
from livewarden_ensemble.watch.cut import STREAM_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from livewarden_client.verdict import Verdict
    from livewarden_ensemble.policy import Decision, Policy
    from livewarden_ensemble.recording import Recording
    from livewarden_ensemble.watch.moment import Moment


def searches_content(policy: Policy) -> bool:
    """Whether the policy, or one that it tries out, has a blocklist or a hash bank."""
    return bool(policy.matcher or policy.banks) or any(
        searches_content(shadow) for shadow, _ in policy.shadows
    )


def read_stream(folder: Path) -> dict[int, Recording]:
    """Read what servers recorded of the stream into `folder`, by the numbers of its clips.

    Of a clip that was sent twice, the later record counts. Raises RecordsInvalid.
    """
    return {
        recording.context.clip_seq: recording
        for file in sorted(folder.glob("*.jsonl"))
        for _, recording in read_recordings(file)
        if recording.context.stream_id == STREAM_ID
    }


def decide_again(
    moments: Iterable[Moment], recordings: Mapping[int, Recording], policy: Policy
) -> tuple[Moment, ...]:
    """The moments with the verdicts that `policy` gives, its memory of the stream its own.

    A moment that no server recorded keeps its verdict, which is the client's.
    """
    state, decided = FRESH, []
    for moment in moments:
        recording = recordings.get(moment.number)
        if recording is None:
            decided.append(moment)
            continue
        decision, state = decide_record(recording, state, policy)
        verdict = _replace(moment.verdict, decision, policy)
        decided.append(replace(moment, verdict=verdict, latency_ms=None))
    return tuple(decided)


def _replace(verdict: Verdict, decision: Decision, policy: Policy) -> Verdict:
    models = tuple(item for item in verdict.evidence if item.kind == "model")
    made = replace(
        verdict.provenance,
        policy=PolicyRef(policy.id, policy.version, policy.digest, decision.overrides),
        shadow=decision.shadow,
    )
    return replace(
        verdict,
        action=decision.action,
        label=decision.label,
        reasons=decision.reasons,
        labels=decision.labels,
        evidence=(*decision.evidence, *models),
        visibility=decision.visibility,
        review=decision.review,
        flags=decision.flags,
        cooldown_until_ms=decision.cooldown_until_ms,
        provenance=made,
        state=None,
    )
