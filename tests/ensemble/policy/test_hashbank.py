from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from livewarden_ensemble.decode import fit_frame
from livewarden_ensemble.policy.hashbank import MAX_DISTANCE, BankMatcher, hash_image, read_hash


@pytest.fixture(scope="module")
def view() -> np.ndarray:
    """A photograph as the encoders see it."""
    return fit_frame(np.ascontiguousarray(skimage.data.astronaut()))


@pytest.fixture(scope="module")
def digest(view: np.ndarray) -> bytes:
    return hash_image(view)[0]


def flip(digest: bytes, bits: int) -> bytes:
    number = int.from_bytes(digest, "big") ^ ((1 << bits) - 1)
    return number.to_bytes(32, "big")


def slow_distance(one: bytes, other: bytes) -> int:
    return sum(a != b for a, b in zip(spell_bits(one), spell_bits(other), strict=True))


def spell_bits(digest: bytes) -> str:
    return f"{int.from_bytes(digest, 'big'):0256b}"


@pytest.mark.parametrize("bits", [0, 1, 31, 64, 65])
def test_the_nearest_entry_is_found(bits: int, view: np.ndarray, digest: bytes) -> None:
    """The distance is the number of bits that differ; what is far away is no hit at all."""
    other = bytes(byte ^ 0xFF for byte in digest)
    hits = BankMatcher({"known": [other, flip(digest, bits)]}).search([view], [3])
    if bits > MAX_DISTANCE:
        assert hits == ()
    else:
        (hit,) = hits
        assert (hit.name, hit.frame, hit.entry, hit.distance) == ("known", 3, 1, bits)
        assert hit.quality > 50


def test_distances_are_those_of_a_slow_count(view: np.ndarray, digest: bytes) -> None:
    """The table of bits counts as Python does."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        noise = np.packbits(rng.random(256) < 0.1).tobytes()
        near = bytes(one ^ other for one, other in zip(digest, noise, strict=True))
        (hit,) = BankMatcher({"known": [near]}).search([view], [0])
        assert hit.distance == slow_distance(near, digest)


def test_a_whole_picture_is_near_its_squashed_view(view: np.ndarray) -> None:
    """A bank made of whole images matches the 224x224 views, also after JPEG and scaling."""
    whole = skimage.data.astronaut()
    small = np.asarray(Image.fromarray(whole).resize((300, 200), Image.Resampling.LANCZOS))
    for image in (whole, small):
        bank = BankMatcher({"known": [hash_image(np.ascontiguousarray(image))[0]]})
        (hit,) = bank.search([view], [0])
        assert hit.distance <= 31


def test_another_picture_is_far(digest: bytes) -> None:
    """Two photographs are no match."""
    other = fit_frame(np.ascontiguousarray(skimage.data.coffee()))
    hits = BankMatcher({"known": [digest]}).search([other], [0])
    assert all(hit.distance > 31 for hit in hits)


def test_a_flat_picture_has_no_quality() -> None:
    """What shows nothing has a quality that every sensible gate keeps out."""
    assert hash_image(np.full((224, 224, 3), 127, np.uint8))[1] == 0


def test_the_pick_depends_on_bank_and_entry_alone(view: np.ndarray, digest: bytes) -> None:
    """Copies of one image are picked alike, and banks are independent of each other."""
    near = flip(digest, 3)
    picks = {
        name: BankMatcher({name: [near]}).search([view], [0])[0].pick for name in ("a", "b", "c")
    }
    copy = np.roll(view, 3, axis=1)
    assert hash_image(copy)[0] != digest
    again = BankMatcher({"a": [near]}).search([copy], [5])[0].pick
    assert again == picks["a"]
    assert len(set(picks.values())) == 3
    assert all(0 <= pick < 1 for pick in picks.values())


@pytest.mark.parametrize("text", ["", "f" * 63, "f" * 65, "g" * 64, "ff " * 21 + "f"])
def test_what_is_no_hash_is_refused(text: str) -> None:
    """64 hexadecimal digits, and nothing else."""
    with pytest.raises(ValueError, match="no PDQ hash"):
        read_hash(text)


def test_an_empty_bank_set_is_false_and_free() -> None:
    """Without a bank nothing is hashed."""
    matcher = BankMatcher({})
    assert not matcher
    assert matcher.search([np.zeros((1, 1, 3), np.uint8)], [0]) == ()
