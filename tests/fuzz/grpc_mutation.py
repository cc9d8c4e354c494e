"""Mutate requests for the model `moderation` and send them to a real server.

    python tests/fuzz/grpc_mutation.py --requests 100000

A request is a valid one with one to three mutations: of names, datatypes, shapes, contents and
parameters, where only knowledge of the structure leads, and of the bytes of the whole.
Counts what must not be: a server that ends, a call that takes over a second, an answer that is
neither a verdict nor a typed error. Ends with 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from image_file import png
from rich.console import Console
from tritonclient.grpc import service_pb2 as pb

from livewarden_ensemble.server import Server

ROOT: Final = Path(__file__).parents[2]
METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
HANG_S: Final = 1.0
# Far over HANG_S: a deadline of ours would cancel the call, which is another test's harm.
DEADLINE_S: Final = 60.0
CALLERS: Final = 4
# What is sent to a server that ended would only say so again: by then the supervisor knows.
NOTICED_S: Final = 2.0
SMALL: Final = png(8, 8)

# What a broken request may be answered with, besides INTERNAL where gRPC could not parse the bytes.
# UNAVAILABLE is none of them: nothing but a server that ended says so to a run like this.
TYPED: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
UNPARSED: Final = "Unable to parse request"
NUMBERS: Final = (0, 1, -1, 2, 3, 64, 65, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63))
NAMES: Final = (
    "",
    "frames",
    "texts",
    "context",
    "frames_rgb",
    "verdict",
    "NONCE",
    "x" * 5000,
    "é\0",
)
TYPES: Final = ("", "BYTES", "UINT8", "FP32", "INT64", "BOOL", "BF16", "FP16", "STRING", "bytes")
MODELS: Final = ("", "moderation", "vision_encoder", "fusion_classifier", "../moderation", "no\0ne")
# Without `classification`: Triton 2.51 ends by one of a BYTES output, in every run (SECURITY.md).
PARAMETERS: Final = (
    "binary_data_size",
    "priority",
    "sequence_end",
    "sequence_id",
    "sequence_start",
    "shared_memory_byte_size",
    "shared_memory_offset",
    "shared_memory_region",
    "timeout",
    "triton_enable_empty_final_response",
    "x",
)

Request = pb.ModelInferRequest


@dataclass
class Tally:
    """How the requests of a run ended; `faults` says what must not have been."""

    requests: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    restarts: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was that must not be."""
        return not self.faults and self.restarts == 0


def pack(items: list[bytes]) -> bytes:
    """A BYTES tensor: each item after its length."""
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def build_request(rng: random.Random) -> Request:
    """A valid request: a context, and by chance texts, frames and decoded frames."""
    texts = [b"hello", b"good evening", "naïve".encode()][: rng.randrange(4)]
    frames = [SMALL] * rng.randrange(3)
    context = {"request_id": str(rng.randrange(99)), "texts": [{"kind": "chat"}] * len(texts)}
    tensors = [("context", "BYTES", [1, 1], pack([json.dumps(context).encode()]))]
    if texts:
        tensors.append(("texts", "BYTES", [1, len(texts)], pack(texts)))
    if frames and rng.random() < 0.3:
        tensors.append(("frames_rgb", "UINT8", [1, 1, 4, 4, 3], bytes(range(48))))
    elif frames:
        tensors.append(("frames", "BYTES", [1, len(frames)], pack(frames)))
    request = Request(model_name="moderation", id="1")
    for name, datatype, shape, raw in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    return request


def _rename(rng: random.Random, request: Request) -> None:
    rng.choice(request.inputs).name = rng.choice(NAMES)


def _retype(rng: random.Random, request: Request) -> None:
    rng.choice(request.inputs).datatype = rng.choice(TYPES)


def _reshape(rng: random.Random, request: Request) -> None:
    shape = rng.choice(request.inputs).shape
    if shape and rng.random() < 0.7:
        shape[rng.randrange(len(shape))] = rng.choice(NUMBERS)
    elif shape and rng.random() < 0.5:
        del shape[rng.randrange(len(shape))]
    else:
        shape.extend(rng.choices(NUMBERS, k=rng.choice((1, 2, 40))))


def _spoil_contents(rng: random.Random, request: Request) -> None:
    contents = request.raw_input_contents
    if contents:
        place = rng.randrange(len(contents))
        contents[place] = spoil(rng, contents[place])


def _count_otherwise(rng: random.Random, request: Request) -> None:
    repeated = rng.choice((request.inputs, request.raw_input_contents))
    if len(repeated) and rng.random() < 0.5:
        del repeated[rng.randrange(len(repeated))]
    elif len(repeated):
        repeated.extend([rng.choice(repeated)] * rng.choice((1, 2, 30)))


def _type_contents(rng: random.Random, request: Request) -> None:
    contents = rng.choice(request.inputs).contents
    name = rng.choice([one.name for one in contents.DESCRIPTOR.fields])
    values = {"bool_contents": True, "bytes_contents": b"{}"}
    getattr(contents, name).extend([values.get(name, 1)] * rng.choice((1, 2, 300)))


