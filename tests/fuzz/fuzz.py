"""Fuzz the parsers of callers' bytes with atheris, each for its share of time.

    python tests/fuzz/fuzz.py --seconds 60 [TARGET...]

Starts from seeds/TARGET and crashes/TARGET beside this file, keeps what it learns in --corpus, and
writes what breaks a target to crashes/TARGET, where the tests find it. Ends with 1 if there is any.
Needs the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
NAMES: Final = ("decode", "image_header", "text", "context", "policy", "state_token")
MOST_BYTES: Final = {"text": 20_000, "policy": 4_000}
_RUNS: Final = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)
HANG_S: Final = 5  # a second on an idle machine, instrumented


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["livewarden_ensemble", "livewarden_client"]):
        from target import TARGETS
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def start(name: str, seconds: int, learnt: Path) -> tuple[int, int]:
    """Fuzz one target in a process of its own; gives its status, and how often it ran."""
    crashes = HERE / "crashes" / name
    for folder in (learnt, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG_S}",
        f"-artifact_prefix={crashes}/",
        f"-max_len={MOST_BYTES.get(name, 8_000)}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
        *map(str, (learnt, HERE / "seeds" / name, crashes)),
    ]
    command = [sys.executable, __file__, "--one", name, *arguments]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.splitlines()
    for line in lines if done.returncode else lines[-6:]:
        print(f"{name}: {line}")
    runs = _RUNS.search(done.stderr)
    return done.returncode, int(runs[1]) if runs else 0


def main() -> int:
    """Fuzz the targets that are named, or all."""
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", nargs="*", help=f"of: {', '.join(NAMES)}; all if none")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path(".cache/fuzz"), help="what is learnt")
    options = parser.parse_args()
    if unknown := set(options.target) - set(NAMES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; {', '.join(NAMES)} are")
    failed = [
        name
        for name in options.target or NAMES
        if start(name, options.seconds, options.corpus / name)[0]
    ]
    if failed:
        print(f"failed: {', '.join(failed)}; see {HERE / 'crashes'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
