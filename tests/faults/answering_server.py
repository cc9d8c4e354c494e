"""A process that answers KServe v2 quickly with one sample verdict: a server to kill and pause.

    python answering_server.py PORT VERDICT_FILE

The verdict comes back under the request's own nonce and request id. SIGTERM drains: what is under
way is answered, everything new is refused, then the process ends.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Answering(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every inference at once."""

    def __init__(self, verdict: dict[str, Any]) -> None:
        self._verdict = verdict

    def ModelInfer(self, request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Answer one inference."""
        names = [tensor.name for tensor in request.inputs]
        context = json.loads(request.raw_input_contents[names.index("context")][4:])
        own = {"nonce": context["nonce"], "request_id": context["request_id"]}
        raw = json.dumps({**self._verdict, **own}).encode()
        response = service_pb2.ModelInferResponse()
        response.outputs.add(name="verdict", datatype="BYTES", shape=(1, 1))
        response.raw_output_contents.append(struct.pack("<I", len(raw)) + raw)
        return response

    def ServerReady(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Say that the server is ready."""
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """Say that the model is ready."""
        return service_pb2.ModelReadyResponse(ready=True)


def main() -> None:
    """Serve until SIGTERM."""
    port, path = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
    service = Answering(json.loads(Path(path).read_text(encoding="utf-8")))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    drained = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: drained.set())
    server.start()
    drained.wait()
    server.stop(grace=2).wait()


if __name__ == "__main__":
    main()
