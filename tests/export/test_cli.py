import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from livewarden_export import cli
from livewarden_export import export as export_module
from livewarden_export.cli import export
from livewarden_export.errors import ParityBreach
from livewarden_export.triton_config import write_configs


@pytest.fixture
def run():
    """The command in this process: a click Result for the given arguments."""

    def invoke(*arguments):
        return CliRunner().invoke(export, [str(argument) for argument in arguments])

    return invoke


def test_help_has_an_example(run):
    """--help shows how to use the command."""
    result = run("--help")
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_configs_are_checked_and_written(run, tmp_path):
    """--check-configs fails with the names and the remedy; --write-configs is the remedy."""
    stale = run("--check-configs", "--repository", tmp_path)
    assert stale.exit_code == 1
    assert "moderation/config.pbtxt" in stale.output
    assert "--write-configs" in stale.output
    written = run("--write-configs", "--repository", tmp_path)
    assert written.exit_code == 0
    assert len(written.stdout.splitlines()) == 10
    assert run("--check-configs", "--repository", tmp_path).exit_code == 0


def test_contradicting_flags_are_usage_errors(run):
    """Two modes at once, or an unknown precision, end with code 2."""
    assert run("--check-configs", "--write-configs").exit_code == 2
    assert run("--precision", "int1").exit_code == 2


def test_bf16_on_another_cpu_is_a_usage_error(run, monkeypatch, tmp_path):
    """bf16 cannot be proven where it cannot be computed."""
    monkeypatch.setattr("livewarden_ensemble.leaf.supports_bf16", lambda: False)
    result = run("--precision", "bf16", "--bundles", tmp_path)
    assert result.exit_code == 2
    assert "bf16" in result.output


def test_breach_ends_with_code_1_and_publishes_nothing(run, monkeypatch, repository, tmp_path):
    """A parity breach prints its table and leaves the repository as it was."""

    def fail(models, bundles, stamp, report):  # noqa: ARG001 - the signature of export_bundle
        raise ParityBreach("1 of 9 outputs differ", "leaf  output  BREACH")

    monkeypatch.setattr(export_module, "export_bundle", fail)
    before = sorted(repository.rglob("*"))
    result = run("--repository", repository, "--bundles", tmp_path / "bundles")
    assert result.exit_code == 1
    assert "BREACH" in result.output
    assert "Traceback" not in result.output
    assert sorted(repository.rglob("*")) == before


def test_unchanged_sources_are_not_exported_again(exported, repository):
    """A second run finds the bundle, puts it live, and never imports torch."""
    code = (
        "import sys\n"
        "from livewarden_export.cli import export\n"
        "export(standalone_mode=False)\n"
        "print('torch' in sys.modules)\n"
    )
    arguments = ["--repository", str(repository), "--bundles", str(exported.folder.parent)]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    live, torch_loaded = result.stdout.splitlines()
    assert live == f"bundle {exported.id} unchanged, live in {repository}"
    assert torch_loaded == "False"
    assert (repository / "moderation/live.json").is_file()


def test_export_into_no_repository_says_what_to_do(run, exported, tmp_path):
    """A folder without models is a clear error with the remedy."""
    result = run("--repository", tmp_path, "--bundles", exported.folder.parent)
    assert result.exit_code == 1
    assert "--write-configs" in result.output


def test_damaged_bundle_is_exported_again(run, exported, repository, tmp_path, monkeypatch):
    """A bundle whose file was changed does not count as done."""
    damaged = tmp_path / "bundles" / exported.id
    shutil.copytree(exported.folder, damaged)
    (damaged / "tokenizer.json").write_text("{}")
    calls = []

    def export_again(models, bundles, stamp):  # noqa: ARG001 - the signature of _export_fresh
        calls.append(bundles)
        return exported

    monkeypatch.setattr(cli, "_export_fresh", export_again)
    result = run("--repository", repository, "--bundles", tmp_path / "bundles")
    assert result.exit_code == 0
    assert calls == [tmp_path / "bundles"]


def test_written_configs_make_a_repository(run, exported, tmp_path):
    """--write-configs into an empty folder is enough for a bundle to go live there."""
    write_configs(tmp_path / "fresh")
    result = run("--repository", tmp_path / "fresh", "--bundles", exported.folder.parent)
    assert result.exit_code == 0
