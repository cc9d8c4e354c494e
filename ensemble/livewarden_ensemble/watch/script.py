"""The script of a recording: what was said beside its pictures, each text with its time.

A chat is a file of JSON objects, one a line; speech is a subtitle file. See docs/watch.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import pysubs2

from livewarden_client.clip import Text
from livewarden_client.errors import Misuse
from livewarden_client.wire import MAX_MS, TextKind
from livewarden_ensemble.context import filter_problem
from livewarden_ensemble.errors import ScriptInvalid

if TYPE_CHECKING:
    from pathlib import Path

_MAX_SECONDS: Final = MAX_MS / 1000
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_SECONDS)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]


class ChatLine(msgspec.Struct, frozen=True):
    """One line of a chat file: `t` in seconds or `t_ms` in milliseconds since the video began.

    Other fields than these are passed over: exports of real chats have many.
    """

    text: str
    t: _Seconds | None = None
    t_ms: _Milliseconds | None = None
    kind: TextKind = "chat"
    author: str | None = None
    lang: str = ""

    def to_text(self) -> Text:
        """The line as a text of a clip. Raises ValueError unless exactly one time is given."""
        if (self.t is None) == (self.t_ms is None):
            raise ValueError("needs either `t` (seconds) or `t_ms` (milliseconds)")
        at_ms = self.t_ms if self.t is None else round(self.t * 1000)
        return Text(self.kind, self.text, at_ms, self.author, self.lang)


_CHAT_DECODER: Final = msgspec.json.Decoder(ChatLine)


def read_chat(path: Path) -> tuple[Text, ...]:
    """Read the chat file at `path`, in time order. Raises ScriptInvalid with file and line."""
    texts = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            texts.append(_CHAT_DECODER.decode(line).to_text())
        except msgspec.ValidationError as error:
            problem = filter_problem(str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problem = "is not valid JSON in UTF-8"
        except (ValueError, Misuse) as error:
            problem = str(error)
        else:
            continue
        raise ScriptInvalid(f"{path}:{number}: is no chat line: {problem}")
    return _order(texts)


def read_speech(path: Path) -> tuple[Text, ...]:
    """Read the subtitles at `path` as recognised speech, in time order, without their markup.

    SRT, or any other format that pysubs2 knows. A cue's time is when it begins. Raises
    ScriptInvalid with file and cue.
    """
    try:
        cues = pysubs2.SSAFile.from_string(_read(path).decode("utf-8-sig"))
    except (UnicodeDecodeError, pysubs2.Pysubs2Error) as error:
        # Its message would quote the file.
        raise ScriptInvalid(
            f"{path}: cannot be read as subtitles in UTF-8, as SRT is ({type(error).__name__})"
        ) from None
    texts = []
    for number, cue in enumerate(cues, 1):
        said = " ".join(cue.plaintext.split())
        if cue.is_comment or not said:
            continue
        try:
            texts.append(Text("asr", said, cue.start))
        except Misuse as error:
            raise ScriptInvalid(f"{path}: cue {number}: {error}") from None
    if not texts:
        raise ScriptInvalid(f"{path}: holds no subtitles; accepted: SRT and the like")
    return _order(texts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ScriptInvalid(f"{path}: cannot be read: {error.strerror}") from None


def _order(texts: list[Text]) -> tuple[Text, ...]:
    return tuple(sorted(texts, key=lambda text: text.ts_ms or 0))
