"""Network namespaces joined by a bridge: machines of their own, as far as TCP can tell."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NET = "10.213.77"
# Names of interfaces have at most 15 characters.
_TAG = f"lw{os.getpid() % 100_000}"


@dataclass(frozen=True)
class Machine:
    """A namespace with one address; `link` is its end of the cable at the bridge."""

    name: str
    address: str
    link: str

    def unplug(self) -> None:
        """Take the cable out: nothing goes in or out, and nobody is told."""
        run("ip", "link", "set", self.link, "down")

    def plug(self) -> None:
        """Put it in again."""
        run("ip", "link", "set", self.link, "up")

    def command(self, *command: str) -> list[str]:
        """What runs `command` on this machine."""
        return ["ip", "netns", "exec", self.name, *command]


def explain_missing() -> str:
    """Say why no namespaces can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs ip; run: apt-get install iproute2"
    probe = f"{_TAG}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    if made.returncode:
        return "this kernel or container makes no network namespaces"
    run("ip", "netns", "del", probe)
    return ""


@contextmanager
def make_machines(count: int) -> Iterator[list[Machine]]:
    """Make `count` machines on one bridge, which this process's own namespace is on as well."""
    bridge = f"{_TAG}b"
    with ExitStack() as undo:
        run("ip", "link", "add", bridge, "type", "bridge")
        undo.callback(run, "ip", "link", "del", bridge)
        run("ip", "addr", "add", f"{_NET}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        machines = []
        for number in range(count):
            name, link, inside = (f"{_TAG}{kind}{number}" for kind in "nxy")
            address = f"{_NET}.{11 + number}"
            run("ip", "netns", "add", name)
            undo.callback(run, "ip", "netns", "del", name)
            run("ip", "link", "add", link, "type", "veth", "peer", "name", inside, "netns", name)
            run("ip", "link", "set", link, "master", bridge, "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", inside)
            run("ip", "-n", name, "link", "set", inside, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            machines.append(Machine(name, address, link))
        yield machines


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)
