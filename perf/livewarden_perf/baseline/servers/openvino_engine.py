"""OpenVINO and simplejpeg, in the precision that the models were exported for."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import simplejpeg
from numpy.typing import NDArray
from scorer import OUTPUTS, Tensors

_SIDE = 224

cv2.setNumThreads(1)


class OpenVinoEngine:
    """The IR of the models `leaves` of a bundle; `parallel` calls at a time share `threads`.

    A call in parallel has a stream of its own, which is OpenVINO's way to throughput.
    """

    def __init__(self, bundle: Path, threads: int, parallel: int, leaves: tuple[str, ...]) -> None:
        core = ov.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        proven = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["precision"]
        self._compiled = {
            leaf: core.compile_model(
                bundle / "leaves" / leaf / "openvino" / "model.xml",
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": proven[leaf] if native else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": parallel,
                },
            )
            for leaf in leaves
        }
        self._own = threading.local()

    def run(self, leaf: str, inputs: Tensors) -> Tensors:
        """The outputs of model `leaf` that OUTPUTS names."""
        # A request serves one call at a time: each thread has its own.
        requests = self._own.__dict__
        if leaf not in requests:
            requests[leaf] = self._compiled[leaf].create_infer_request()
        rows = len(next(iter(inputs.values())))
        # INT64 [1] is INT32 [2] in the IR.
        feed = {**inputs, "nonce": np.zeros((rows, 2), np.int32)}
        result = requests[leaf].infer(feed, share_inputs=True, share_outputs=False)
        return {name: result[name] for name in OUTPUTS[leaf]}

    def decode(self, jpeg: bytes) -> NDArray[np.uint8]:
        """A picture as RGB [224, 224, 3], decoded at half size where that is large enough."""
        height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
        scale = next(n for n in (8, 4, 2, 1) if n == 1 or min(height, width) >= n * _SIDE)
        rgb = simplejpeg.decode_jpeg(
            jpeg, min_height=-(-height // scale), min_width=-(-width // scale), min_factor=1
        )
        return np.asarray(cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
