"""Every error an export raises, as one tree; the command line turns each into one clear line.

ExportFailed
├── GraphInvalid     an exported graph is not what the tensor contract says
├── ParityBreach     an artefact does not compute what its source computes
└── BundleBroken     a bundle's files are not the ones that its manifest lists
"""

from __future__ import annotations


class ExportFailed(Exception):
    """Base of all errors of the export; nothing was published."""


class GraphInvalid(ExportFailed):
    """A graph's inputs or outputs differ from the contract; the message says which and how."""


class ParityBreach(ExportFailed):
    """An artefact differs from its source by more than allowed; `table` shows every figure."""

    def __init__(self, summary: str, table: str) -> None:
        super().__init__(f"{summary}\n{table}")
        self.table = table


class BundleBroken(ExportFailed):
    """A bundle is incomplete or changed; the message names the file."""
