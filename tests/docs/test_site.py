"""The documentation site: it builds without a warning, whole, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from block import ROOT


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "scripts" / "doc_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in another folder."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    ran = subprocess.run(
        [*build, "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


def test_readme_is_the_front_page(site: Path) -> None:
    """GitHub's front page is the site's, and its links lead to the site's pages."""
    front = (site / "index.html").read_text()
    assert "Two commands" in front
    assert 'href="model-card/"' in front
    assert (site / "model-card" / "index.html").is_file()


def test_files_outside_the_documents_are_there(site: Path) -> None:
    """What a page links to outside docs/ is on the site as well."""
    for name in ("models.yaml", "client/livewarden_client/schema/verdict.v1.json"):
        assert (site / name).read_bytes() == (ROOT / name).read_bytes()
    assert (site / "SECURITY" / "index.html").is_file()


def test_reference_comes_from_the_code(site: Path) -> None:
    """Public names of the client, the wire and the policy file have entries."""
    for page, name in (
        ("client", "livewarden_client.Client.moderate"),
        ("wire", "livewarden_client.wire.LABELS"),
        ("policy", "livewarden_ensemble.policy.document.Document"),
    ):
        assert f'id="{name}"' in (site / "reference" / page / "index.html").read_text()


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """No script, style, font or picture comes from elsewhere: reading tells nobody."""
    loads = re.compile(r"""(?:\bsrc=["']?|<link[^>]+href=["']?|url\(["']?|@import )(https?:)?//""")
    pages = [path for kind in ("html", "css") for path in site.rglob(f"*.{kind}")]
    assert len(pages) > 30
    assert [str(path) for path in pages if loads.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("origin", "target", "turned"),
    [
        ("README.md", "docs/policy.md", "policy.md"),
        ("README.md", "models.yaml", "models.yaml"),
        ("docs/wire.md", "../SECURITY.md", "SECURITY.md"),
        ("docs/wire.md", "client.md", "client.md"),
        ("docs/adr/0001-x.md", "../performance.md", "../performance.md"),
        ("docs/wire.md", "../README.md", "index.md"),
        ("examples/node/README.md", "../../docs/wire.md", "../../wire.md"),
    ],
)
def test_links_for_github_become_links_of_the_site(
    hook: ModuleType, origin: str, target: str, turned: str
) -> None:
    """Each file has one place on the site, wherever it is linked from."""
    assert hook.turn_links(f"see [it]({target}).", origin) == f"see [it]({turned})."


@pytest.mark.parametrize("target", ["https://example.com/x", "#part", "mailto:a@b.c", "/abs"])
def test_other_links_stay(hook: ModuleType, target: str) -> None:
    """Addresses of other hosts and parts of the same page are left alone."""
    assert hook.turn_links(f"[it]({target})", "README.md") == f"[it]({target})"


def test_lists_and_tables_get_their_blank_line(hook: ModuleType) -> None:
    """GitHub begins one right after a sentence; code and continued lists stay as they are."""
    assert hook.part_blocks("so:\n- a\n- b\n  c\n- d") == "so:\n\n- a\n- b\n  c\n- d"
    assert hook.part_blocks("so:\n| a |\n|---|") == "so:\n\n| a |\n|---|"
    code = "```sh\nx\n- y\n```"
    assert hook.part_blocks(code) == code


def test_make_docs_is_strict_aloud() -> None:
    """`--quiet` hides warnings from `--strict` as well: with it a dead link would pass."""
    [recipe] = re.findall(r"^docs:.*\n(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "--strict" in recipe
    assert "--quiet" not in recipe


def test_a_dead_link_ends_the_build(tmp_path: Path) -> None:
    """The build has been seen failing: on a page beside these, with a link to nothing."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n[gone](gone.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\ntheme: material\n")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    ran = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "gone.md" in ran.stderr
