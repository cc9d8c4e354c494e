"""How a command of this machine finds the running servers of a repository, and has them load.

A server leaves a record in its runtime directory, readable by its own user alone; a server that is
gone has none, because the lock of its claim is free.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

import msgspec
import tritonclient.grpc as triton

from livewarden_ensemble.claim import Claim, list_claims
from livewarden_ensemble.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

RECORD: Final = "server.json"

_LOAD_TIMEOUT_S: Final = 600.0
_ASK_TIMEOUT_S: Final = 10.0
_METRICS_TIMEOUT_S: Final = 1.0
# A model that cannot be loaded. While the last load of a model has failed, Triton's readiness is
# false, and it serves all others as before: the one way to have it say so.
_CLOSING: Final = "livewarden_closing"
_WAITING: Final = 'nv_inference_pending_request_count{{model="{}",version="[0-9]+"}} ([0-9]+)'


class Record(msgspec.Struct, frozen=True):
    """Where a running server is, and the secret that opens its admin endpoints."""

    repository: str
    grpc: str
    metrics: str
    secret: str
    public_key: str | None = None

    def __repr__(self) -> str:
        return f"Record({self.grpc} on {self.repository})"


def write_record(runtime: Path, record: Record) -> None:
    """Leave the record in the runtime directory of a claim, mode 0600."""
    staged = runtime / f"{RECORD}.new"
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(record))
    staged.replace(runtime / RECORD)


def find_servers(repository: Path) -> list[Record]:
    """The servers of ours that run on `repository` now, as far as this user may know of them."""
    wanted = str(repository.resolve())
    return [record for record in _list_records() if record.repository == wanted]


def _list_records() -> Iterator[Record]:
    for token in (token for token, held in list_claims().items() if held):
        try:
            yield msgspec.json.decode((Claim(token, -1).runtime / RECORD).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):  # still starting, or already going
            continue


def count_waiting(record: Record, model: str) -> int:
    """Requests for `model` that wait in its queue; 0 where the server does not say."""
    try:
        with urllib.request.urlopen(record.metrics, timeout=_METRICS_TIMEOUT_S) as answer:  # noqa: S310 - our own http address
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return 0
    return sum(map(int, re.findall(_WAITING.format(re.escape(model)), text)))


class Admin:
    """The locked endpoints of one running server. Raises ServerFailed where it says no."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._client = triton.InferenceServerClient(record.grpc)
        self._headers = {"triton-grpc-protocol-livewarden-admin": record.secret}

    def load(self, models: Iterable[str]) -> None:
        """Make the server serve exactly the version folders that `models` have now.

        Versions whose folder did not change go on serving untouched; those that are gone end after
        the requests in flight.
        """
        for model in models:
            try:
                self._client.load_model(
                    model, headers=self._headers, client_timeout=_LOAD_TIMEOUT_S
                )
            except triton.InferenceServerException as error:
                raise ServerFailed(
                    f"the server at {self.record.grpc} could not load {model}: "
                    f"{(error.message() or '').partition(chr(10))[0]}"
                ) from None

    def serves(self, versions: Mapping[str, str]) -> bool:
        """Whether every leaf of `versions` (leaf -> version) is loaded and ready."""
        try:
            return all(
                self._client.is_model_ready(leaf, version, client_timeout=_ASK_TIMEOUT_S)
                for leaf, version in versions.items()
            )
        except triton.InferenceServerException as error:
            raise ServerFailed(
                f"the server at {self.record.grpc} does not answer: {error.message()}"
            ) from None

    def turn_unready(self) -> None:
        """Make Triton's own readiness false, for good; it goes on serving."""
        config = json.dumps({"name": _CLOSING, "backend": _CLOSING})
        with contextlib.suppress(triton.InferenceServerException):  # that is what it is for
            self._client.load_model(
                _CLOSING,
                headers=self._headers,
                config=config,
                files={"file:1/none": b""},
                client_timeout=_METRICS_TIMEOUT_S,
            )

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()
