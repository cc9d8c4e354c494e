import re
from pathlib import Path

import pytest

from livewarden_perf.baseline import environment
from livewarden_perf.baseline.contestant import BASELINES
from livewarden_perf.errors import BaselineFailed

ROOT = Path(__file__).parents[3]


def read_pins(path):
    pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", path.read_text(), re.MULTILINE))
    assert pins
    return {name.lower(): version for name, version in pins.items()}


def test_both_environments_compute_with_the_same_versions():
    """Else a comparison would measure versions of libraries, and scores could differ."""
    ours = read_pins(ROOT / "constraints.txt")
    theirs = read_pins(environment.REQUIREMENTS)
    for name in (
        *("numpy", "opencv-python-headless", "openvino", "onnxruntime"),
        *("pillow", "simplejpeg", "tokenizers"),
    ):
        assert theirs[name] == ours[name]


def test_every_line_of_the_requirements_is_a_pin():
    """A run next year installs what this one did."""
    lines = environment.REQUIREMENTS.read_text().splitlines()
    loose = [line for line in lines if line and not line.startswith("#") and "==" not in line]
    assert loose == []


def test_every_named_package_is_pinned():
    """The report can name the version of each package that a baseline is known by."""
    pins = read_pins(environment.REQUIREMENTS)
    named = {package for baseline in BASELINES for package in baseline.packages}
    assert named - {"tritonserver"} <= set(pins)


def test_changed_requirements_are_another_environment(tmp_path, monkeypatch):
    """A new pin never meets the packages of an old one."""
    file = tmp_path / "requirements.txt"
    file.write_text("a==1\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", file)
    before = environment.locate_home(tmp_path)
    file.write_text("a==2\n")
    assert environment.locate_home(tmp_path) != before


def test_half_an_installation_is_none(tmp_path, monkeypatch):
    """What pip could not finish is not used, and the error says what pip said."""
    file = tmp_path / "requirements.txt"
    file.write_text("--no-index\nno-such-package-of-ours==1\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", file)
    heard = []
    with pytest.raises(BaselineFailed, match="no-such-package-of-ours"):
        environment.prepare_python(tmp_path, heard.append)
    assert environment.locate_home(tmp_path).is_dir()
    assert environment.find_python(tmp_path) is None
    assert str(tmp_path) in heard[0]
