"""Sampling: clips that people look at although no rule asks for it, drawn without chance.

A draw is a keyed hash of the clip's name, so the same clip is always drawn alike, and nobody can
name clips so that they are not drawn without knowing the policy's salt.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_client.verdict import LabelVerdict
    from livewarden_ensemble.context import Context
    from livewarden_ensemble.policy.rule import Sampling


def name_clip(context: Context, joint: Sequence[float]) -> bytes:
    """What a draw depends on: the clip's place in its stream, its request, or else its scores."""
    if context.stream_id:
        return f"clip\0{context.stream_id}\0{context.clip_seq}".encode(errors="surrogatepass")
    if context.request_id:
        return f"request\0{context.request_id}".encode(errors="surrogatepass")
    return repr(joint).encode()


def draw(salt: str, purpose: str, clip: bytes) -> float:
    """Draw a number in [0, 1) for one clip and one purpose."""
    keyed = hashlib.blake2b(
        purpose.encode() + b"\0" + clip,
        digest_size=8,
        key=hashlib.blake2b(salt.encode(errors="surrogatepass")).digest(),
    )
    return int.from_bytes(keyed.digest(), "big") / 2**64


def sample_clip(sampling: Sampling, labels: Sequence[LabelVerdict], clip: bytes) -> list[str]:
    """Say for which samples the clip is drawn."""
    shares = {"random": sampling.random}
    if (
        sampling.band
        and sampling.band_share
        and any(
            label.state not in ("off", "shadow") and _is_near(label, sampling.band)
            for label in labels
        )
    ):
        shares["near_threshold"] = sampling.band_share
    if sampling.strata:
        scores = {label.id: label.score for label in labels}
        for stratum in sampling.strata:
            if stratum.low <= scores.get(stratum.label, -1) < stratum.high:
                shares[f"stratum.{stratum.name}"] = stratum.share
    return [
        f"sample.{purpose}"
        for purpose, share in shares.items()
        if share and draw(sampling.salt, purpose, clip) < share
    ]


def _is_near(label: LabelVerdict, band: float) -> bool:
    at = label.thresholds
    return any(abs(label.score - value) <= band for value in (at.review, at.restrict, at.block))
