"""A small policy and invented recordings, in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from livewarden_client.wire import TAXONOMY_VERSION
from livewarden_ensemble.recording import Recording, write_recording
from livewarden_ensemble.synthetic_record import invent_recordings

_POLICY = """\
policy: {{ id: small, version: "{version}", taxonomy: {taxonomy} }}
defaults:
  thresholds: {{ review: {review}, restrict: 0.80, block: 0.95 }}
  hysteresis: {hysteresis}
labels: {{}}
"""


@pytest.fixture
def write_policy(tmp_path: Path) -> Callable[..., Path]:
    """Write a policy whose threshold for review and whose hysteresis can be chosen."""

    def write(version: str = "1", review: float = 0.6, hysteresis: float = 0.0) -> Path:
        path = tmp_path / f"policy-{version}.yaml"
        path.write_text(
            _POLICY.format(
                version=version, taxonomy=TAXONOMY_VERSION, review=review, hysteresis=hysteresis
            )
        )
        return path

    return write


@pytest.fixture
def write_records(tmp_path: Path) -> Callable[..., Path]:
    """Write recordings to a file; invented ones if none are given."""

    def write(recordings: Iterable[Recording] | None = None, count: int = 1200) -> Path:
        path = tmp_path / "records.jsonl"
        given = invent_recordings(count, streams=20, seed=1) if recordings is None else recordings
        path.write_bytes(b"".join(map(write_recording, given)))
        return path

    return write
