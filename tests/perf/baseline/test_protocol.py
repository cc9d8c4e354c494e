import base64
import json

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor

from livewarden_client.clip import Clip, Text
from livewarden_perf.baseline.protocol import Base64Http, EnsembleGrpc, LivewardenGrpc, RawHttp
from livewarden_perf.baseline.servers.clip_body import read_clip

CLIP = Clip((b"jpeg one", b"jpeg two"), (Text("title", "Hello"), Text("asr", "wörld")))


def test_http_bodies_hold_the_clip():
    """Raw or as base64, a baseline reads the same frames, texts and codes of kinds."""
    raw = read_clip(RawHttp("/score").encode(CLIP))
    assert raw.frames == [b"jpeg one", b"jpeg two"]
    assert (raw.texts, raw.kinds) == (["Hello", "wörld"], [1, 3])
    (body,) = json.loads(Base64Http("/score").encode(CLIP))["clips"]
    assert read_clip(base64.b64decode(body)) == raw


def test_grpc_requests_hold_the_clip():
    """Livewarden's inputs have a batch axis, the ensemble's have none."""
    own = service_pb2.ModelInferRequest.FromString(LivewardenGrpc().encode(CLIP))
    plain = service_pb2.ModelInferRequest.FromString(EnsembleGrpc().encode(CLIP))
    assert [(tensor.name, list(tensor.shape)) for tensor in own.inputs] == [
        ("frames", [1, 2]),
        ("texts", [1, 2]),
        ("context", [1, 1]),
    ]
    assert [(tensor.name, list(tensor.shape)) for tensor in plain.inputs] == [
        ("jpegs", [2]),
        ("texts", [2]),
        ("text_kind", [2]),
    ]
    frames = deserialize_bytes_tensor(plain.raw_input_contents[0])
    assert frames.tolist() == [b"jpeg one", b"jpeg two"]
    assert np.frombuffer(plain.raw_input_contents[2], np.int32).tolist() == [1, 3]


def test_scores_are_found_by_name():
    """The verdict may come first."""
    response = service_pb2.ModelInferResponse()
    for name, content in (("verdict", b"{}"), ("scores", np.float32([0.5, 0.25]).tobytes())):
        response.outputs.add(name=name)
        response.raw_output_contents.append(content)
    assert LivewardenGrpc().read_scores(response.SerializeToString()) == [0.5, 0.25]
    assert RawHttp("/score").read_scores(b'{"scores": [0.5]}') == [0.5]
    assert Base64Http("/score").read_scores(b"[[0.5]]") == [0.5]
