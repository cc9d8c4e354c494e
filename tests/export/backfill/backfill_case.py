"""Recordings on disk, and a server in this process whose verdict follows from a clip alone."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from livewarden_client import Client, Verdict
from livewarden_client.request import Request
from livewarden_client.testing import FakeTransport
from livewarden_client.verdict import (
    Coverage,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Thresholds,
)
from livewarden_client.wire import ACTIONS

# Must be seen in no log and no row.
SECRET = "sesame-of-the-caller"


def judge(request: Request, bundle: str = "b1") -> Verdict:
    """Give the verdict on `request`: its texts decide, whoever is asked and whenever."""
    action = ACTIONS[zlib.crc32(b"".join(request.texts) + bundle.encode()) % len(ACTIONS)]
    label = LabelVerdict("hate", 0.5, action, Thresholds(0.4, 0.6, 0.8), {})
    return Verdict(
        request_id="",
        action=action,
        reasons=(),
        labels=(label,),
        evidence=(),
        coverage=Coverage(ModalityCoverage(), ModalityCoverage(1, 1, 1)),
        provenance=Provenance(bundle, {}, "c", PolicyRef("p", "1", "d"), "t1", 1, "test"),
        timings_ms={},
    )


def open_client(answer=judge) -> Client:
    """Open a client of a server that answers with `answer`."""
    return Client(transport=FakeTransport(answer), on_failure="raise")


def write_clips(folder: Path, count: int) -> Path:
    """Write `count` labelled clips, each with a text and every third with a frame."""
    (folder / "media").mkdir(parents=True)
    (folder / "media" / "one.jpg").write_bytes(b"a picture")
    lines = [
        json.dumps(
            {
                "id": f"clip {number}",
                "texts": [{"kind": "chat", "text": f"{SECRET} {number}"}],
                "frames": ["media/one.jpg"] if number % 3 == 0 else [],
            }
        )
        for number in range(count)
    ]
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
