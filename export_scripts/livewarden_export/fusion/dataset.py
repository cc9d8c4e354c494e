"""Labelled clips on disk: a folder with clips.jsonl and the media that it names.

One JSON object a line:

    {"id": "c1", "split": "train", "group": "evening-7", "labels": ["hate"], "unsure": [],
     "frames": ["media/c1-0.jpg"], "texts": [{"kind": "chat", "text": "..."}], "swap": null}

`labels` hold for the clip as a whole: some item shows them, nobody says which. `unsure` labels are
left out of training and measuring. `frames` are paths inside the folder, in time order; both lists
may be empty or left out. `split` is train, validation or test, and where it is left out, `group`
decides by its hash: clips of one group (a stream, a text family) never end up in two splits.
`swap` names a set of clips that differ in nothing but the group of people they mention.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from livewarden_client.wire import LABELS, MAX_FRAMES, MAX_TEXTS, TEXT_KINDS

CLIPS_FILE: Final = "clips.jsonl"
Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

_SHARES: Final = (0.7, 0.15)  # train, validation; the rest is test
_FIELDS: Final = ("id", "split", "group", "labels", "unsure", "frames", "texts", "swap")


class DatasetInvalid(Exception):
    """A data folder is not what the format says; the message names the file, line and field."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled clip. `frames` are paths inside the data folder, `texts` (kind, text) pairs."""

    id: str
    split: Split
    group: str
    labels: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    swap: str | None = None

    def to_line(self) -> str:
        """Its line in clips.jsonl."""
        row = asdict(self) | {"texts": [{"kind": k, "text": t} for k, t in self.texts]}
        return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The clips of one folder."""

    folder: Path
    clips: tuple[Clip, ...]

    def take(self, split: Split) -> list[Clip]:
        """The clips of one split, in file order."""
        return [clip for clip in self.clips if clip.split == split]


def load_dataset(folder: Path) -> Dataset:
    """Read and check all of `folder`; raises DatasetInvalid."""
    file = folder / CLIPS_FILE
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise DatasetInvalid(f"{file}: cannot be read ({error.strerror})") from None
    clips = tuple(
        parse_clip(f"{file}:{number}", line, folder)
        for number, line in enumerate(lines, 1)
        if line.strip()
    )
    if not clips:
        raise DatasetInvalid(f"{file}: holds no clips")
    if len({clip.id for clip in clips}) != len(clips):
        raise DatasetInvalid(f"{file}: two clips share an id")
    return Dataset(folder, clips)


def write_dataset(folder: Path, clips: Iterable[Clip]) -> None:
    """Write clips.jsonl; the media must lie in `folder` already."""
    lines = "".join(clip.to_line() + "\n" for clip in clips)
    (folder / CLIPS_FILE).write_text(lines, "utf-8")


def draw_split(group: str) -> Split:
    """The split of a group: the same on every machine, about 70, 15 and 15 percent."""
    point = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
    if point < _SHARES[0]:
        return "train"
    return "validation" if point < sum(_SHARES) else "test"


def parse_clip(where: str, line: str, folder: Path) -> Clip:
    """Parse one line of clips.jsonl in `folder`; raises DatasetInvalid, which names `where`."""
    try:
        row = json.loads(line)
    except ValueError:
        raise DatasetInvalid(f"{where}: is not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise DatasetInvalid(f"{where}: must be an object with a text 'id'")
    strange = sorted(row.keys() - set(_FIELDS))
    if strange:
        raise DatasetInvalid(f"{where}: unknown field {strange[0]!r}; known: {', '.join(_FIELDS)}")
    group = str(row.get("group") or row["id"])
    split = row.get("split") or draw_split(group)
    if split not in SPLITS:
        raise DatasetInvalid(f"{where}: 'split' must be one of {', '.join(SPLITS)}")
    frames = _strings(where, row, "frames")
    for frame in frames:
        if not (folder / frame).is_file() or not (folder / frame).resolve().is_relative_to(
            folder.resolve()
        ):
            raise DatasetInvalid(f"{where}: frame {frame!r} is no file in the data folder")
    texts = tuple(_parse_text(where, item) for item in row.get("texts") or ())
    if len(frames) > MAX_FRAMES or len(texts) > MAX_TEXTS:
        raise DatasetInvalid(f"{where}: over {MAX_FRAMES} frames or {MAX_TEXTS} texts")
    return Clip(
        id=row["id"],
        split=split,
        group=group,
        labels=_labels(where, row, "labels"),
        unsure=_labels(where, row, "unsure"),
        frames=frames,
        texts=texts,
        swap=row.get("swap"),
    )


def _strings(where: str, row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    items = row.get(name) or ()
    if not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise DatasetInvalid(f"{where}: {name!r} must be a list of texts")
    return tuple(items)


def _labels(where: str, row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    labels = _strings(where, row, name)
    unknown = [label for label in labels if label not in LABELS]
    if unknown:
        raise DatasetInvalid(f"{where}: unknown label {unknown[0]!r}; known: {', '.join(LABELS)}")
    return labels


def _parse_text(where: str, item: Any) -> tuple[str, str]:
    if not isinstance(item, dict) or item.get("kind") not in TEXT_KINDS:
        raise DatasetInvalid(f"{where}: a text needs 'kind', one of {', '.join(TEXT_KINDS)}")
    if not isinstance(item.get("text"), str):
        raise DatasetInvalid(f"{where}: a text needs 'text'")
    return item["kind"], item["text"]
