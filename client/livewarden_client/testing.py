"""Transports that need no server, for the tests of whoever calls the client.

Client(transport=FakeTransport(lambda request: verdict))   answers what the test says
Client(transport=RecordingTransport(inner, "case"))        keeps what a real server answered
Client(transport=ReplayTransport("case"))                  answers the same again
"""

from __future__ import annotations

from livewarden_client.fake import FakeTransport
from livewarden_client.recorder import RecordingTransport, ReplayTransport

__all__ = ["FakeTransport", "RecordingTransport", "ReplayTransport"]
