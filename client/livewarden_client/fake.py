"""A transport without a server, for the tests of whoever calls the client."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from livewarden_client.errors import ModerationError
from livewarden_client.verdict import Verdict
from livewarden_client.verdict_json import verdict_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_client.request import Request

Answer = Verdict | bytes | Future[bytes]


class FakeTransport:
    """Answers each request by calling `answer`, in the caller's thread.

    A Verdict comes back under the request's own nonce and request id. Bytes come back as they
    are. A Future stays as it is, so that a test can answer late or never. A ModerationError that
    `answer` raises is what the call ends in. `requests` keeps what was sent, in order.

        client = Client(transport=FakeTransport(lambda request: verdict))
    """

    def __init__(self, answer: Callable[[Request], Answer], *, ready: bool = True) -> None:
        self._answer = answer
        self.ready = ready
        self.requests: list[Request] = []
        self.closed = False

    def infer(self, request: Request) -> Future[bytes]:
        """Answer `request`."""
        self.requests.append(request)
        future: Future[bytes] = Future()
        try:
            answer = self._answer(request)
        except ModerationError as error:
            future.set_exception(error)
            return future
        if isinstance(answer, Future):
            return answer
        if isinstance(answer, Verdict):
            own = replace(answer, nonce=request.nonce, request_id=request.request_id)
            answer = verdict_to_json(own).encode()
        future.set_result(answer)
        return future

    def is_ready(self, timeout: float) -> bool:  # noqa: ARG002 - the name is part of the protocol
        """Give `ready`."""
        return self.ready

    def close(self) -> None:
        """Remember that the client was closed."""
        self.closed = True