def _set_parameter(rng: random.Random, request: Request) -> None:
    output = request.outputs[0] if request.outputs else request.outputs.add(name="verdict")
    owner = rng.choice((request, rng.choice(request.inputs), output))
    value = owner.parameters[rng.choice(PARAMETERS)]
    kind = rng.choice(("bool_param", "int64_param", "string_param"))
    values = {"bool_param": (True,), "int64_param": NUMBERS, "string_param": NAMES}
    setattr(value, kind, rng.choice(values[kind]))


def _ask_otherwise(rng: random.Random, request: Request) -> None:
    request.outputs.add(name=rng.choice(("verdict", "scores", *NAMES)))
    if rng.random() < 0.3:
        request.outputs.extend([request.outputs[0]] * 50)


def _name_model(rng: random.Random, request: Request) -> None:
    if rng.random() < 0.7:
        request.model_name = rng.choice(MODELS)
    else:
        request.model_version = rng.choice(("1", "2", "-1", "x", "9" * 40))


def _spoil_context(rng: random.Random, request: Request) -> None:
    context = json.dumps({rng.choice(NAMES) or "texts": rng.choice(NUMBERS)}).encode()
    if request.raw_input_contents:
        request.raw_input_contents[0] = pack([rng.choice((context, spoil(rng, context)))])


MUTATIONS: Final[tuple[Callable[[random.Random, Request], None], ...]] = (
    _rename,
    _retype,
    _reshape,
    _spoil_contents,
    _count_otherwise,
    _type_contents,
    _set_parameter,
    _ask_otherwise,
    _name_model,
    _spoil_context,
)


def spoil(rng: random.Random, data: bytes) -> bytes:
    """`data` with bytes flipped, cut, put in or doubled."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(spoilt) + 1)
        match rng.randrange(4):
            case 0 if place < len(spoilt):
                spoilt[place] ^= 1 << rng.randrange(8)
            case 1:
                del spoilt[place : place + rng.choice((1, 4, 1000))]
            case 2:
                spoilt[place:place] = rng.randbytes(rng.choice((1, 4, 300)))
            case _:
                spoilt[place:place] = spoilt[place : place + 16] * 3
    return bytes(spoilt)


def mutate(seed: int) -> bytes:
    """The request number `seed`, as bytes on the wire; always the same for the same number."""
    rng = random.Random(seed)
    request = build_request(rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        # A mutation may leave no input for the next one.
        if request.inputs:
            rng.choice(MUTATIONS)(rng, request)
    data: bytes = request.SerializeToString()
    return spoil(rng, data) if rng.random() < 0.25 else data


def judge(answer: pb.ModelInferResponse | grpc.RpcError) -> tuple[str, str]:
    """How a request ended, and what is wrong with that; nothing where the latter is empty."""
    if isinstance(answer, grpc.RpcError):
        code, detail = answer.code(), answer.details() or ""
        if code in TYPED or detail == UNPARSED:
            return code.name, ""
        return code.name, f"{code.name}: {detail[:80]}"
    names = [output.name for output in answer.outputs]
    if "verdict" not in names:
        return "no verdict asked for", ""
    raw = answer.raw_output_contents[names.index("verdict")]
    try:
        verdict = json.loads(raw[4:])
    except ValueError:
        return "verdict", "a verdict that is no JSON"
    degraded = verdict["coverage"]["degraded"]
    wrong = "allow, though not all was seen" if degraded and verdict["action"] == "allow" else ""
    return verdict["action"], wrong


def send_all(server: Server, requests: int, first: int = 0) -> Tally:
    """Send the requests from number `first` on, by CALLERS threads with a connection each."""
    tally, lock = Tally(requests), threading.Lock()
    restarts, begun = server.restarts, time.monotonic()

    def call(caller: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.grpc_url, options) as channel:
            infer = channel.unary_unary(METHOD, None, pb.ModelInferResponse.FromString)
            for number in range(first + caller, first + requests, CALLERS):
                start = time.monotonic()
                try:
                    answer = infer(mutate(number), timeout=DEADLINE_S)
                except grpc.RpcError as error:
                    answer = error
                took = time.monotonic() - start
                end, wrong = judge(answer)
                with lock:
                    tally.ends[end] += 1
                    tally.slowest = max(tally.slowest, took)
                    if wrong:
                        tally.faults[f"{wrong} (number {number})"] += 1
                    if took > HANG_S:
                        tally.faults[f"{took:.1f} s (number {number})"] += 1
                if end == grpc.StatusCode.UNAVAILABLE.name:
                    time.sleep(NOTICED_S)
                    server.wait_ready(60)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.seconds = time.monotonic() - begun
    tally.restarts = server.restarts - restarts
    return tally


def main() -> int:
    """Start a server, send the requests, tell how they ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first request's number")
    options = parser.parse_args()
    ports = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
    with Server(ROOT / "model_repository", **ports) as server:
        tally = send_all(server, options.requests, options.first)
    say = Console(soft_wrap=True, markup=False, highlight=False).print
    say(f"{tally.requests} requests in {tally.seconds:.0f} s, slowest {tally.slowest:.2f} s")
    say(f"{dict(tally.ends.most_common())}, {tally.restarts} restarts")
    for fault, count in tally.faults.most_common(40):
        say(f"FAULT {count} x {fault}")
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
