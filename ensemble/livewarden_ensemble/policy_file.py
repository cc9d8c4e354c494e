"""Policy files: YAML into a checked `Policy`."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
import yaml

from livewarden_client.verdict import Thresholds
from livewarden_client.wire import LABELS, TAXONOMY_VERSION, Action
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy import FailSafe, Gap, Policy

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

_T = TypeVar("_T")
_Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Floor = Literal["review", "restrict", "block"]
# `$` alone also matches before a last newline.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.+-]{1,64}$(?!\n)")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Header(_Strict, frozen=True):
    id: _Name
    version: _Name
    taxonomy: str


class _Thresholds(_Strict, frozen=True):
    review: _Score
    restrict: _Score
    block: _Score


class _Gaps(_Strict, frozen=True):
    """Only what was never sent may be allowed."""

    missing: Action = "review"
    damaged: _Floor = "review"
    late: _Floor = "review"
    unscored: _Floor = "review"


class _FailSafe(_Strict, frozen=True):
    frames: _Gaps = _Gaps()
    texts: _Gaps = _Gaps()
    nothing_scored: _Floor = "review"


class _Label(_Strict, frozen=True):
    thresholds: _Thresholds | None = None


class _Defaults(_Strict, frozen=True):
    thresholds: _Thresholds


class _File(_Strict, frozen=True):
    policy: _Header
    defaults: _Defaults
    labels: dict[str, Any]
    fail_safe: _FailSafe = _FailSafe()


def load_policy(path: Path) -> Policy:
    """Load the policy in the YAML file at `path`.

    Raises PolicyInvalid, which names the file and the line or key, for anything but a complete,
    ordered policy of this taxonomy.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(f"{path}: cannot be read: {error.strerror}") from None
    try:
        data = yaml.load(raw, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML in UTF-8"
        raise PolicyInvalid(f"{path}: {where}{problem}") from None
    file = _convert(data, _File, path)
    if file.policy.taxonomy != TAXONOMY_VERSION:
        raise PolicyInvalid(
            f"{path}: policy.taxonomy is {file.policy.taxonomy!r}; "
            f"this server speaks {TAXONOMY_VERSION!r}"
        )
    return Policy(
        id=file.policy.id,
        version=file.policy.version,
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        thresholds=_read_thresholds(file, path),
        fail_safe=FailSafe(
            frames=_list_gaps(file.fail_safe.frames),
            texts=_list_gaps(file.fail_safe.texts),
            nothing_scored=file.fail_safe.nothing_scored,
        ),
    )


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: the second would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys: set[str] = set()
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
        return super().construct_mapping(node, deep)


_FAULT: Final = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<key>[^`]*)`", re.DOTALL)


def _convert(data: Any, kind: type[_T], path: Path, key: str = "") -> _T:
    """Read `data`, which stands under `key`, as a `kind`."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        fault = _FAULT.fullmatch(str(error))
        where = ".".join(filter(None, (key, fault["key"] if fault else "")))
        raise PolicyInvalid(
            f"{path}: {where or 'the file'}: {fault['problem'] if fault else error}"
        ) from None


def _read_thresholds(file: _File, path: Path) -> Mapping[str, Thresholds]:
    """Read every label's thresholds: its own, else the file's default ones."""
    unknown = [label for label in file.labels if label not in LABELS]
    if unknown:
        raise PolicyInvalid(
            f"{path}: labels.{unknown[0]} is no label of taxonomy {TAXONOMY_VERSION}; "
            f"it knows: {', '.join(LABELS)}"
        )
    thresholds = dict.fromkeys(LABELS, file.defaults.thresholds)
    for label, body in file.labels.items():
        own = _convert(body, _Label, path, f"labels.{label}").thresholds
        thresholds[label] = own or file.defaults.thresholds
    for label, given in thresholds.items():
        if not given.review <= given.restrict <= given.block:
            raise PolicyInvalid(
                f"{path}: labels.{label}.thresholds must rise: review {given.review} <= "
                f"restrict {given.restrict} <= block {given.block} does not hold"
            )
    return {
        label: Thresholds(given.review, given.restrict, given.block)
        for label, given in thresholds.items()
    }


def _list_gaps(gaps: _Gaps) -> Mapping[Gap, Action]:
    return {
        "missing": gaps.missing,
        "damaged": gaps.damaged,
        "late": gaps.late,
        "unscored": gaps.unscored,
    }
