"""ONNX Runtime and Pillow: the first thing that comes to mind."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from scorer import OUTPUTS, Tensors

_SIDE = (224, 224)

cv2.setNumThreads(1)


class OnnxEngine:
    """The ONNX files of a bundle, in fp32; `parallel` calls at a time share `threads`."""

    def __init__(self, bundle: Path, threads: int, parallel: int) -> None:
        options = onnxruntime.SessionOptions()
        # With one thread a call computes in the caller's own.
        options.intra_op_num_threads = max(1, threads // parallel)
        options.inter_op_num_threads = 1
        self._sessions = {
            leaf: onnxruntime.InferenceSession(
                bundle / "leaves" / leaf / "model.onnx",
                options,
                providers=["CPUExecutionProvider"],
            )
            for leaf in OUTPUTS
        }

    def run(self, leaf: str, inputs: Tensors) -> Tensors:
        """The outputs of model `leaf` that OUTPUTS names."""
        rows = len(next(iter(inputs.values())))
        feed = {**inputs, "nonce": np.zeros((rows, 1), np.int64)}
        names = OUTPUTS[leaf]
        return dict(zip(names, self._sessions[leaf].run(names, feed), strict=True))

    def decode(self, jpeg: bytes) -> NDArray[np.uint8]:
        """A picture as RGB [224, 224, 3], decoded at half size where that is large enough."""
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("RGB", _SIDE)
            rgb = np.asarray(image.convert("RGB"))
        # Pillow's own filters give other pixels, and with them scores that differ by up to 0.2.
        return np.asarray(cv2.resize(rgb, _SIDE, interpolation=cv2.INTER_AREA), np.uint8)
