"""The verdict that the client gives by itself where no server gave one: review, never allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livewarden_client.errors import find_remedy
from livewarden_client.verdict import (
    Coverage,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Reason,
    Verdict,
)
from livewarden_client.wire import TAXONOMY_VERSION, WIRE_VERSION

if TYPE_CHECKING:
    from livewarden_client.clip import Clip
    from livewarden_client.errors import ModerationError

# `provenance.server` of such a verdict.
NO_SERVER: Final = "none; the client decided by itself"


def build_fallback(clip: Clip, request_id: str, error: ModerationError, seconds: float) -> Verdict:
    """Build the verdict `review` for a clip whose call ended in `error` after `seconds`.

    The reason's code is `client_` and the error's code. The stream keeps the state that it had.
    """
    code = f"client_{find_remedy(type(error)).code}"
    return Verdict(
        request_id=request_id,
        action="review",
        reasons=(Reason(code, "review", f"No server gave a verdict: {error}."),),
        labels=(),
        evidence=(),
        coverage=Coverage(
            frames=ModalityCoverage(sent=clip.frame_count),
            texts=ModalityCoverage(sent=len(clip.texts)),
            failed={"client": find_remedy(type(error)).code},
            degraded=True,
        ),
        provenance=Provenance(
            bundle="",
            models={},
            calibration="",
            policy=PolicyRef(clip.policy, "", ""),
            taxonomy=TAXONOMY_VERSION,
            wire=WIRE_VERSION,
            server=NO_SERVER,
        ),
        timings_ms={"total": round(1000 * seconds, 3)},
        stream_id=clip.stream_id,
        clip_seq=clip.clip_seq,
        state=clip.state,
        review=(code,),
        pass_through=clip.pass_through,
    )
