"""How a block of each language is run, or checked against what reads it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
import trustme
import yaml
from block import ROOT, Block, read_script

import livewarden_client
from livewarden_client import Client, Clip, Text
from livewarden_client.credentials import Credentials
from livewarden_client.wire import LEAVES
from livewarden_ensemble.context import Context, parse_context
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.policy.document import Document
from livewarden_ensemble.server import Server
from livewarden_ensemble.watch.script import read_chat
from livewarden_export.fusion.dataset import load_dataset
from livewarden_export.model_file import load_models
from livewarden_perf.node_table import read_nodes

TIMEOUT_S = 120
SCHEMAS = Path(livewarden_client.__file__).parent / "schema"

# Around every script: a server that is on other ports than the documents' says so to its client;
# `livewarden serve` ends once it is ready, and takes free ports; make says what it would do; what
# would act outside the checkout ends the script, also from within a substitution.
PRELUDE = """
set -euo pipefail
livewarden() {
  case "$1" in
    moderate) shift; command livewarden moderate --url "$GRPC" "$@" ;;
    doctor) command livewarden "$@" --grpc-port 0 --http-port 0 --metrics-port 0 ;;
    serve)
      command livewarden "$@" --grpc-port 0 --http-port 0 --metrics-port 0 2> serve.log &
      local server=$!
      until grep -q Ready serve.log; do kill -0 $server; sleep 0.1; done
      kill -TERM $server; wait $server ;;
    *) command livewarden "$@" ;;
  esac
}
make() { command make --dry-run --directory "$ROOT" "$@"; }
refuse() { echo "$1 acts outside the checkout: mark this block as not run" >&2; kill $$; exit 1; }
docker() { refuse docker; }
helm() { refuse helm; }
kubectl() { refuse kubectl; }
pip() { refuse pip; }
podman() { refuse podman; }
"""

# Programs that the documents use and that no extra brings, and Debian's packages that do.
PROGRAMS = {"curl": "curl", "jq": "jq", "openssl": "openssl"}
_CALLED = re.compile(rf"(?:^|[|;&(])\s*({'|'.join(PROGRAMS)})\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a block is run: a checkout of its own, the shared server, a bundle to publish."""

    checkout: Path
    release: str
    jpeg: bytes
    ask_server: Callable[[], Server]


def run_block(block: Block, scene: Scene) -> None:
    """Run `block`; an assertion or an error says what is wrong with it."""
    RUNNERS[block.language](block, scene)


