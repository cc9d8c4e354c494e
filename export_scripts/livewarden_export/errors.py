"""Every error an export raises, as one tree; the command line turns each into one clear line.

ExportFailed
├── ModelsInvalid    models.yaml is not what this version reads; names file and key
├── SourceInvalid    a model that models.yaml names is missing or does not fit
├── GraphInvalid     an exported graph is not what the tensor contract says
├── PlanFailed       TensorRT refuses a graph or builds something else than was asked for
├── ParityBreach     an artefact does not compute what its source computes
├── DecisionBreach   verdicts of the evaluation clips move by more than allowed
├── ConfigInvalid    a repository's configs would not load, or would not work, on a server
├── ExportCancelled  a person stopped it
└── BundleBroken     a bundle's files are not the ones that its manifest lists
"""

from __future__ import annotations


class ExportFailed(Exception):
    """Base of all errors of the export; nothing was published."""


class ModelsInvalid(ExportFailed):
    """A models file is unreadable or contradicts the wire; the message names file and key."""


class SourceInvalid(ExportFailed):
    """A checkpoint is missing or of another architecture; the message names the model."""


class GraphInvalid(ExportFailed):
    """A graph's inputs or outputs differ from the contract; the message says which and how."""


class PlanFailed(ExportFailed):
    """TensorRT did not build what was asked for; the message names the node or the tensor."""


class ParityBreach(ExportFailed):
    """An artefact differs from its source by more than allowed; `table` shows every figure."""

    def __init__(self, summary: str, table: str) -> None:
        super().__init__(f"{summary}\n{table}")
        self.table = table


class DecisionBreach(ExportFailed):
    """Verdicts differ from the source's by more than allowed; `table` shows every clip moved."""

    def __init__(self, summary: str, table: str) -> None:
        super().__init__(f"{summary}\n{table}")
        self.table = table


class ConfigInvalid(ExportFailed):
    """Configs contradict each other, the wire or the server's version; one line per fault."""


class ExportCancelled(ExportFailed):
    """Ctrl-C during a build; nothing was kept."""


class BundleBroken(ExportFailed):
    """A bundle is incomplete or changed; the message names the file."""
