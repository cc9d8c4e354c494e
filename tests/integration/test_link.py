"""Tests that need a copy of a checkout run wherever the temporary files are."""

from __future__ import annotations

import errno
import os

import pytest
from link import link_or_copy


def test_a_file_is_linked(tmp_path):
    """On one file system nothing is copied."""
    (tmp_path / "one").write_text("content")
    link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").samefile(tmp_path / "one")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_that_cannot_be_linked_is_copied(tmp_path, monkeypatch, code):
    """Another file system, one without links, or a file with too many of them."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "one").write_text("content")
    link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "content"
    assert not (tmp_path / "two").samefile(tmp_path / "one")


def test_a_file_that_is_there_is_left(tmp_path):
    """It may be a link itself: writing into it would write into the checkout."""
    (tmp_path / "one").write_text("content")
    (tmp_path / "two").write_text("other")
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "other"