def run_shell(block: Block, scene: Scene) -> None:
    """The commands one after the other, as in a checkout after `make export`.

    A block is skipped where a program that it calls is not installed.
    """
    script = read_script(block)
    lacking = list_lacking(script)
    if lacking:
        packages = " ".join(PROGRAMS[name] for name in lacking)
        pytest.skip(f"{block} needs {', '.join(lacking)}: apt install {packages}")
    places = {"60f26": scene.release[:5], "BUNDLE": scene.release}
    environment = {"ROOT": str(ROOT), "GRPC": "no server was asked for"}
    if "moderate" in script or "curl" in script:
        server = scene.ask_server()
        environment["GRPC"] = server.grpc_url
        http = server.http_url.removeprefix("http://")
        health = str(server.health_url).removeprefix("http://")
        places |= {"127.0.0.1:8000": http, "localhost:8000": http, "127.0.0.1:8003": health}
    if "/var/lib/livewarden" in script:
        (scene.checkout / "var").mkdir()
        places["/var/lib/livewarden"] = str(scene.checkout / "var")
    if "livewarden watch" in script:
        _write_recording(scene.checkout)
    if "records.jsonl" in script:
        _livewarden(scene.checkout, "policy", "invent", "records.jsonl", "--clips", "200")
    for theirs, ours in places.items():
        script = script.replace(theirs, ours)
    ran = subprocess.run(
        ["bash", "-c", PRELUDE + script],
        cwd=scene.checkout,
        env={**_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, f"{block}: exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"


def list_lacking(script: str) -> list[str]:
    """The programs that `script` calls, that come from elsewhere, and that are not here."""
    path = _environment()["PATH"]
    called = sorted(set(_CALLED.findall(script)))
    return [name for name in called if shutil.which(name, path=path) is None]


def run_python(block: Block, scene: Scene) -> None:
    """The block, with the names that its page takes for granted."""
    server = scene.ask_server()
    body = block.body
    for url in ("127.0.0.1:8001", "livewarden.internal:8001"):
        body = body.replace(url, server.grpc_url)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    with Client(server.grpc_url) as client:
        names: dict[str, Any] = {
            "jpeg": scene.jpeg,
            "client": client,
            "clip": Clip(frames=[scene.jpeg], texts=[Text("chat", "hello")]),
            "publish": lambda: None,
            "Credentials": Credentials,
            "pem": authority.cert_pem.bytes(),
            "chain_pem": issued.cert_chain_pems[0].bytes(),
            "key_pem": issued.private_key_pem.bytes(),
        }
        with contextlib.chdir(scene.checkout):
            exec(compile(body, str(block), "exec"), names)
    verdict = names.get("verdict")
    # A failure would be a verdict too, of the client's own making.
    assert verdict is None or not verdict.coverage.failed, verdict


def check_yaml(block: Block, scene: Scene) -> None:
    """A policy, a part of one, cases for one, or a part of models.yaml."""
    data = yaml.safe_load(block.body)
    file = scene.checkout / "policies" / "block.yaml"
    if "cases" in data:
        file.write_text(block.body)
        _livewarden(scene.checkout, "policy", "test", str(file))
    elif data.keys() <= set(Document.__struct_fields__):
        default = yaml.safe_load((scene.checkout / "policies" / "default.yaml").read_text())
        _write_lists(data, file.parent)
        file.write_text(block.body if "policy" in data else yaml.safe_dump({**default, **data}))
        load_policy(file)
    elif data.keys() <= {leaf.name for leaf in LEAVES}:
        models = yaml.safe_load((scene.checkout / "models.yaml").read_text())
        for name, part in data.items():
            models["models"][name] |= part
        file = scene.checkout / "models.yaml"
        file.write_text(yaml.safe_dump(models))
        load_models(file)
    else:
        raise AssertionError(f"{block}: nothing here reads YAML with the keys {sorted(data)}")


def check_json(block: Block, scene: Scene) -> None:
    """A verdict, a context, or labelled clips."""
    data = json.loads(block.body)
    if data.get("schema") == "livewarden.verdict/v1":
        jsonschema.validate(data, json.loads((SCHEMAS / "verdict.v1.json").read_text()))
    elif data.keys() <= set(Context.__struct_fields__):
        parse_context(block.body.encode())
    elif {"id", "labels", "texts"} <= data.keys():
        for name in data.get("frames", ()):
            (scene.checkout / name).parent.mkdir(exist_ok=True)
            (scene.checkout / name).write_bytes(scene.jpeg)
        (scene.checkout / "clips.jsonl").write_text(json.dumps(data) + "\n")
        assert len(load_dataset(scene.checkout).clips) == 1
    else:
        raise AssertionError(f"{block}: nothing here reads JSON with the keys {sorted(data)}")


def check_json_lines(block: Block, scene: Scene) -> None:
    """The chat of a recorded stream."""
    file = scene.checkout / "chat.jsonl"
    file.write_text(block.body)
    assert len(read_chat(file)) == len(block.body.splitlines())


def check_toml(block: Block, scene: Scene) -> None:
    """A table of nodes, each of which can be planned with."""
    file = scene.checkout / "my.toml"
    file.write_text(block.body)
    unmeasured = [node.name for node in read_nodes(file) if node.measured is None]
    assert unmeasured == [], f"{block}: nothing can be planned with {unmeasured}"


def check_text(block: Block, _: Scene) -> None:
    """Drawings and answers: nothing to run, so nothing that looks like a command."""
    commands = [line for line in block.body.splitlines() if line.startswith(("$ ", "# "))]
    assert not commands, f"{block}: these lines look like commands; call the block `console`"


RUNNERS: Mapping[str, Callable[[Block, Scene], None]] = {
    "sh": run_shell,
    "console": run_shell,
    "python": run_python,
    "yaml": check_yaml,
    "json": check_json,
    "jsonl": check_json_lines,
    "toml": check_toml,
    "text": check_text,
}


def _write_recording(folder: Path) -> None:
    """Two seconds of a stream, with what was said beside it and two policies to compare."""
    with av.open(str(folder / "stream.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for shade in range(40, 200, 20):
            pixels = np.full((90, 160, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (folder / "chat.jsonl").write_text('{"t": 0.5, "text": "good morning"}\n')
    (folder / "speech.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nwelcome\n")
    (folder / "old.yaml").write_bytes((ROOT / "policies" / "default.yaml").read_bytes())
    (folder / "new.yaml").write_bytes((ROOT / "examples" / "watch" / "patient.yaml").read_bytes())


def _livewarden(folder: Path, *arguments: str) -> None:
    ran = subprocess.run(
        ["livewarden", *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _environment() -> dict[str, str]:
    own = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _write_lists(data: Mapping[str, Any], folder: Path) -> None:
    """The files that blocklists and hash banks of an example name."""
    contents = {"blocklists": "badword\n", "hash_banks": f"{'0f' * 32}\n"}
    for section, content in contents.items():
        for part in data.get(section, {}).values():
            if "file" in part:
                (folder / part["file"]).write_text(content)
