"""Real exchanges kept in files, and answered from them, for the tests of whoever calls the client.

A recording is a folder. `exchanges.jsonl` has one JSON object per exchange, in the order of the
answers, and `media/` the frames, each once, named by their SHA-256:

    {"format": "livewarden.exchange/v1",
     "request": {"context": {...}, "texts": ["..."], "frames": ["<sha256>", ...],
                 "frames_rgb": {"shape": [T, H, W, 3], "media": "<sha256>"} or null},
     "verdict": {...}}   or       "error": {"kind": "Unavailable", "message": "..."}

Bytes of a text that are no UTF-8 are lone surrogates, as Python's `surrogateescape` writes them.
`nonce`, `request_id` and `deadline_ms` are those of one call alone, and are left out. Addresses and
credentials never reach a recording; what the caller sent does: record test data, not people.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from livewarden_client import errors
from livewarden_client.clip import Clip, Text
from livewarden_client.errors import FarSideFailed, InvalidRequest, ModerationError, ServerError

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from livewarden_client.request import Request
    from livewarden_client.transport import Transport

FORMAT: Final = "livewarden.exchange/v1"
EXCHANGES: Final = "exchanges.jsonl"
_MEDIA: Final = "media"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OF_ONE_CALL: Final = frozenset({"nonce", "request_id", "deadline_ms"})


class RecordingTransport:
    """Carries requests through `inner` and keeps every exchange in the new folder `path`.

    An exchange is on disk before its answer reaches the caller. Raises InvalidRequest where the
    folder exists already.
    """

    def __init__(self, inner: Transport, path: str | Path) -> None:
        self._inner = inner
        self._path = Path(path)
        self._lock = threading.Lock()
        try:
            (self._path / _MEDIA).mkdir(parents=True)
            (self._path / EXCHANGES).touch(exist_ok=False)
        except FileExistsError:
            raise InvalidRequest(
                f"path: {self._path.name!r} exists already; remove it, or name a new folder", "path"
            ) from None

    def infer(self, request: Request) -> Future[bytes]:
        """Send `request` and keep what becomes of it; see Transport."""
        kept: Future[bytes] = Future()
        try:
            answer = self._inner.infer(request)
        except ModerationError as error:
            self._keep(request, _describe_error(error))
            raise

        def settle(answer: Future[bytes]) -> None:
            try:
                self._settle(request, answer, kept)
            except Exception as error:  # noqa: BLE001 - in a foreign thread: the caller must hear
                kept.set_exception(error)

        answer.add_done_callback(settle)
        return kept

    def is_ready(self, timeout: float) -> bool:
        """Ask the inner transport."""
        return self._inner.is_ready(timeout)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()

    def _settle(self, request: Request, answer: Future[bytes], kept: Future[bytes]) -> None:
        if answer.cancelled():
            kept.cancel()
            return
        error = answer.exception()
        if isinstance(error, ModerationError):
            self._keep(request, _describe_error(error))
        elif error is None:
            self._keep(request, _describe_answer(answer.result()))
        if error is None:
            kept.set_result(answer.result())
        else:
            kept.set_exception(error)

    def _keep(self, request: Request, outcome: dict[str, Any]) -> None:
        described, media = _describe_request(request)
        line = json.dumps({"format": FORMAT, "request": described, **outcome}) + "\n"
        with self._lock:
            for digest, content in media.items():
                file = self._path / _MEDIA / digest
                if not file.exists():
                    file.write_bytes(content)
            with (self._path / EXCHANGES).open("a", encoding="utf-8") as file_:
                file_.write(line)


class ReplayTransport:
    """Answers requests from the recording in the folder `path`, without a server.

    A request is answered by the exchange with the same content: context, texts and frames. What
    was asked several times is answered in the order of the recording, and then by its last answer.
    `ignore` names fields of the context that may differ, like `captured_at_ms`. A request that was
    not recorded ends as InvalidRequest. Raises InvalidRequest for what is no recording.
    """

    def __init__(self, path: str | Path, *, ignore: Collection[str] = ()) -> None:
        self._ignored = _OF_ONE_CALL | set(ignore)
        self._name = Path(path).name
        self._lock = threading.Lock()
        self._answers: dict[str, deque[dict[str, Any]]] = {}
        for exchange in _load(Path(path)):
            self._answers.setdefault(self._key(exchange["request"]), deque()).append(exchange)

    def infer(self, request: Request) -> Future[bytes]:
        """Answer `request` at once; see Transport."""
        described, _ = _describe_request(request)
        with self._lock:
            answers = self._answers.get(self._key(described), deque())
            exchange = answers.popleft() if len(answers) > 1 else next(iter(answers), None)
        answer: Future[bytes] = Future()
        if exchange is None:
            answer.set_exception(
                InvalidRequest(
                    f"no exchange with this clip is in the recording {self._name!r}, which has "
                    f"{len(self._answers)} different ones; record it, or ignore the fields that "
                    "change from call to call",
                    "clip",
                )
            )
        elif "error" in exchange:
            answer.set_exception(_make_error(exchange["error"]))
        else:
            own = {"nonce": request.nonce, "request_id": request.request_id}
            answer.set_result(json.dumps(exchange["verdict"] | own).encode())
        return answer

    def is_ready(self, timeout: float) -> bool:  # noqa: ARG002 - the name is part of the protocol
        """Give True: a recording is always there."""
        return True

    def close(self) -> None:
        """Do nothing."""

    def _key(self, described: dict[str, Any]) -> str:
        context = {k: v for k, v in described["context"].items() if k not in self._ignored}
        return json.dumps({**described, "context": context}, sort_keys=True)


def _describe_request(request: Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Give the content of `request` as JSON, and the media that it names by their digest."""
    context = json.loads(request.context)
    frames = {_hash(frame): frame for frame in request.frames}
    described: dict[str, Any] = {
        "context": {k: v for k, v in context.items() if k not in _OF_ONE_CALL},
        "texts": [text.decode("utf-8", "surrogateescape") for text in request.texts],
        "frames": [_hash(frame) for frame in request.frames],
        "frames_rgb": None,
    }
    if request.frames_rgb is not None:
        pixels = request.frames_rgb.tobytes()
        frames[_hash(pixels)] = pixels
        described["frames_rgb"] = {
            "shape": list(request.frames_rgb.shape),
            "media": _hash(pixels),
        }
    return described, frames


