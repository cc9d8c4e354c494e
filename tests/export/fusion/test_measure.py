import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from livewarden_export.fusion.measure import (
    average_precision,
    calibration_error,
    recall_at_false_positives,
    recall_at_precision,
)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed):
    """Average precision agrees with scikit-learn, tied scores included."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 12, 200) / 12
    truth = (generator.random(200) < scores).astype(float)
    assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


def test_average_precision_needs_a_positive():
    """Without a positive there is no figure."""
    assert np.isnan(average_precision(np.array([0.1, 0.2]), np.zeros(2)))


def test_operating_points():
    """Recall at a precision, and at a rate of false positives, by hand."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    truth = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    assert recall_at_precision(scores, truth, 0.75) == 1.0
    assert recall_at_precision(scores, truth, 0.95) == pytest.approx(1 / 3)
    assert recall_at_false_positives(scores, truth, 0.0) == pytest.approx(1 / 3)
    assert recall_at_false_positives(scores, truth, 0.5) == 1.0


def test_calibration_error_by_hand():
    """Two bins, each off by a known gap."""
    scores = np.array([0.15, 0.15, 0.85, 0.85])
    truth = np.array([0.0, 1.0, 1.0, 1.0])
    assert calibration_error(scores, truth) == pytest.approx(0.5 * 0.35 + 0.5 * 0.15)
