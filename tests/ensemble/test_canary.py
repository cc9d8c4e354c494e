from __future__ import annotations

import io
import json
import socket

import numpy as np
import pytest
from PIL import Image

from livewarden_client.wire import MODERATION
from livewarden_ensemble.canary import (
    ModerationCanary,
    build_inputs,
    draw_frame,
    judge_error,
    judge_verdict,
)
from livewarden_ensemble.context import parse_context
from livewarden_ensemble.vitals import Beat


def pack(value: object) -> np.ndarray:
    return np.array([[json.dumps(value).encode()]], object)


def test_frame_is_a_real_small_picture():
    """The canary's frame decodes, is not one flat colour, and is made only once."""
    image = np.asarray(Image.open(io.BytesIO(draw_frame())))
    assert image.shape == (224, 224, 3)
    assert image.std() > 30
    assert draw_frame() is draw_frame()
    assert len(draw_frame()) < 20_000


def test_request_keeps_the_contract():
    """Inputs are those of the wire contract, and the context parses and is marked as a canary."""
    inputs = {tensor.name(): tensor for tensor in build_inputs("canary-1", "abc")}
    for name, tensor in inputs.items():
        assert tensor.datatype() == MODERATION.input(name).dtype
        assert tensor.shape() == [1, 1]
    raw = inputs["context"]._get_content()[4:]
    context = parse_context(raw)
    assert (context.request_id, context.nonce, context.options.canary) == ("canary-1", "abc", True)
    assert len(context.texts) == 1


@pytest.mark.parametrize(
    ("verdict", "beat"),
    [
        ({"nonce": "mine", "coverage": {"degraded": False}}, Beat.ALIVE),
        ({"nonce": "mine", "coverage": {"degraded": True, "failed": {"fusion": "x"}}}, Beat.MISSED),
        ({"nonce": "other", "coverage": {"degraded": False}}, Beat.SICK),
        ({"coverage": {"degraded": False}}, Beat.SICK),
        ({"nonce": "mine"}, Beat.SICK),
        ({"nonce": "mine", "coverage": None}, Beat.SICK),
        ([], Beat.SICK),
    ],
)
def test_verdicts_are_judged(verdict: object, beat: Beat):
    """Only the own nonce with full coverage is a sign of life; a foreign nonce is an alarm."""
    assert judge_verdict(pack(verdict), "mine").beat is beat


@pytest.mark.parametrize("tensor", [None, np.array([[b"not json"]], object), np.zeros((0, 1))])
def test_what_is_no_verdict_is_sick(tensor: object):
    """An answer without a readable verdict is never taken for a healthy one."""
    assert judge_verdict(tensor, "mine").beat is Beat.SICK


@pytest.mark.parametrize(
    ("status", "message", "beat"),
    [
        ("StatusCode.UNAVAILABLE", "[m] Exceeds maximum queue size", Beat.BUSY),
        ("StatusCode.UNAVAILABLE", "Request timeout expired", Beat.BUSY),
        ("StatusCode.INVALID_ARGUMENT", "incomplete string data for input", Beat.MISSED),
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", Beat.ABSENT),
        ("StatusCode.UNAVAILABLE", "Socket closed", Beat.ABSENT),
        ("StatusCode.INTERNAL", "Stub process 'x' is not healthy.", Beat.SICK),
        ("StatusCode.NOT_FOUND", "unknown model: 'moderation'", Beat.SICK),
        ("", "", Beat.SICK),
    ],
)
def test_errors_are_judged(status: str, message: str, beat: Beat):
    """A full queue is load, a refused connection an absence; all else is a sickness."""
    assert judge_error(status, message).beat is beat


def test_nobody_listening_is_absence():
    """The canary comes back with ABSENT from an address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    canary = ModerationCanary(timeout_s=20)
    assert canary(f"127.0.0.1:{port}").beat is Beat.ABSENT
    canary.close()


def test_silence_is_a_miss():
    """A server that accepts and says nothing gives a miss, not an exception and no endless wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        canary = ModerationCanary(timeout_s=0.2)
        pulse = canary(f"127.0.0.1:{listener.getsockname()[1]}")
        canary.close()
    assert pulse.beat is Beat.MISSED
    assert "0.2 s" in pulse.detail
