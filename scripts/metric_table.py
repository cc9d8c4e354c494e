"""Write the table of metrics into docs/operation.md, between its marks.

python scripts/metric_table.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from livewarden_ensemble.metric import PIPELINE, Metric
from livewarden_ensemble.server_metric import SERVER

FILE: Final = Path(__file__).parents[1] / "docs" / "operation.md"
MARKED: Final = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- /metrics -->)", re.DOTALL)


def format_table(table: Mapping[str, Metric]) -> Iterator[str]:
    """The rows of one table, its head included."""
    yield "| metric | labels | what |\n|---|---|---|\n"
    for name, metric in table.items():
        kind = "" if metric.kind == "counter" else f" ({metric.kind})"
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{name}`{kind} | {labels} | {metric.help} |\n"


def main() -> int:
    """Write the file, or say that it is not what it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if stale")
    options = parser.parse_args()
    pipeline, server = ("".join(format_table(table)) for table in (PIPELINE, SERVER))
    text = (
        f"\nOn Triton's port:\n\n{pipeline}"
        f"\nOn the supervisor's port, `--health-port`:\n\n{server}\n"
    )
    old = FILE.read_text()
    new = MARKED.sub(lambda _: text, old)
    if not options.check:
        FILE.write_text(new)
        return 0
    if old == new:
        return 0
    sys.stderr.write(f"{FILE.name} is stale; run: python scripts/metric_table.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