def _describe_answer(raw: bytes) -> dict[str, Any]:
    try:
        verdict = json.loads(raw)
    except (ValueError, RecursionError):
        verdict = None
    if not isinstance(verdict, dict):
        return _describe_error(ServerError("the answer was no JSON object when it was recorded"))
    return {"verdict": {k: v for k, v in verdict.items() if k not in _OF_ONE_CALL}}


def _describe_error(error: ModerationError) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    # What callers look at beside the kind: `field`, `retry_after`.
    details = {
        name: value
        for name, value in vars(error).items()
        if name not in _OF_ONE_CALL and isinstance(value, str | int | float)
    }
    return {"error": described | ({"details": details} if details else {})}


def _make_error(described: dict[str, Any]) -> ModerationError:
    kind = getattr(errors, described["kind"], None)
    if not (isinstance(kind, type) and issubclass(kind, ModerationError)):
        kind = FarSideFailed  # of a newer client's recording
    error: ModerationError = kind(described["message"])
    vars(error).update(described.get("details", {}))
    return error


def _load(path: Path) -> list[dict[str, Any]]:
    try:
        lines = (path / EXCHANGES).read_text("utf-8").splitlines()
    except OSError:
        raise InvalidRequest(
            f"path: {path.name!r} is no recording; it would hold {EXCHANGES}", "path"
        ) from None
    return [
        parse_exchange(line, f"{path.name}/{EXCHANGES}:{number}")
        for number, line in enumerate(lines, 1)
    ]


def parse_exchange(line: str | bytes, place: str) -> dict[str, Any]:
    """Parse one line of a recording; raises InvalidRequest, which names `place`."""
    try:
        exchange = json.loads(line)
    except ValueError:
        exchange = None
    if (
        not isinstance(exchange, dict)
        or exchange.get("format") != FORMAT
        or not isinstance(exchange.get("request"), dict)
        or not isinstance(exchange["request"].get("context"), dict)
    ):
        raise InvalidRequest(f"path: {place} is no exchange of the format {FORMAT!r}", "path")
    return exchange


def load_clip(exchange: dict[str, Any], path: Path) -> Clip:
    """Make the clip of an exchange in the recording `path` again, as its caller made it.

    Raises OSError where its media cannot be read, InvalidRequest where it is no clip.
    """
    request = exchange["request"]
    context = dict(request["context"])
    media = path / _MEDIA
    try:
        pixels = request["frames_rgb"]
        infos = context.pop("texts", [{}] * len(request["texts"]))
        texts = [
            Text(text=text.encode("utf-8", "surrogateescape"), **info)
            for text, info in zip(request["texts"], infos, strict=True)
        ]
        return Clip(
            frames=[_read_media(media, digest) for digest in request["frames"]],
            frames_rgb=None if pixels is None else _read_pixels(media, pixels),
            texts=texts,
            **context,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidRequest):
            raise
        # The cause is left out: a message may quote the text.
        raise InvalidRequest(f"the exchange holds no clip ({type(error).__name__})") from None


def _read_media(media: Path, digest: str) -> bytes:
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest("a frame is named by no SHA-256", "frames")
    return (media / digest).read_bytes()


def _read_pixels(media: Path, pixels: dict[str, Any]) -> NDArray[np.uint8]:
    import numpy as np  # here: importing the client loads no array library

    return np.frombuffer(_read_media(media, pixels["media"]), np.uint8).reshape(pixels["shape"])


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
