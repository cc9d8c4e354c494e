"""Statements of reasons for the EU's DSA Transparency Database, made of verdicts.

Regulation (EU) 2022/2065, Articles 17 and 24(5): a statement says what was restricted, why, and
how far by automated means, and holds no personal data. So nothing that a caller wrote goes in:
sentences are ours, numbers are the verdict's, and the request's id becomes a digest.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.wire import ACTIONS, LABELS, MODALITIES, Action
from livewarden_ensemble.audit_record import hash_name
from livewarden_ensemble.dsa_table import (
    BLOCK_VISIBILITY,
    CATEGORIES,
    CATEGORY_PREFIX,
    CONTENT_TYPES,
    EEA,
    LABEL_TERMS,
    LANGUAGES,
    MAX_CHARACTERS,
    MONETARY_TERMS,
    OTHER_VISIBILITIES,
    RETIRED_CATEGORIES,
    SOURCE_TYPES,
    VISIBILITY_OTHER,
    VISIBILITY_TERMS,
    LabelTerms,
    Source,
)
from livewarden_ensemble.errors import StatementRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livewarden_client.verdict import LabelVerdict, Verdict

VISIBILITIES: Final = (*VISIBILITY_TERMS, *OTHER_VISIBILITIES, *MONETARY_TERMS)
# What the database accepts as a date (StatementStoreRequest.php).
_FIRST_DAY, _LAST_DAY = date(2020, 1, 1), date(2038, 1, 1)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a statement needs and no verdict knows.

    `applied` is the day from which the restriction holds, `posted` the day of the content, `until`
    the day that it ends (None: indefinite). `territory` are EEA countries. `ground` names the
    section of the terms and conditions, `law` the law where the content is illegal. `decided` is
    the action that a person chose, None where nobody did; `label` and `visibility` stand for the
    verdict's own. `source` is what led to the look.
    """

    applied: date
    posted: date
    until: date | None = None
    territory: tuple[str, ...] = ()
    language: str | None = None
    ground: str | None = None
    law: str | None = None
    url: str | None = None
    decided: Action | None = None
    label: str | None = None
    visibility: tuple[str, ...] = ()
    source: Source = "voluntary"

    def __post_init__(self) -> None:
        """Refuse what the database would; the message says what it accepts."""
        for name, given, accepted in (
            ("territory", self.territory, EEA),
            ("language", (self.language,), (None, *sorted(LANGUAGES))),
            ("label", (self.label,), (None, *LABELS)),
            ("visibility", self.visibility, VISIBILITIES),
        ):
            for value in given:
                if value not in accepted:
                    known = ", ".join(word for word in accepted if word)
                    raise StatementRefused(f"{name}: {value!r} is none of: {known}")
        for name, day in (
            ("applied", self.applied),
            ("posted", self.posted),
            ("until", self.until),
        ):
            if day is not None and not _FIRST_DAY <= day <= _LAST_DAY:
                raise StatementRefused(f"{name}: {day} is not from {_FIRST_DAY} to {_LAST_DAY}")
        for name, text, field in (
            ("ground", self.ground, "incompatible_content_ground"),
            ("law", self.law, "illegal_content_legal_ground"),
            ("url", self.url, "decision_ground_reference_url"),
        ):
            most = MAX_CHARACTERS[field]
            if text is not None and not (text.strip() and len(text) <= most):
                raise StatementRefused(
                    f"{name}: has {len(text)} characters; 1 to {most} are needed"
                )


def name_statement(request_id: str, content_key: bytes | None) -> str:
    """Name a statement, as its PUID, after its request.

    With the audit log's key the name is the `request` of the log's record. Without one it is a
    plain SHA-256, from which a guessed request id can be confirmed.
    """
    if not request_id:
        raise StatementRefused(
            "the verdict has no request_id, by which to tell its statement apart"
        )
    if content_key is not None:
        return hash_name("request", request_id, content_key)
    return hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def write_statement(verdict: Verdict, puid: str, given: Circumstances) -> dict[str, Any]:
    """Write the statement of reasons for `verdict`, as the body that API v2 takes.

    Raises StatementRefused where nothing is restricted, or no label says why.
    """
    action = given.decided or verdict.action
    if ACTIONS.index(action) < ACTIONS.index("restrict"):
        raise StatementRefused(
            f"the action is {action!r}, which restricts nothing: no statement of reasons is due. "
            "Where a person restricted the stream after review, say so with `decided`"
        )
    label = _find_label(verdict, given)
    category = _choose_category(label)
    terms = LABEL_TERMS[label.id]
    keywords = terms.keywords if category == terms.category else ()
    statement = {
        "puid": puid,
        "decision_ground_reference_url": given.url,
        "content_type": _list_content_types(label),
        "category": CATEGORY_PREFIX + category,
        "category_specification": [f"KEYWORD_{word}" for word in keywords],
        "territorial_scope": sorted(set(given.territory)),
        "content_language": given.language,
        "content_date": given.posted.isoformat(),
        "application_date": given.applied.isoformat(),
        "decision_facts": _tell_facts(verdict, label, action, terms, given),
        "source_type": SOURCE_TYPES[given.source],
        "automated_detection": "Yes" if given.source == "voluntary" else "No",
        "automated_decision": "AUTOMATED_DECISION_PARTIALLY"
        if given.decided
        else "AUTOMATED_DECISION_FULLY",
        **_write_decision(verdict, action, given),
        **_write_ground(verdict, terms, given),
    }
    return {field: value for field, value in statement.items() if value not in (None, [])}


