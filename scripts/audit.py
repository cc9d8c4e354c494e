"""Ask OSV whether a pinned dependency has a known hole; write what is shipped as a CycloneDX SBOM.

    python scripts/audit.py [--sbom sbom.cdx.json]

Ends with 1 for a hole that is not in audit_allowed.json, which names each with the reason why it
does not reach us, and for a reason whose hole is gone. Where OSV cannot be reached it says so, and
ends with 2: the SBOM is for a scanner elsewhere.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
ALLOWED: Final = Path(__file__).with_name("audit_allowed.json")
OSV: Final = "https://api.osv.dev/v1/querybatch"
TIMEOUT_S: Final = 30
_PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")


def read_pins(text: str) -> dict[str, str]:
    """Name -> version of every line `name==version`."""
    return {
        found["name"]: found["version"] for found in map(_PIN.match, text.splitlines()) if found
    }


def build_sbom(pins: dict[str, str]) -> dict[str, Any]:
    """A CycloneDX 1.6 bill of materials of `pins`."""
    components = [
        {"type": "library", "name": name, "version": pin, "purl": f"pkg:pypi/{name.lower()}@{pin}"}
        for name, pin in sorted(pins.items())
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def ask_osv(pins: dict[str, str]) -> dict[str, list[str]]:
    """Package -> the ids of its known holes."""
    queries = [
        {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
        for name, version in pins.items()
    ]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(OSV, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - https, above
        results = json.load(response)["results"]
    return {
        name: sorted(hole["id"] for hole in result["vulns"])
        for name, result in zip(pins, results, strict=True)
        if result.get("vulns")
    }


def judge(found: dict[str, list[str]], allowed: dict[str, str]) -> list[str]:
    """One line for each hole without a reason, and for each reason without a hole."""
    known = {hole for holes in found.values() for hole in holes}
    return [
        f"{name}: {hole}"
        for name, holes in sorted(found.items())
        for hole in holes
        if hole not in allowed
    ] + [f"{hole}: allowed, but no longer found" for hole in sorted(allowed.keys() - known)]


def main() -> int:
    """Audit the pins of constraints.txt."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sbom", type=Path, default=ROOT / "sbom.cdx.json")
    options = parser.parse_args()
    pins = read_pins((ROOT / "constraints.txt").read_text())
    options.sbom.write_text(json.dumps(build_sbom(pins), indent=1) + "\n")
    sys.stdout.write(f"{len(pins)} pinned packages in {options.sbom}\n")
    try:
        found = ask_osv(pins)
    except (urllib.error.URLError, TimeoutError) as error:
        sys.stderr.write(f"OSV cannot be reached ({error}); scan the SBOM where it can\n")
        return 2
    faults = judge(found, json.loads(ALLOWED.read_text()))
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
