"""What serves now: bundles, roles, servers, and what the shadow's counters say. For reports."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from livewarden_ensemble.admin import Admin, Record, find_servers
from livewarden_ensemble.bundle import Pointer
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.metric import CLIPS, SHADOW_ACTIONS, SHADOW_CLIPS, SHADOW_DIFFERENCE
from livewarden_ensemble.signature import SIGNATURE
from livewarden_export.bundle import list_bundles
from livewarden_export.repository import find_pointer

_TIMEOUT_S: Final = 5
_MIB: Final = 1024 * 1024


def describe_bundles(bundles: Path, repository: Path) -> list[dict[str, Any]]:
    """One row per bundle, oldest first, as JSON values."""
    roles = _list_roles(find_pointer(repository))
    return [
        {
            "bundle": bundle.id,
            "roles": [role for role, named in roles.items() if named["bundle"] == bundle.id],
            "signed": (bundle.folder / SIGNATURE).is_file(),
            "mib": round(
                sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
                / _MIB,
                1,
            ),
            "precision": bundle.manifest.get("precision", {}),
            "git": bundle.manifest.get("git"),
        }
        for bundle in list_bundles(bundles)
    ]


def describe_service(repository: Path) -> dict[str, Any]:
    """Roles and servers of a repository, and per bundle what callers and the shadow saw."""
    pointer = find_pointer(repository)
    return {
        "repository": str(repository),
        "roles": _list_roles(pointer),
        "servers": [_describe_server(record, pointer) for record in find_servers(repository)],
    }


def format_service(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [f"repository {report['repository']}"]
    for role, named in report["roles"].items():
        share = f"  {named['percent']:g} % of the streams" if "percent" in named else ""
        versions = ", ".join(sorted(set(named["versions"].values())))
        lines.append(f"  {role:9} {named['bundle']}  version {versions}{share}")
    if not report["roles"]:
        lines.append("  nothing is live; run: livewarden export")
    if not report["servers"]:
        lines.append("no server runs on it")
    for server in report["servers"]:
        lines.append(f"server {server['grpc']}: {server['state']}")
        lines += [
            f"  {row['clips']:8g} clips by {row['bundle']} as {row['role']}"
            for row in server["clips"]
        ]
        for row in server["shadows"]:
            lines.append(
                f"  shadow {row['bundle']}: {row['compared']:g} compared, "
                f"{row['differs']:g} with another action, mean difference of the furthest score "
                f"{row['mean_difference']:.4f}; {row['dropped']:g} dropped, "
                f"{row['failed']:g} failed"
            )
            lines += [
                f"    {change['clips']:8g} clips: {change['live']} -> {change['shadow']}"
                for change in row["actions"]
            ]
    return "\n".join(lines)


def _list_roles(pointer: Pointer | None) -> dict[str, dict[str, Any]]:
    if pointer is None:
        return {}
    shares = {"canary": pointer.canary, "shadow": pointer.shadow}
    roles: dict[str, dict[str, Any]] = {}
    for role, release in pointer.list_releases().items():
        roles[role] = {"bundle": release.bundle, "versions": dict(release.versions)}
        if (share := shares.get(role)) is not None:
            roles[role]["percent"] = share.percent
    return roles


def _describe_server(record: Record, pointer: Pointer | None) -> dict[str, Any]:
    admin = Admin(record)
    try:
        loaded = pointer is not None and all(
            admin.serves(release.versions) for release in pointer.list_releases().values()
        )
        state = "all of these are loaded" if loaded else "not all of these are loaded"
    except ServerFailed as error:
        state = str(error)
    finally:
        admin.close()
    samples = list(_read_metrics(record.metrics))
    return {
        "grpc": record.grpc,
        "state": state,
        "signatures_required": record.public_key is not None,
        "clips": [
            {"bundle": labels["bundle"], "role": labels["role"], "clips": value}
            for name, labels, value in samples
            if name == CLIPS
        ],
        "shadows": _describe_shadows(samples),
    }


def _describe_shadows(samples: list[tuple[str, dict[str, str], float]]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    sums: dict[str, float] = {}
    for name, labels, value in samples:
        row = rows.setdefault(
            labels.get("bundle", ""),
            {"same": 0.0, "differs": 0.0, "dropped": 0.0, "failed": 0.0, "actions": []},
        )
        if name == SHADOW_CLIPS:
            row[labels["result"]] = value
        elif name == SHADOW_DIFFERENCE:
            sums[labels["bundle"]] = value
        elif name == SHADOW_ACTIONS:
            row["actions"].append(
                {"live": labels["live"], "shadow": labels["shadow"], "clips": value}
            )
    report = []
    for bundle, row in sorted(rows.items()):
        compared = row["same"] + row["differs"]
        if compared + row["dropped"] + row["failed"]:
            mean = sums.get(bundle, 0.0) / compared if compared else 0.0
            report.append({"bundle": bundle, "compared": compared, "mean_difference": mean, **row})
    return report


def _read_metrics(url: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Our own samples; none where the server does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - our record
            text = response.read().decode()
    except (OSError, urllib.error.URLError):
        return
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("livewarden_"):
                yield sample.name, sample.labels, sample.value