def _find_label(verdict: Verdict, given: Circumstances) -> LabelVerdict:
    wanted = given.label or verdict.label
    if wanted is None:
        raise StatementRefused(
            "no label decided this verdict, so it says nothing against the content; where a "
            "person found what it shows, name it with `label`"
        )
    for label in verdict.labels:
        if label.id == wanted and label.id in LABEL_TERMS:
            return label
    raise StatementRefused("the verdict has no score for the label; was it of another taxonomy?")


def _choose_category(label: LabelVerdict) -> str:
    category = label.category or LABEL_TERMS[label.id].category
    if category in CATEGORIES:
        return category
    advice = (
        f"API v2 has {RETIRED_CATEGORIES[category]} instead"
        if category in RETIRED_CATEGORIES
        else f"it has: {', '.join(CATEGORIES)}"
    )
    raise StatementRefused(
        f"the policy gives {label.id} a category that the database does not have; {advice}"
    )


def _write_decision(verdict: Verdict, action: Action, given: Circumstances) -> dict[str, Any]:
    """Write what was restricted, and until when."""
    until = given.until and given.until.isoformat()
    if action == "block":
        return {
            "decision_visibility": [BLOCK_VISIBILITY],
            "end_date_visibility_restriction": until,
        }
    chosen = given.visibility or verdict.visibility
    known = [VISIBILITY_TERMS[name] for name in VISIBILITY_TERMS if name in chosen]
    other = [OTHER_VISIBILITIES[name] for name in OTHER_VISIBILITIES if name in chosen]
    monetary = [MONETARY_TERMS[name] for name in MONETARY_TERMS if name in chosen]
    visibility = known + [VISIBILITY_OTHER] * bool(other)
    if not visibility and not monetary:
        raise StatementRefused(
            "the verdict restricts, and does not say how; name it with `visibility`: "
            f"{', '.join(VISIBILITIES)}"
        )
    return {
        "decision_visibility": visibility,
        "decision_visibility_other": "; ".join(other) or None,
        "end_date_visibility_restriction": until if visibility else None,
        "decision_monetary": monetary[0] if monetary else None,
        "end_date_monetary_restriction": until if monetary else None,
    }


def _write_ground(verdict: Verdict, terms: LabelTerms, given: Circumstances) -> dict[str, Any]:
    """Write the law or the terms and conditions that the decision rests on."""
    if given.law is not None:
        return {
            "decision_ground": "DECISION_GROUND_ILLEGAL_CONTENT",
            "illegal_content_legal_ground": given.law,
            "illegal_content_explanation": f"The content was found to show {terms.meaning}, which "
            "the legal ground named here forbids.",
        }
    return {
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "incompatible_content_ground": given.ground
        or f"Content policy{_name_policy(verdict)}, rule on {terms.meaning}",
        "incompatible_content_explanation": f"The content was found to show {terms.meaning}, which "
        "the rule named here forbids or restricts.",
    }


def _name_policy(verdict: Verdict) -> str:
    """Name the policy, where its name can be nothing else."""
    policy = verdict.provenance.policy
    if _PLAIN.fullmatch(policy.id) and _PLAIN.fullmatch(policy.version):
        return f" {policy.id}, version {policy.version}"
    return ""


def _list_content_types(label: LabelVerdict) -> list[str]:
    """List what the content is: a video, and whatever else spoke as loud as the label did."""
    types = {CONTENT_TYPES["visual"]}
    types |= {CONTENT_TYPES[name] for name in _find_loudest(label)}
    return sorted(types)


def _find_loudest(label: LabelVerdict) -> Sequence[str]:
    """Find the modalities whose own score reaches the label's threshold for review."""
    return [
        name for name in MODALITIES if label.per_modality.get(name, 0.0) >= label.thresholds.review
    ]


_SPOKEN_OF: Final = {
    "visual": "the picture",
    "title": "the title",
    "chat": "the chat",
    "asr": "the spoken words",
    "ocr": "words shown in the picture",
}


def _tell_facts(
    verdict: Verdict, label: LabelVerdict, action: Action, terms: LabelTerms, given: Circumstances
) -> str:
    """Tell the facts in standard sentences, in which only numbers and names of ours vary."""
    seen = verdict.coverage
    counts = (
        f"{seen.frames.scored} of {seen.frames.sent} pictures and "
        f"{seen.texts.scored} of {seen.texts.sent} texts"
    )
    sentences = [
        f"A clip of a livestream was assessed by an automated system: {counts}.",
        *_tell_scores(label, terms),
        *_tell_matches(verdict, label),
    ]
    if policy := _name_policy(verdict):
        sentences.append(f"The policy in force was{policy}.")
    sentences.append(
        f"A person reviewed the content and decided on the action {action}."
        if given.decided
        else f"The system decided on the action {action} by itself."
    )
    return " ".join(sentences)


def _tell_scores(label: LabelVerdict, terms: LabelTerms) -> Iterator[str]:
    threshold = getattr(label.thresholds, label.action, None)
    if not math.isnan(label.score):
        against = (
            ""
            if threshold is None
            else f", against a threshold of {threshold:.2f} for the action {label.action}"
        )
        scale = "on a scale from 0 to 1"
        yield f"For {terms.meaning} its calibrated score was {label.score:.2f} {scale}{against}."
    if loudest := [_SPOKEN_OF[name] for name in _find_loudest(label)]:
        yield f"This showed in {' and '.join(loudest)}."
    if label.hits > 1:
        yield f"Of the last clips of the stream, {label.hits} showed the same."


def _tell_matches(verdict: Verdict, label: LabelVerdict) -> Iterator[str]:
    kinds = {item.kind for item in verdict.evidence if item.label == label.id}
    if "list" in kinds:
        yield "A text matched a list of terms that the platform keeps."
    if "hash" in kinds:
        yield "A picture matched content that was known before."
