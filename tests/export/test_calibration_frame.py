import numpy as np

from livewarden_client.wire import NSFW_ENCODER
from livewarden_export.calibration_frame import load_calibration_batches
from livewarden_export.sample import load_frames


def test_batches_are_an_encoders_inputs():
    """A few hundred frames of the contract's shape and type, every one with its nonce."""
    batches = load_calibration_batches()
    assert sum(len(batch["frame"]) for batch in batches) > 200
    for batch in batches:
        assert set(batch) == {tensor.name for tensor in NSFW_ENCODER.inputs}
        assert batch["frame"].shape[1:] == (224, 224, 3)
        assert batch["frame"].dtype == np.uint8
        assert batch["nonce"].shape == (len(batch["frame"]), 1)


def test_nothing_that_parity_is_measured_on_is_calibrated_on():
    """No calibration frame is one of the proving pictures, nor nearly so."""
    proving = load_frames().astype(np.int16)
    for batch in load_calibration_batches():
        for frame in batch["frame"]:
            assert np.abs(proving - frame).mean(axis=(1, 2, 3)).min() > 5


def test_the_set_is_the_same_every_time():
    """An export is reproducible: the same batches, in the same order."""
    first = load_calibration_batches()
    load_calibration_batches.cache_clear()
    for one, other in zip(first, load_calibration_batches(), strict=True):
        np.testing.assert_array_equal(one["frame"], other["frame"])
