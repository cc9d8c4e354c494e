"""The caller's side of Livewarden: numpy and tritonclient, nothing else.

from livewarden_client import Client, Clip, Text

with Client("127.0.0.1:8001") as client:
    verdict = client.moderate(Clip(frames=[jpeg], texts=[Text("chat", "hello")], region="DE"))
"""

from __future__ import annotations

from livewarden_client.async_client import AsyncClient
from livewarden_client.client import Client
from livewarden_client.clip import Clip, Text
from livewarden_client.credentials import Credentials
from livewarden_client.errors import FarSideFailed, Misuse, ModerationError
from livewarden_client.fake import FakeTransport
from livewarden_client.hook import Hook
from livewarden_client.transport import Transport
from livewarden_client.verdict import Verdict
from livewarden_client.verdict_json import verdict_to_json

__all__ = [
    "AsyncClient",
    "Client",
    "Clip",
    "Credentials",
    "FakeTransport",
    "FarSideFailed",
    "Hook",
    "Misuse",
    "ModerationError",
    "Text",
    "Transport",
    "Verdict",
    "verdict_to_json",
]


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Reading the metadata costs more than importing the package; few callers ask.
    from importlib.metadata import version

    return version("livewarden")
