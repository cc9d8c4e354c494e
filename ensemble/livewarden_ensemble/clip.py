"""One clip on its way through the pipeline: what came in, and what is known of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import MAX_FRAME_BYTES, MAX_FRAMES, MAX_TEXTS, MODALITIES
from livewarden_ensemble.context import Context, parse_context
from livewarden_ensemble.coverage import (
    SEEN_FRAME,
    SEEN_TEXT,
    WHOLE_FRAME,
    WHOLE_TEXT,
    FrameState,
    TextState,
)
from livewarden_ensemble.duplicate import find_stand_ins
from livewarden_ensemble.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from livewarden_ensemble.fuse import ClipScores


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RawClip:
    """A clip as it came over the wire. `frames_rgb` is uint8 [T, H, W, 3], instead of `frames`.

    `trace` is the caller's trace context: W3C headers, as they came beside the request.
    """

    context: bytes
    frames: Sequence[bytes] = ()
    texts: Sequence[bytes] = ()
    frames_rgb: NDArray[np.uint8] | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def frame_count(self) -> int:
        """T, in whichever form the frames came."""
        return len(self.frames) if self.frames_rgb is None else len(self.frames_rgb)

    def __repr__(self) -> str:
        return f"RawClip(<{self.frame_count} frames>, <{len(self.texts)} texts>)"


@dataclass(slots=True, repr=False, eq=False)
class ClipWork:
    """What the stages have found out about one clip; each stage fills in its part.

    `views` are the decoded images, `view_frames` the frame that each shows, and `stand_ins` the
    view whose encoding each takes; `window_texts` names the text that each token window belongs
    to. `failed` maps a stage to what failed it.
    """

    raw: RawClip
    context: Context
    frame_states: list[FrameState]
    text_states: list[TextState]
    views: list[NDArray[np.uint8]] = field(default_factory=list)
    view_frames: list[int] = field(default_factory=list)
    stand_ins: list[int] = field(default_factory=list)
    window_texts: list[int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    scores: ClipScores | None = None
    expired: bool = False

    def __repr__(self) -> str:
        return f"ClipWork({self.raw!r})"

    def expire(self) -> None:
        """Give up on all that is not scored yet, because it would come too late."""
        self.expired = True
        self.frame_states = [
            FrameState.LATE if state in SEEN_FRAME else state for state in self.frame_states
        ]
        self.text_states = [
            TextState.LATE if state in SEEN_TEXT else state for state in self.text_states
        ]
        self.views, self.view_frames, self.stand_ins, self.window_texts = [], [], [], []

    def show(self, frame: int, views: Sequence[NDArray[np.uint8]]) -> None:
        """Add the views of the next frame."""
        self.stand_ins.extend(range(len(self.views), len(self.views) + len(views)))
        self.views.extend(views)
        self.view_frames.extend([frame] * len(views))

    def fold(self) -> None:
        """Let near-duplicates take an earlier view's encoding, and say which frames did."""
        self.stand_ins = find_stand_ins(self.views)
        own = {
            frame
            for view, (frame, other) in enumerate(
                zip(self.view_frames, self.stand_ins, strict=True)
            )
            if view == other
        }
        for frame in set(self.view_frames) - own:
            if self.frame_states[frame] is FrameState.OK:
                self.frame_states[frame] = FrameState.REUSED

    def list_modalities(self) -> set[str]:
        """The modalities that the scores rest on; none where nothing was scored."""
        if self.scores is None:
            return set()
        kinds: set[str] = {self.context.texts[index].kind for index in self.window_texts}
        return kinds | {"visual"} if self.view_frames else kinds

    def report_coverage(self, unsupported: tuple[str, ...]) -> Coverage:
        """Report what was sent, decoded and scored, once every stage has had its turn.

        What should have been seen and is in no score is unscored, whichever stage lost it.
        """
        shown, read = set(self.view_frames), set(self.window_texts)
        blind = self.scores is None
        frames = [
            FrameState.UNSCORED if state in SEEN_FRAME and (blind or index not in shown) else state
            for index, state in enumerate(self.frame_states)
        ]
        texts = [
            TextState.UNSCORED if state in SEEN_TEXT and (blind or index not in read) else state
            for index, state in enumerate(self.text_states)
        ]
        kinds = {info.kind for info in self.context.texts}
        sent = {"visual"} if self.raw.frame_count else set()
        return Coverage(
            frames=ModalityCoverage(
                sent=len(frames),
                decoded=len(shown),
                scored=sum(state in SEEN_FRAME for state in frames),
                states=_list_states(frames),
            ),
            texts=ModalityCoverage(
                sent=len(texts),
                decoded=len(read),
                scored=sum(state in SEEN_TEXT for state in texts),
                states=_list_states(texts),
            ),
            missing=tuple(name for name in MODALITIES if name not in sent | kinds),
            failed=dict(self.failed),
            unsupported_labels=unsupported,
            degraded=not (WHOLE_FRAME.issuperset(frames) and WHOLE_TEXT.issuperset(texts)),
        )


def _list_states(states: Sequence[FrameState | TextState]) -> dict[str, tuple[int, ...]]:
    """Map every state but `ok` to the indices of the items in it."""
    return {
        state.value: tuple(index for index, other in enumerate(states) if other is state)
        for state in dict.fromkeys(states)
        if state.value != "ok"
    }


def read_clip(raw: RawClip) -> ClipWork:
    """Parse the clip's context and check every count, before anything is decoded.

    Raises MalformedRequest, naming the field, for a request that breaks the contract.
    """
    context = parse_context(raw.context)
    if raw.frames_rgb is not None:
        _check_pixels(raw.frames_rgb, raw.frames)
    for name, count, most in (
        ("/frames" if raw.frames_rgb is None else "/frames_rgb", raw.frame_count, MAX_FRAMES),
        ("/texts", len(raw.texts), MAX_TEXTS),
    ):
        if count > most:
            raise MalformedRequest(name, f"holds {count} items; at most {most} are accepted")
    if context.frame_ts_ms and len(context.frame_ts_ms) != raw.frame_count:
        raise MalformedRequest(
            "/context/frame_ts_ms",
            f"holds {len(context.frame_ts_ms)} times for {raw.frame_count} frames",
        )
    if len(context.texts) != len(raw.texts):
        raise MalformedRequest(
            "/context/texts",
            f"describes {len(context.texts)} texts, but {len(raw.texts)} were sent",
        )
    return ClipWork(
        raw,
        context,
        frame_states=[FrameState.OK] * raw.frame_count,
        text_states=[TextState.OK] * len(raw.texts),
    )


def _check_pixels(rgb: NDArray[np.uint8], frames: Sequence[bytes]) -> None:
    if len(frames):
        raise MalformedRequest("/frames_rgb", "is given beside frames; send one of the two")
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3:  # noqa: PLR2004 - [T, H, W, 3]
        raise MalformedRequest(
            "/frames_rgb", f"is {rgb.dtype} {list(rgb.shape)}; it must be uint8 [T, H, W, 3]"
        )
    if len(rgb) and not 0 < rgb[0].size <= MAX_FRAME_BYTES:
        raise MalformedRequest(
            "/frames_rgb",
            f"holds frames of {rgb[0].size} bytes; 1 to {MAX_FRAME_BYTES} are accepted",
        )
