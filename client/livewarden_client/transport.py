"""The seam between the client and the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

    from livewarden_client.request import Request


class Transport(Protocol):
    """Carries requests to a server; the client adds nonce, deadline and decoding.

    A transport is safe to use from several threads. It never looks at a request's timeout to end
    a call: the client stops waiting by itself and leaves the call to finish.
    """

    def infer(self, request: Request) -> Future[bytes]:
        """Send `request` and return at once; the future gives the JSON of the verdict.

        The call, or the future, fails with a ModerationError.
        """
        ...

    def is_ready(self, timeout: float) -> bool:
        """Tell within `timeout` seconds whether server and model take requests.

        Raises FarSideFailed where nobody answers.
        """
        ...

    def close(self) -> None:
        """Give up all connections; calls still on the wire end as Unavailable."""
        ...
