"""The chain of the audit log: each line carries a seal over itself and the seal before it.

A line is `{"chain":"<64 hex>","record":<JSON>}`. The seal is HMAC-SHA256 under the log's chain key
over the previous seal and the exact bytes of the record, so that no line can be changed, added,
removed or moved without the key. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What stands for the previous seal where there is none.
START: Final = "0" * 64
# Longer lines are not ours; a reader need not hold them. A verdict's line has 3 KiB.
MAX_LINE_BYTES: Final = 64 * 1024

_HEAD: Final = b'{"chain":"'
_MIDDLE: Final = b'","record":'
_TAIL: Final = b"}\n"
_SEAL_AT: Final = len(_HEAD)
_MIDDLE_AT: Final = _SEAL_AT + len(START)
_RECORD_AT: Final = _MIDDLE_AT + len(_MIDDLE)


@dataclass(frozen=True, slots=True)
class Link:
    """One good line: its seal, its record (JSON), and where the line ends in the file, in bytes."""

    chain: str
    record: bytes
    end: int


def seal(record: bytes, previous: str, key: bytes) -> str:
    """Seal `record` after the line whose seal is `previous`."""
    return hmac.digest(key, previous.encode("ascii") + record, "sha256").hex()


def write_line(record: bytes, chain: str) -> bytes:
    """Write the line of `record`, which is JSON without a newline."""
    return b"".join((_HEAD, chain.encode("ascii"), _MIDDLE, record, _TAIL))


def read_line(line: bytes) -> tuple[str, bytes] | None:
    """Read the seal and the record of `line`, unchecked; None where it is not of this form."""
    if (
        len(line) > MAX_LINE_BYTES
        or not line.startswith(_HEAD)
        or line[_MIDDLE_AT:_RECORD_AT] != _MIDDLE
        or not line.endswith(_TAIL)
    ):
        return None
    try:
        return line[_SEAL_AT:_MIDDLE_AT].decode("ascii"), line[_RECORD_AT : -len(_TAIL)]
    except UnicodeDecodeError:
        return None


def follow(lines: Iterable[bytes], previous: str, key: bytes, start: int = 0) -> Iterator[Link]:
    """Follow the chain from `previous` through `lines`, which begin at byte `start` of their file.

    Ends without a word before the first line that is not the next of the chain.
    """
    end = start
    for line in lines:
        read = read_line(line)
        if read is None:
            return
        chain, record = read
        if not hmac.compare_digest(chain, seal(record, previous, key)):
            return
        end += len(line)
        yield Link(chain, record, end)
        previous = chain
