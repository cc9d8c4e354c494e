"""Leaves in this process, without Triton: for golden answers, benchmarks and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livewarden_client.wire import LEAVES, MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.leaf import OpenVinoExecutor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Literal

    from livewarden_ensemble.leaf import Precision
    from livewarden_ensemble.leaf_call import Arrays, LeafCall


class LocalLeaves:
    """An `Infer` over the live bundle's leaves in `repository`, one call after the other.

    `precision` "auto" is what the server chooses on this machine. What a leaf raises goes through
    and is not answered as LeafFailed: an answer that others are judged by must be whole. Not safe
    to call from two threads at once. Raises BundleInvalid.
    """

    def __init__(
        self, repository: Path, threads: int, precision: Literal["auto"] | Precision = "auto"
    ) -> None:
        versions = load_bundle(repository / MODERATION.name).versions
        self._executors = {
            leaf.name: OpenVinoExecutor(
                repository / leaf.name / versions[leaf.name],
                leaf,
                threads=threads,
                precision=precision,
            )
            for leaf in LEAVES
        }

    @property
    def precisions(self) -> dict[str, Precision]:
        """The precision that each leaf runs in."""
        return {name: executor.precision for name, executor in self._executors.items()}

    def __call__(self, calls: Sequence[LeafCall]) -> list[Arrays]:
        """Answer each call in its place."""
        return [self._executors[call.model.name].infer(call.inputs) for call in calls]
