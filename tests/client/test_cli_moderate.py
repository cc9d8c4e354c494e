from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from click.testing import CliRunner, Result

from livewarden_client.cli_moderate import moderate, repeat_options
from livewarden_client.verdict_json import decode_verdict
from livewarden_client.wire import LABELS

if TYPE_CHECKING:
    from pathlib import Path


def run(*args: str) -> Result:
    return CliRunner().invoke(moderate, list(args))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--frames", "a", "b"], ["--frames", "a", "--frames", "b"]),
        (["--frames", "a", "--frames", "b"], ["--frames", "a", "--frames", "b"]),
        (["--frames", "a", "b", "--json"], ["--frames", "a", "--frames", "b", "--json"]),
        (["--text", "x", "y", "--region", "DE"], ["--text", "x", "--text", "y", "--region", "DE"]),
        (["--region", "DE", "stray"], ["--region", "DE", "stray"]),
        (["--frames=a", "stray"], ["--frames=a", "stray"]),
        (["--frames", "a", "--", "stray"], ["--frames", "a", "--", "stray"]),
        ([], []),
    ],
)
def test_one_option_takes_several_values(given: list[str], read: list[str]) -> None:
    """`--frames a b` means `--frames a --frames b`; no other argument moves."""
    assert repeat_options(given) == read


def test_verdict_is_printed_for_people(kserve: Any, tmp_path: Path) -> None:
    """Files and options become one clip; the verdict is a table, and the exit code 0."""
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    result = run(
        *("--url", kserve.address, "--frames", str(tmp_path / "a.jpg"), str(tmp_path / "b.png")),
        *("--text", "chat:hello: you", "asr:", "--title", "My stream", "--region", "DE"),
        *("--surface", "live", "--audience", "teen", "--policy", "p", "--stream-id", "s1"),
        *("--clip-seq", "4", "--room", "kids"),
    )
    assert result.exit_code == 0
    assert "B L O C K" in result.stdout
    assert all(label in result.stdout for label in LABELS)
    (request,) = kserve.requests
    sent = dict(zip([i.name for i in request.inputs], request.raw_input_contents, strict=True))
    assert sent["frames"] == b"\x05\0\0\0a.jpg\x05\0\0\0b.png"
    assert sent["texts"] == b"\x09\0\0\0My stream\x0a\0\0\0hello: you\0\0\0\0"
    context = kserve.read_context(request)
    assert context["texts"] == [{"kind": "title"}, {"kind": "chat"}, {"kind": "asr"}]
    named = ("region", "surface", "audience", "room", "policy", "stream_id", "clip_seq")
    assert [context[name] for name in named] == ["DE", "live", "teen", "kids", "p", "s1", 4]


def test_verdict_is_printed_as_json(kserve: Any) -> None:
    """With --json stdout is the verdict's JSON and nothing else."""
    result = run("--url", kserve.address, "--text", "chat:hello", "--json")
    assert result.exit_code == 0
    verdict = decode_verdict(result.stdout.encode())
    assert (verdict.action, verdict.nonce) == ("block", json.loads(result.stdout)["nonce"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--frames", "no-such-file.jpg"], "no-such-file.jpg"),
        (["--text", "secret"], "expected KIND:TEXT"),
        (["--text", "shout:secret"], "expected KIND:TEXT"),
        (["--text", "chat:" + "secret" * 3000], "at most 16384 bytes"),
        (["--title", "x", "--region", "D E"], "region: got str of length 3"),
        (["--title", "x", "--timeout", "0"], "timeout: got 0.0"),
        (["--clip-seq", "x"], "clip-seq"),
        (["--title", "x", "--url", "http://localhost:8000"], "without http://"),
        (["--region", "DE"], "nothing to moderate"),
        (["stray"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_ends_with_2(args: list[str], said: str) -> None:
    """A wrong option or value is explained on stderr, without a text; the exit code is 2."""
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_refused_request_ends_with_2(kserve: Any) -> None:
    """What the server refuses the caller must change: exit code 2, naming the field."""
    kserve.answer = lambda _request, context: context.abort(
        grpc.StatusCode.INVALID_ARGUMENT, "/context/region: is unknown"
    )
    result = run("--url", kserve.address, "--title", "x")
    assert result.exit_code == 2
    assert "/context/region" in result.stderr


def test_failed_server_ends_with_1(kserve: Any) -> None:
    """No verdict is exit code 1 and one line, which names the server."""
    kserve.answer = lambda _request, context: context.abort(grpc.StatusCode.INTERNAL, "secret")
    for url in (kserve.address, "127.0.0.1:1"):
        result = run("--url", url, "--title", "x")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {url}: ")
        assert result.stderr.count("\n") == 1
        assert "secret" not in result.stderr
