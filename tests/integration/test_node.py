"""The client in Node gets the verdict that the Python client gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from livewarden_client import Client, Clip, Text
from livewarden_ensemble.server import Server
from livewarden_perf.video import find_video

pytestmark = pytest.mark.integration


def test_node_gets_the_same_verdict(
    server: Server, client: Client, node_example: Path, tmp_path: Path
) -> None:
    """JPEG frames and texts from Node: the action and reasons of the same clip from Python."""
    clip = Clip.from_video(
        find_video("bigbuckbunny.mp4"),
        frames=4,
        like=Clip(texts=[Text("title", "My first stream"), Text("chat", "I will kill you")]),
    )
    expected = client.moderate(clip)
    files = [tmp_path / f"{index}.jpg" for index in range(4)]
    for file, frame in zip(files, clip.frames, strict=True):
        file.write_bytes(frame)
    ended = subprocess.run(
        [
            *("node", str(node_example), "--url", server.grpc_url, "--timeout", "30"),
            *("--text", "title:My first stream", "--text", "chat:I will kill you"),
            *map(str, files),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    action, *reasons = ended.stdout.splitlines()
    assert action == expected.action != "allow"
    assert reasons == [f"{reason.code}: {reason.message}" for reason in expected.reasons]


def test_refused_field_is_named(server: Server, node_example: Path) -> None:
    """The server's message, with the JSON pointer, reaches whoever wrote the caller."""
    ended = subprocess.run(
        ["node", str(node_example), "--url", server.grpc_url, "--text", "subtitle:hello"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "/context/texts/0/kind" in ended.stderr
