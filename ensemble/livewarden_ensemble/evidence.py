"""Evidence: for each label, the frame and the text that speak loudest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livewarden_client.verdict import Evidence
from livewarden_client.wire import LABELS

if TYPE_CHECKING:
    from livewarden_ensemble.clip import ClipWork

# Below this an item says nothing worth a reviewer's time.
FLOOR: Final = 0.2


def find_evidence(work: ClipWork) -> tuple[Evidence, ...]:
    """Find the loudest frame and text of each label that reach FLOOR, strongest first."""
    scores = work.scores
    if scores is None:
        return ()
    found = []
    times = work.context.frame_ts_ms
    for column, label in enumerate(LABELS):
        if work.view_frames:
            view = int(scores.frames[:, column].argmax())
            frame = work.view_frames[view]
            loud = float(scores.frames[view, column])
            ts_ms = times[frame] if times else None
            found.append(Evidence(label, "visual", f"frames[{frame}]", loud, ts_ms=ts_ms))
        if work.window_texts:
            window = int(scores.texts[:, column].argmax())
            text = work.window_texts[window]
            info = work.context.texts[text]
            loud = float(scores.texts[window, column])
            found.append(Evidence(label, info.kind, f"texts[{text}]", loud, ts_ms=info.ts_ms))
    found = [item for item in found if item.score >= FLOOR]
    return tuple(sorted(found, key=lambda item: -item.score))
