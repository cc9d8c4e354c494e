from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from livewarden_ensemble.duplicate import CELL, MAX_AGE, PEAK, find_stand_ins, is_near

SIDE = 224


@pytest.fixture
def scene() -> np.ndarray:
    """A picture with soft and hard edges and every brightness away from black and white."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = 128 + 60 * np.sin(x / 17) * np.cos(y / 23) + 30 * ((x // 32 + y // 32) % 2)
    return np.repeat(np.clip(waves, 40, 215).astype(np.uint8)[..., None], 3, axis=2)


def add_noise(view: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, view.shape)
    return np.clip(np.rint(view + np.clip(noise, -15, 15)), 0, 255).astype(np.uint8)


def measure(view: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The slow obvious reference: peak and worst cell."""
    difference = view.astype(np.float64) - other
    cells = (difference**2).reshape(28, 8, 28, 8, 3).mean(axis=(1, 3))
    return float(np.abs(difference).max()), float(np.sqrt(cells.max()))


def test_a_still_scene_with_noise_is_encoded_once(scene: np.ndarray) -> None:
    """What a sensor adds to a scene that does not move is no change."""
    views = [add_noise(scene, 2.0, seed) for seed in range(8)]
    assert find_stand_ins(views) == [0] * 8


@pytest.mark.parametrize("seed", range(20))
def test_both_bounds_are_what_they_say(scene: np.ndarray, seed: int) -> None:
    """The fast way agrees with the definition on changes around both bounds."""
    random = np.random.default_rng(seed)
    other = scene.copy()
    top, left = random.integers(0, SIDE - 16, 2)
    size, height = random.integers(1, 16), random.integers(1, 40)
    part = other[top : top + size, left : left + size]
    part[..., random.integers(0, 3)] += np.uint8(height)
    peak, cell = measure(scene, other)
    assert is_near(scene, other) == (peak <= PEAK and cell <= CELL)
    assert is_near(other, scene) == is_near(scene, other)


@pytest.mark.parametrize("place", [(0, 0), (100, 100), (219, 219), (3, 117)])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_small_pasted_region_is_a_change(
    scene: np.ndarray, place: tuple[int, int], size: int
) -> None:
    """One pixel of a view in another colour is enough, wherever it stands, noise or not."""
    other = add_noise(scene, 1.0)
    top, left = place
    other[top : top + size, left : left + size] = (255, 0, 0)
    assert not is_near(scene, other)


@pytest.mark.parametrize("thickness", [1, 2])
def test_faint_writing_is_a_change(scene: np.ndarray, thickness: int) -> None:
    """Letters that stand out by a tenth of the range are seen by a viewer, and so here."""
    ink = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(ink, "go here", (20, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 25, thickness)
    assert not is_near(scene, scene + ink[..., None])


def test_a_wide_faint_change_is_a_change(scene: np.ndarray) -> None:
    """A pattern far below the peak counts through the cells it fills."""
    other = scene.copy()
    other[64:128, 64:128] += 7
    assert not is_near(scene, other)


def test_a_mean_would_not_do(scene: np.ndarray) -> None:
    """The smallest edit that counts moves the mean of the view by less than noise does."""
    other = scene.copy()
    other[10, 10, 0] += PEAK + 1
    assert not is_near(scene, other)
    noisy = add_noise(scene, 2.0)
    assert (
        np.abs(scene.astype(int) - noisy).mean() > 1000 * np.abs(scene.astype(int) - other).mean()
    )
    assert is_near(scene, noisy)


def test_slow_changes_add_up(scene: np.ndarray) -> None:
    """Each view is near the one before, but they are compared with the one that was encoded."""
    views = [scene + np.uint8(2 * step) for step in range(8)]
    assert all(is_near(a, b) for a, b in itertools.pairwise(views))
    assert find_stand_ins(views) == [0, 0, 0, 0, 4, 4, 4, 4]


def test_a_still_scene_is_looked_at_anew(scene: np.ndarray) -> None:
    """No view stands for more than MAX_AGE later ones, not even for the same pixels."""
    assert find_stand_ins([scene] * 40) == [place - place % (MAX_AGE + 1) for place in range(40)]


def test_one_changed_view_stands_for_itself(scene: np.ndarray) -> None:
    """A bad frame between still ones is encoded, and so is the one behind it."""
    bad = scene.copy()
    bad[50:60, 50:60] = 0
    assert find_stand_ins([scene, scene, bad, scene, scene]) == [0, 0, 2, 3, 3]
    assert find_stand_ins([]) == []
