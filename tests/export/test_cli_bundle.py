import json

import pytest
from click.testing import CliRunner

from livewarden_client.wire import LABELS, LEAVES, TAXONOMY_VERSION, WIRE_VERSION
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER, seal_bundle, stage_bundle
from livewarden_export.cli_bundle import bundle as command


@pytest.fixture
def run(repository, monkeypatch):
    """Run `livewarden bundle` in a folder that has `bundles` and `model_repository`."""
    monkeypatch.chdir(repository.parent)

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(command, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return invoke


def make_bundle(bundles, mark):
    with stage_bundle(bundles) as staged:
        for leaf in LEAVES:
            folder = staged / LEAVES_FOLDER / leaf.name / OPENVINO_FOLDER
            folder.mkdir(parents=True)
            (folder / "model.xml").write_text(mark)
        contract = {
            "wire_version": WIRE_VERSION,
            "taxonomy": TAXONOMY_VERSION,
            "labels": list(LABELS),
        }
        return seal_bundle(staged, contract)


@pytest.mark.parametrize("name", command.commands)
def test_every_command_has_an_example(run, name):
    """Help says what to type."""
    assert "Example:" in run(name, "--help")


def test_publish_and_rollback(run, tmp_path):
    """By the first digits of a name, with roles in list and status."""
    one, two = (make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    assert "verify" in run("publish", one.id[:8])
    run("publish", two.folder)
    roles = {row["bundle"]: row["roles"] for row in json.loads(run("list", "--json"))}
    assert roles == {one.id: ["previous"], two.id: ["live"]}
    assert one.id in run("rollback")
    report = json.loads(run("status", "--json"))
    assert report["roles"]["live"]["bundle"] == one.id
    assert report["servers"] == []
    assert "no server runs on it" in run("status")


def test_canary_and_shadow(run, tmp_path):
    """Their share stands in the status, and 0 ends it."""
    one, two = (make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    run("publish", one.id)
    run("canary", two.id, "--percent", "5")
    run("shadow", two.id)
    roles = json.loads(run("status", "--json"))["roles"]
    assert (roles["canary"]["percent"], roles["shadow"]["percent"]) == (5, 100)
    run("canary", two.id, "--percent", "0")
    run("shadow", two.id, "--percent", "0")
    assert json.loads(run("status", "--json"))["roles"].keys() == {"live"}


def test_errors_are_one_line(run, tmp_path):
    """Exit code 2 for a bundle that is not there, 1 for one that was changed, naming the file."""
    bundle = make_bundle(tmp_path / "bundles", "one")
    assert "'zz' is none of the bundles" in run("verify", "zz", code=2)
    assert "as sealed" in run("verify", bundle.id)
    (bundle.folder / "sbom.cdx.json").write_text("{}")
    for arguments in (("verify", bundle.id), ("publish", bundle.id)):
        assert "sbom.cdx.json: was changed" in run(*arguments, code=1)
    assert "no bundle to roll back to" in run("rollback", code=1)
