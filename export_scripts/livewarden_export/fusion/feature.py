"""Frozen encoders over a data set: every text and frame is encoded once and kept on disk.

Texts and frames take the served way: the same decoder, normaliser, tokeniser and exported encoders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import (
    FUSION_CLASSIFIER,
    LABELS,
    MODALITIES,
    NSFW_ENCODER,
    TEXT_ENCODER,
    VISION_ENCODER,
)
from livewarden_ensemble.decode import decode_frame
from livewarden_ensemble.fuse import VISION_INPUTS
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.tokenise import Tokeniser
from livewarden_export.fusion.dataset import Clip, Dataset
from livewarden_export.fusion.served import Encoders

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

_BATCH: Final = 64
_TEXT_DIM: Final = FUSION_CLASSIFIER.input("text_embedding").dims[1]
_VERSION: Final = "1"  # of what the cache holds; part of every key


@dataclass(frozen=True, slots=True)
class Features:
    """Encoded clips: tables of distinct items, and for each clip the rows that are its own.

    `frames` maps the head's frame inputs to [F, ...]; `texts` is [W, 768], one row a window. Row 0
    of every table is zeros, for padding. `frame_rows` [N, T] and `text_rows` [N, S] hold table
    rows, `kinds` [N, S] the text kinds, 0 for padding. `targets` and `weights` are [N, L].
    """

    frames: dict[str, Floats]
    texts: Floats
    frame_rows: NDArray[np.int64]
    text_rows: NDArray[np.int64]
    kinds: NDArray[np.int32]
    targets: Floats
    weights: Floats
    clips: tuple[Clip, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Features:
        """The same tables, fewer clips."""
        index = np.asarray(rows, np.int64)
        return Features(
            self.frames,
            self.texts,
            self.frame_rows[index],
            self.text_rows[index],
            self.kinds[index],
            self.targets[index],
            self.weights[index],
            tuple(self.clips[i] for i in index),
        )

    def gather(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The head's inputs for some clips, by wire name."""
        seen, read = self.frame_rows[rows], self.text_rows[rows]
        # Short batches cost less: the axes end at the longest clip of this batch.
        seen = seen[:, : max(1, int((seen > 0).sum(axis=1).max(initial=0)))]
        read = read[:, : max(1, int((read > 0).sum(axis=1).max(initial=0)))]
        return {
            **{name: table[seen] for name, table in self.frames.items()},
            "frame_mask": (seen > 0).astype(np.int32),
            "text_embedding": self.texts[read],
            "text_kind": self.kinds[rows][:, : read.shape[1]],
            "nonce": np.zeros((len(rows), 1), np.int64),
        }


