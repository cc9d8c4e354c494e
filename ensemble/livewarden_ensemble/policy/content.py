"""Content: the phrases, patterns and hashes that a policy lists, in it and in files beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.policy.blocklist import AllowPhrases, Blocklist, compile_pattern
from livewarden_ensemble.policy.fold import fold_phrase
from livewarden_ensemble.policy.hashbank import read_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as FilePath

    from livewarden_ensemble.policy.fault import Faults, Path

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_PHRASES: Final = 200_000
MAX_HASHES: Final = 500_000
MAX_PHRASE: Final = 500


class Content:
    """Everything that a policy searches for; faults are noted with the place that names them.

    A file of phrases or hashes has one a line, in UTF-8; empty lines and `#` lines say nothing.
    `files` maps each that was read to the SHA-256 of what was read.
    """

    def __init__(self, policy: FilePath, data: Mapping[str, Any], faults: Faults) -> None:
        self._policy = policy
        self._faults = faults
        self.files: dict[FilePath, str] = {}
        self.blocklists = [
            self._read_list(name, body, ("blocklists", name))
            for name, body in (data.get("blocklists") or {}).items()
        ]
        self.allowed = [
            self._read_allowed(name, body, ("allow_phrases", name))
            for name, body in (data.get("allow_phrases") or {}).items()
        ]
        self.banks = {
            name: self._read_bank(body, ("hash_banks", name))
            for name, body in (data.get("hash_banks") or {}).items()
        }

    def _read_list(self, name: str, body: Mapping[str, Any], path: Path) -> Blocklist:
        phrases = self._check_phrases(body.get("phrases") or [], (*path, "phrases"))
        for number, line in self._read_lines(body, path):
            problem = _find_problem(line)
            if problem:
                self._faults.add((*path, "file"), f"{body['file']}:{number}: {problem}")
            else:
                phrases.append(line)
        patterns = []
        for index, pattern in enumerate(body.get("patterns") or ()):
            try:
                patterns.append(compile_pattern(pattern))
            except ValueError as error:
                self._faults.add((*path, "patterns", index), str(error))
        if len(phrases) > MAX_PHRASES:
            self._faults.add(
                path, f"has {len(phrases)} phrases; at most {MAX_PHRASES} are accepted"
            )
        if not phrases and not patterns and not self._faults.found:
            self._faults.add(path, "is empty; it needs phrases, patterns or a file")
        languages = frozenset(body.get("languages") or ())
        return Blocklist(name, phrases, patterns, languages, variants=body.get("variants", True))

    def _read_allowed(self, name: str, body: Mapping[str, Any], path: Path) -> AllowPhrases:
        phrases = self._check_phrases(body["phrases"], (*path, "phrases"))
        if not body["phrases"]:
            self._faults.add((*path, "phrases"), "is empty")
        lists = body.get("lists")
        return AllowPhrases(name, phrases, None if lists is None else frozenset(lists))

    def _check_phrases(self, phrases: list[str], path: Path) -> list[str]:
        for index, phrase in enumerate(phrases):
            if problem := _find_problem(phrase):
                self._faults.add((*path, index), problem)
        return list(phrases)

    def _read_bank(self, body: Mapping[str, Any], path: Path) -> list[bytes]:
        hashes = []
        for index, text in enumerate(body.get("hashes") or ()):
            try:
                hashes.append(read_hash(text))
            except ValueError as error:
                self._faults.add((*path, "hashes", index), str(error))
        for number, line in self._read_lines(body, path):
            try:
                hashes.append(read_hash(line))
            except ValueError as error:
                self._faults.add((*path, "file"), f"{body['file']}:{number}: {error}")
                break
        if len(hashes) > MAX_HASHES:
            self._faults.add(path, f"has {len(hashes)} hashes; at most {MAX_HASHES} are accepted")
        if not hashes and not self._faults.found:
            self._faults.add(path, "is empty; it needs hashes or a file")
        return hashes

    def _read_lines(self, body: Mapping[str, Any], path: Path) -> list[tuple[int, str]]:
        """The lines of the file that `body` names, with their numbers; none where it names none."""
        name = body.get("file")
        if name is None:
            return []
        home = self._policy.parent.resolve()
        file = (home / name).resolve()
        if not file.is_relative_to(home):
            self._faults.add((*path, "file"), "leads out of the policy's own folder")
            return []
        try:
            with file.open("rb") as opened:
                raw = opened.read(MAX_FILE_BYTES + 1)
            text = raw.decode("utf-8-sig")
        except OSError as error:
            self._faults.add((*path, "file"), f"{name} cannot be read: {error.strerror}")
            return []
        except UnicodeDecodeError:
            self._faults.add((*path, "file"), f"{name} is not UTF-8")
            return []
        if len(raw) > MAX_FILE_BYTES:
            self._faults.add((*path, "file"), f"{name} is over {MAX_FILE_BYTES} bytes")
            return []
        # The path as it was named: behind links, names may change with every deployment.
        digest = hashlib.sha256(raw).hexdigest()
        note_file(self.files, self._policy.parent / name, digest, (*path, "file"), self._faults)
        lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
        return [(number, line) for number, line in lines if line and not line.startswith("#")]


def note_file(
    files: dict[FilePath, str], file: FilePath, digest: str, path: Path, faults: Faults
) -> None:
    """Note in `files` that `file` was read; a fault at `path` where it was read otherwise before.

    Without that, a policy could hold what no check of its files ever sees.
    """
    if files.setdefault(file, digest) != digest:
        faults.add(path, f"{file.name} changed while it was read; it is tried again")


def _find_problem(phrase: str) -> str | None:
    if len(phrase) > MAX_PHRASE:
        return f"is longer than {MAX_PHRASE} characters"
    if not any(map(str.isalnum, fold_phrase(phrase))):
        return "has no letter or digit, and so would be found everywhere or nowhere"
    return None
