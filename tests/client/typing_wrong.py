"""What callers get wrong: each line's comment is the error that mypy must give there.

Not run; see test_typing. The comment of a wrong line gives the code and part of the message.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from livewarden_client import Client, Clip, FakeTransport, Text, Verdict
from livewarden_client.video import read_video


def misuse(client: Client, clip: Clip, verdict: Verdict, pixels: NDArray[np.float32]) -> None:
    """Every statement is wrong."""
    Text("subtitle", "hello")  # arg-type: Argument 1 to "Text" has incompatible type
    Text("chat")  # call-arg: Missing positional argument "text"
    Text("chat", None)  # arg-type: Argument 2 to "Text" has incompatible type "None"
    Clip(b"jpeg")  # arg-type: Argument 1 to "Clip" has incompatible type "bytes"
    Clip(frames=["path.jpg"])  # list-item: List item 0 has incompatible type "str"
    Clip(texts=["hello"])  # list-item: List item 0 has incompatible type "str"
    Clip([], [], [0])  # call-arg: Too many positional arguments
    Clip(frames_rgb=pixels)  # arg-type: Argument "frames_rgb" to "Clip" has incompatible type
    Clip(regoin="DE")  # call-arg: Unexpected keyword argument "regoin"
    Clip(captured_at_ms=1.5)  # arg-type: Argument "captured_at_ms" to "Clip" has incompatible type
    clip.region = "DE"  # misc: Property "region" defined in "Clip" is read-only
    client.moderate("hello")  # arg-type: Argument 1 to "moderate" of "Client"
    client.moderate([clip])  # arg-type: Argument 1 to "moderate" of "Client"
    client.moderate(clip, timeout="5")  # arg-type: Argument "timeout" to "moderate"
    str(client.moderate(clip).verdict)  # attr-defined: "Verdict" has no attribute "verdict"
    bool(verdict.action == "allowed")  # comparison-overlap: Non-overlapping equality check
    verdict.action = "allow"  # misc: Property "action" defined in "Verdict" is read-only
    verdict.labels.append(1)  # attr-defined: has no attribute "append"
    verdict.state.encode()  # union-attr: Item "None" of "str | None" has no attribute "encode"
    verdict.label.upper()  # union-attr: Item "None" of "str | None" has no attribute "upper"
    Client(transport=FakeTransport)  # arg-type: Argument "transport" to "Client"
    Client("127.0.0.1:8001", 5)  # call-arg: Too many positional arguments
    FakeTransport(verdict)  # arg-type: Argument 1 to "FakeTransport"
    FakeTransport(print)  # arg-type: Argument 1 to "FakeTransport"
    read_video("a.mp4", 2)  # call-arg: Too many positional arguments
    read_video("a.mp4", like={"region": "DE"})  # arg-type: Argument "like" to "read_video"


def forget(verdict: Verdict) -> str:  # return: Missing return statement
    """An action that nobody thought of is an error of the checker's, not of the night's."""
    match verdict.action:
        case "allow":
            return "on"
        case "block":
            return "off"
