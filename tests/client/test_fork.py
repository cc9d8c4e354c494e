from __future__ import annotations

import subprocess
import sys
from typing import Any

CHILD = """
import os, sys, threading
from livewarden_client import Client, Clip, Misuse

client = Client(sys.argv[1], on_failure="raise")
client.moderate(Clip(request_id="before"))
client._fleet._lock.acquire()  # as another thread may have at that moment
child = os.fork()
if child == 0:
    for ask in (lambda: client.moderate(Clip()), client.is_ready,
                lambda: next(client.moderate_many([Clip()])),
                lambda: client.open_stream("s").moderate(Clip())):
        try:
            ask()
        except Misuse as error:
            assert "forked" in str(error), error
        else:
            os._exit(3)
    client.close()
    os._exit(0)
client._fleet._lock.release()
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert client.moderate(Clip(request_id="after")).request_id == "after"
client.close()
print("well")
"""


def test_client_is_refused_in_a_forked_child(kserve: Any) -> None:
    """A child that inherits a client gets Misuse at once and no hang; the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, kserve.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
