"""Policy files: from disk to a checked `Policy`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.wire import LABELS, TAXONOMY_VERSION
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy.blocklist import ListMatcher
from livewarden_ensemble.policy.check import check_document
from livewarden_ensemble.policy.content import Content, note_file
from livewarden_ensemble.policy.document import Document
from livewarden_ensemble.policy.fault import Faults
from livewarden_ensemble.policy.flatten import flatten_layer
from livewarden_ensemble.policy.hashbank import BankMatcher
from livewarden_ensemble.policy.layer import LAYER_KINDS, Layer, LayerKind, Policy, merge_label
from livewarden_ensemble.policy.meaning import check_meaning, read_aliases, rename_labels
from livewarden_ensemble.policy.resolve import find_disorder
from livewarden_ensemble.policy.source import read_source
from livewarden_ensemble.policy.value import read_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

# The file's name for each kind of layer.
SECTIONS: Final[Mapping[LayerKind, str]] = {
    "region": "regions",
    "surface": "surfaces",
    "audience": "audiences",
    "room": "rooms",
}


def locate_policy(repository: Path) -> Path:
    """The policy file that a server on `repository` uses where none is named."""
    return repository.resolve().parent / "policies" / "default.yaml"


def load_policy(path: Path) -> Policy:
    """Load the policy at `path`, with its lists, banks and shadow policies.

    Raises PolicyInvalid; its message has one line per fault: `file:line:column: key: problem`.
    """
    return _load(path, shadows=True)


def _load(path: Path, *, shadows: bool) -> Policy:
    raw = _read_bytes(path)
    source = read_source(raw, str(path))
    faults = Faults(str(path), source.places)
    document = check_document(source.data, Document, faults)
    faults.check()
    if document is None:
        raise PolicyInvalid(f"{path}: is no policy")
    if document.policy.taxonomy != TAXONOMY_VERSION:
        faults.add(
            ("policy", "taxonomy"),
            f"is {document.policy.taxonomy!r}; this server speaks {TAXONOMY_VERSION!r}",
        )
    aliases = read_aliases(document, faults)
    data = rename_labels(source.data, aliases, faults)
    check_meaning(data, SECTIONS, faults)
    content = Content(path, data, faults)
    faults.check()
    policy = _build(path, raw, document, data, aliases, content, faults)
    _check_order(policy, faults)
    policy = replace(policy, shadows=_load_shadows(document, path, faults, allowed=shadows))
    inner = [shadow for shadow, _ in policy.shadows]
    files = dict(policy.files)
    for shadow in inner:
        for file, seen in shadow.files.items():
            note_file(files, file, seen, ("shadow",), faults)
    faults.check()
    digest = hashlib.sha256(policy.digest.encode())
    for shadow in inner:
        digest.update(shadow.digest.encode())
    return replace(
        policy,
        digest=f"sha256:{digest.hexdigest()}" if inner else policy.digest,
        files=files,
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(f"{path}: cannot be read: {error.strerror}") from None


def _build(
    path: Path,
    raw: bytes,
    document: Document,
    data: Mapping[str, Any],
    aliases: Mapping[str, str],
    content: Content,
    faults: Faults,
) -> Policy:
    layers: dict[LayerKind, dict[str, Layer]] = {
        kind: {
            name: flatten_layer(f"{kind}:{name}", body, (section, name), faults)
            for name, body in (data.get(section) or {}).items()
        }
        for kind, section in SECTIONS.items()
    }
    digest = hashlib.sha256(raw)
    for part in content.files.values():
        digest.update(bytes.fromhex(part))
    return Policy(
        id=document.policy.id,
        version=document.policy.version,
        digest=f"sha256:{digest.hexdigest()}",
        path=path,
        files={path: hashlib.sha256(raw).hexdigest(), **content.files},
        base=flatten_layer("base", data, (), faults),
        layers=layers,
        parents={
            label: body["parent"]
            for label, body in data["labels"].items()
            if body and body.get("parent")
        },
        aliases=aliases,
        list_owners=_list_owners(data.get("blocklists")),
        bank_owners=_list_owners(data.get("hash_banks")),
        matcher=ListMatcher(content.blocklists, content.allowed),
        banks=BankMatcher(content.banks),
    )


def _list_owners(section: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: body["label"] for name, body in (section or {}).items()}


def _check_order(policy: Policy, faults: Faults) -> None:
    """Check the thresholds of every label: in the base, and under each layer alone.

    Layers that are out of order only together are put right where they are merged, on the strict
    side; the lint names them.
    """
    told = False
    for label in LABELS:
        if problem := _find_label_disorder(policy, label, ()):
            own = any(leaf.startswith("thresholds.") for leaf in policy.base.labels.get(label, ()))
            if own or not told:
                path = ("labels", label, "thresholds") if own else ("defaults", "thresholds")
                faults.add(path, problem)
            told = told or not own
            continue
        for kind in LAYER_KINDS:
            for name, layer in policy.layers[kind].items():
                touched = {label, *policy.parents.values()} & set(layer.labels)
                if not (touched or layer.defaults):
                    continue
                if problem := _find_label_disorder(policy, label, (layer,)):
                    where = ("labels", label) if label in layer.labels else ("defaults",)
                    faults.add(
                        (SECTIONS[kind], name, *where, "thresholds"), f"{problem} (for {label})"
                    )


def _find_label_disorder(policy: Policy, label: str, layers: tuple[Layer, ...]) -> str | None:
    merged = merge_label(policy, label, (policy.base, *layers))
    return find_disorder({leaf: setting.value for leaf, setting in merged.items()})


def _load_shadows(
    document: Document, path: Path, faults: Faults, *, allowed: bool
) -> tuple[tuple[Policy, int | None], ...]:
    loaded: list[tuple[Policy, int | None]] = []
    for index, shadow in enumerate(document.shadow or ()):
        place = ("shadow", index, "file")
        if not allowed:
            faults.add(place, "stands in a shadow policy; shadows have no shadows of their own")
            continue
        inner = path.parent / shadow.file
        try:
            policy = _load(inner, shadows=False)
        except PolicyInvalid as error:
            faults.add(place, f"cannot be loaded: {str(error).splitlines()[0]}")
            continue
        if policy.ref in {f"{document.policy.id}@{document.policy.version}"} | {
            other.ref for other, _ in loaded
        }:
            faults.add(place, f"has the id and version of another policy, {policy.ref}")
            continue
        loaded.append((policy, None if shadow.until is None else read_instant(shadow.until)))
    return tuple(loaded)
