from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
import target

HERE = Path(__file__).parent
KEPT = [
    pytest.param(name, path, id=f"{path.parent.parent.name}-{name}-{path.name}")
    for name in target.TARGETS
    for folder in ("seeds", "crashes")
    for path in sorted((HERE / folder / name).glob("[!.]*"))
]


@pytest.mark.parametrize(("name", "path"), KEPT)
def test_what_was_found_once_stays_mended(name: str, path: Path):
    """Every seed, and every input that ever broke a target, keeps its rules."""
    target.TARGETS[name](path.read_bytes())


def test_every_target_has_seeds_and_is_fuzzed():
    """The fuzzer runs the targets that there are, each from an example of what it parses."""
    assert tuple(target.TARGETS) == fuzz.NAMES
    assert all(any((HERE / "seeds" / name).iterdir()) for name in fuzz.NAMES)


@pytest.mark.parametrize("name", target.TARGETS)
def test_a_broken_rule_is_seen(name: str, monkeypatch: pytest.MonkeyPatch):
    """A parser that gives back nonsense breaks its target: the rules are real."""
    nonsense = {
        "decode": "decode_frame",
        "image_header": "read_header",
        "text": "normalise_text",
        "context": "parse_context",
        "policy": "load_policy",
        "state_token": "StreamState",
    }

    def fail(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(target, nonsense[name], fail)
    with pytest.raises((KeyError, TypeError)):
        target.TARGETS[name](b"\1x")
