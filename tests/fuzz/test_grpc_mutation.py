from __future__ import annotations

import random

import grpc
import grpc_mutation
import pytest
from grpc_mutation import MUTATIONS, Request, build_request, judge, mutate
from tritonclient.grpc import service_pb2 as pb


class Refusal(grpc.RpcError):
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__()
        self._said = code, detail

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._said[0]

    def details(self) -> str:
        """The message."""
        return self._said[1]


def answer(raw: bytes) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(raw_output_contents=[len(raw).to_bytes(4, "little") + raw])
    response.outputs.add(name="verdict")
    return response


def test_a_number_is_one_request() -> None:
    """What was found once can be sent again, and hardly any two are alike."""
    requests = [mutate(number) for number in range(300)]
    assert requests == [mutate(number) for number in range(300)]
    assert len(set(requests)) > 250


@pytest.mark.parametrize("change", MUTATIONS)
def test_every_mutation_changes_something(change: object) -> None:
    """Of twenty tries at a valid request, some are another request."""
    changed = 0
    for number in range(20):
        rng = random.Random(number)
        request = build_request(rng)
        before = Request.FromString(request.SerializeToString())
        change(rng, request)
        changed += request != before
    assert changed > 5


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "/context: no"), ""),
        (Refusal(grpc.StatusCode.INTERNAL, grpc_mutation.UNPARSED), ""),
        (Refusal(grpc.StatusCode.INTERNAL, "AttributeError"), "INTERNAL: AttributeError"),
        (Refusal(grpc.StatusCode.UNAVAILABLE, "gone"), "UNAVAILABLE: gone"),
        (answer(b'{"action":"review","coverage":{"degraded":true}}'), ""),
        (answer(b'{"action":"allow","coverage":{"degraded":false}}'), ""),
        (
            answer(b'{"action":"allow","coverage":{"degraded":true}}'),
            "allow, though not all was seen",
        ),
        (answer(b"{"), "a verdict that is no JSON"),
    ],
)
def test_untyped_answers_are_told(given: object, wrong: str) -> None:
    """A crash, an exception and a wrong verdict are each told from a good end."""
    assert judge(given)[1] == wrong
