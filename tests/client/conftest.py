"""A sample verdict, and a real gRPC server in this process that speaks KServe v2."""

from __future__ import annotations

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from livewarden_client import Verdict, verdict_to_json
from livewarden_client.verdict import (
    Coverage,
    Evidence,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Reason,
    Thresholds,
)
from livewarden_client.wire import LABELS, MODALITIES, TAXONOMY_VERSION, WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def verdict() -> Verdict:
    """Build a verdict with all labels: one over its block threshold, one without a model."""
    labels = tuple(
        LabelVerdict(
            id=label,
            score=round(0.97 - 0.06 * index, 3),
            action="block" if index == 0 else "allow",
            thresholds=Thresholds(0.5, 0.8, 0.95),
            per_modality={name: 0.1 * place for place, name in enumerate(MODALITIES)},
            supported=label != "gambling",
        )
        for index, label in enumerate(LABELS)
    )
    return Verdict(
        request_id="request-1",
        action="block",
        reasons=(Reason("score>=block", "block", "The score is too high.", LABELS[0]),),
        labels=labels,
        evidence=(
            Evidence(LABELS[0], "ocr", "texts[3]", 0.4, ts_ms=1500, span=(2, 7)),
            Evidence(LABELS[0], "visual", "frames[63]", 0.9, ts_ms=7_200_000),
        ),
        coverage=Coverage(
            frames=ModalityCoverage(8, 7, 7, {"corrupt": (3,)}),
            texts=ModalityCoverage(3, 3, 3),
            missing=("asr",),
            failed={"ocr": "timeout"},
            unsupported_labels=("gambling",),
            degraded=True,
        ),
        provenance=Provenance(
            bundle="sha256:" + "ab" * 32,
            models={"vision_encoder": "1"},
            calibration="c1",
            policy=PolicyRef("default", "1", "sha256:" + "cd" * 32, ("region:DE",)),
            taxonomy=TAXONOMY_VERSION,
            wire=WIRE_VERSION,
            server="livewarden 0.1.0",
        ),
        timings_ms={"decode": 20.25, "total": 71.0},
        stream_id="stream-1",
        clip_seq=7,
        label=LABELS[0],
        pass_through={"key": [1, None]},
    )


@dataclass
class KServe(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every inference with `answer(request, context)`, which is the verdict's JSON.

    `damage` changes the response before it leaves.
    """

    verdict: Verdict
    address: str = ""
    ready: bool = True
    requests: list[Any] = field(default_factory=list)
    answer: Callable[[Any, grpc.ServicerContext], bytes] | None = None
    damage: Callable[[Any], None] | None = None

    def read_context(self, request: Any) -> dict[str, Any]:
        """Read the JSON context of `request`."""
        names = [tensor.name for tensor in request.inputs]
        return json.loads(request.raw_input_contents[names.index("context")][4:])

    def echo(self, request: Any) -> bytes:
        """Encode the sample verdict with nonce and request id of `request`."""
        context = self.read_context(request)
        own = replace(
            self.verdict, nonce=context["nonce"], request_id=context.get("request_id", "")
        )
        return verdict_to_json(own).encode()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Answer one inference."""
        self.requests.append(request)
        raw = self.echo(request) if self.answer is None else self.answer(request, context)
        response = service_pb2.ModelInferResponse()
        response.outputs.add(name="verdict", datatype="BYTES", shape=(1, 1))
        response.raw_output_contents.append(struct.pack("<I", len(raw)) + raw)
        if self.damage is not None:
            self.damage(response)
        return response

    def ServerReady(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Say that the server is ready."""
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Say whether the model is ready."""
        return service_pb2.ModelReadyResponse(ready=self.ready and request.name == "moderation")


@pytest.fixture
def kserve(verdict: Verdict) -> Iterator[KServe]:
    """Run a server on a free port of the loopback."""
    servicer = KServe(verdict)
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(20), options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(grace=None).wait()
