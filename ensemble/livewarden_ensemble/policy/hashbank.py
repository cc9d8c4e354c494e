"""Hash banks: frames near known images, by PDQ (perceptual hash of 256 bits, by Meta).

PDQ is taken of the 224x224 view that the encoders see, squashed as it is. PDQ itself scales every
image down to 64x64 first, so a bank made from whole images differs from it by a few bits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_ensemble.policy.hit import HashHit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

HASH_BYTES: Final = 32
# Wider than any bank may ask for, so that a record can be replayed with a wider gate.
MAX_DISTANCE: Final = 64
_BITS: Final = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def read_hash(text: str) -> bytes:
    """Read one PDQ hash, 64 hexadecimal digits; ValueError for anything else."""
    try:
        read = bytes.fromhex(text)
    except ValueError:
        read = b""
    if len(read) != HASH_BYTES or len(text) != 2 * HASH_BYTES:
        raise ValueError("is no PDQ hash: 64 hexadecimal digits")
    return read


def hash_image(image: NDArray[np.uint8]) -> tuple[bytes, int]:
    """PDQ of an RGB image [H, W, 3]: its hash and its quality, 0 to 100."""
    import pdqhash  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; few need it

    bits, quality = pdqhash.compute(image)
    return np.packbits(bits.astype(np.uint8)).tobytes(), int(quality)


class BankMatcher:
    """All hash banks of a policy. Safe to use from several threads."""

    def __init__(self, banks: Mapping[str, Sequence[bytes]]) -> None:
        self._banks = {
            name: np.frombuffer(b"".join(hashes), np.uint16).reshape(len(hashes), HASH_BYTES // 2)
            for name, hashes in banks.items()
        }

    def __bool__(self) -> bool:
        return bool(self._banks)

    def sizes(self) -> Mapping[str, int]:
        """How many hashes each bank holds."""
        return {name: len(bank) for name, bank in self._banks.items()}

    def search(
        self, views: Sequence[NDArray[np.uint8]], frames: Sequence[int]
    ) -> tuple[HashHit, ...]:
        """Find each bank's entry nearest to each view; `frames` names the frame of each view."""
        if not self._banks:
            return ()
        hits = []
        for view, frame in zip(views, frames, strict=True):
            digest, quality = hash_image(view)
            for name, bank in self._banks.items():
                if len(bank):
                    hits.append(_find_nearest(name, bank, frame, digest, quality))
        return tuple(hit for hit in hits if hit.distance <= MAX_DISTANCE)


def _find_nearest(
    name: str, bank: NDArray[np.uint16], frame: int, digest: bytes, quality: int
) -> HashHit:
    distances = _BITS[bank ^ np.frombuffer(digest, np.uint16)].sum(1, dtype=np.uint16)
    entry = int(distances.argmin())
    # By the bank's entry, not the frame's own hash: all copies of one image are picked alike.
    pick = hashlib.blake2b(name.encode() + b"\0" + bank[entry].tobytes(), digest_size=8).digest()
    return HashHit(
        name=name,
        frame=frame,
        entry=entry,
        distance=int(distances[entry]),
        quality=quality,
        pick=int.from_bytes(pick, "big") / 2**64,
    )