class FeatureCache:
    """Encoder answers by content, in one npz a kind; other encoders have files of their own."""

    def __init__(self, folder: Path, encoders: Encoders) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._places = {
            kind: folder / f"{kind}-{digest[:16]}.npz" for kind, digest in encoders.digests.items()
        }
        self._answer = encoders.answer
        self._tokeniser = Tokeniser.from_file(encoders.tokenizer)

    def encode_texts(
        self, texts: Iterable[str], progress: Progress | None = None
    ) -> dict[str, Floats]:
        """Each distinct text's windows [W, 768]; W is 0 where nothing is left of it."""
        # Kept by what the encoder sees, so that a change of the normaliser finds no stale answer.
        plain = {text: normalise_text(text.encode()).text for text in dict.fromkeys(texts)}
        wanted = {_hash(text.encode()): text for text in plain.values()}
        known = self._load("texts")
        fresh = sorted((k for k in wanted if k not in known), key=lambda key: len(wanted[key]))
        for start in range(0, len(fresh), _BATCH):
            keys = fresh[start : start + _BATCH]
            tokens = self._tokeniser.encode([wanted[key] for key in keys])
            rows = np.zeros((0, _TEXT_DIM), np.float32)
            if tokens.owners:
                inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
                rows = self._answer(TEXT_ENCODER, inputs)["text_embedding"]
            owners = np.array(tokens.owners, np.int64)
            for index, key in enumerate(keys):
                known[key] = rows[owners == index]
            if progress:
                progress(min(start + _BATCH, len(fresh)), len(fresh))
        if fresh:
            self._store("texts", known)
        return {text: known[_hash(seen.encode())] for text, seen in plain.items()}

    def encode_frames(
        self, paths: Iterable[Path], progress: Progress | None = None
    ) -> dict[Path, dict[str, Floats]]:
        """Each picture's views, by the head's input names [V, ...]; V is 0 if it is damaged."""
        blobs = {path: path.read_bytes() for path in dict.fromkeys(paths)}
        keys = {path: _hash(blob) for path, blob in blobs.items()}
        known = self._load("frames")
        fresh = [path for path in blobs if f"{keys[path]}/{VISION_INPUTS[0].name}" not in known]
        for count, path in enumerate(fresh, 1):
            views = decode_frame(blobs[path]).views
            columns = {t.name: np.zeros((0, *t.dims[1:]), np.float32) for t in VISION_INPUTS}
            if views:
                inputs: dict[str, NDArray[Any]] = {"frame": np.stack(views)}
                both = self._answer(VISION_ENCODER, inputs) | self._answer(NSFW_ENCODER, inputs)
                columns = {name: both[name].astype(np.float32) for name in columns}
            known |= {f"{keys[path]}/{name}": rows for name, rows in columns.items()}
            if progress:
                progress(count, len(fresh))
        if fresh:
            self._store("frames", known)
        return {
            path: {t.name: known[f"{key}/{t.name}"] for t in VISION_INPUTS}
            for path, key in keys.items()
        }

    def _load(self, kind: str) -> dict[str, Floats]:
        path = self._places[kind]
        if not path.is_file():
            return {}
        with np.load(path) as held:
            names, lengths = held["names"], held["lengths"]
            parts = np.split(held["rows"], np.cumsum(lengths)[:-1]) if len(names) else []
            shapes = [
                part.reshape(-1, int(w)) for part, w in zip(parts, held["widths"], strict=True)
            ]
        return dict(zip(names.tolist(), shapes, strict=True))

    def _store(self, kind: str, known: dict[str, Floats]) -> None:
        rows = [part.ravel() for part in known.values()]
        place = self._places[kind]
        partial = place.with_name(f".{place.name}")
        np.savez(
            partial,
            names=np.array(list(known)),
            lengths=np.array([part.size for part in rows]),
            widths=np.array([part.shape[1] for part in known.values()]),
            rows=np.concatenate(rows),
        )
        partial.replace(place)


def encode_dataset(
    data: Dataset,
    cache: FeatureCache,
    progress: Callable[[str, int, int], None] | None = None,
) -> Features:
    """Encode all clips of `data`; `progress` hears "texts" or "frames", done and total."""

    def tell(what: str) -> Progress | None:
        return (lambda done, total: progress(what, done, total)) if progress else None

    texts = cache.encode_texts((t for clip in data.clips for _, t in clip.texts), tell("texts"))
    paths = (data.folder / name for clip in data.clips for name in clip.frames)
    frames = cache.encode_frames(paths, tell("frames"))
    return build_features(
        data.clips,
        texts,
        {str(path.relative_to(data.folder)): views for path, views in frames.items()},
    )


def build_features(
    clips: Sequence[Clip],
    texts: dict[str, Floats],
    frames: dict[str, dict[str, Floats]],
) -> Features:
    """Lay out encoded items as tables and rows."""
    windows, window_rows = _stack(list(texts.items()), _TEXT_DIM)
    tables: dict[str, Floats] = {}
    frame_rows: dict[str, range] = {}
    for tensor in VISION_INPUTS:
        tables[tensor.name], frame_rows = _stack(
            [(key, views[tensor.name]) for key, views in frames.items()], tensor.dims[1]
        )
    seen = [[row for name in clip.frames for row in frame_rows[name]] for clip in clips]
    read = [
        [(row, MODALITIES.index(kind)) for kind, text in clip.texts for row in window_rows[text]]
        for clip in clips
    ]
    return Features(
        tables,
        windows,
        _pad(seen),
        _pad([[row for row, _ in items] for items in read]),
        _pad([[kind for _, kind in items] for items in read]).astype(np.int32),
        np.array([[float(x in clip.labels) for x in LABELS] for clip in clips], np.float32),
        np.array([[float(x not in clip.unsure) for x in LABELS] for clip in clips], np.float32),
        tuple(clips),
    )


def _stack(parts: Sequence[tuple[str, Floats]], width: int) -> tuple[Floats, dict[str, range]]:
    rows, owned, end = [np.zeros((1, width), np.float32)], {}, 1
    for key, part in parts:
        rows.append(part)
        owned[key] = range(end, end + len(part))
        end += len(part)
    return np.concatenate(rows), owned


def _pad(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    block = np.zeros((len(rows), max((1, *map(len, rows)))), np.int64)
    for index, row in enumerate(rows):
        block[index, : len(row)] = row
    return block


def _hash(content: bytes) -> str:
    return hashlib.sha256(_VERSION.encode() + content).hexdigest()[:32]
