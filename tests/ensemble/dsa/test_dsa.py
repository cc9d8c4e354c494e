from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.verdict import (
    Coverage,
    Evidence,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Reason,
    Thresholds,
    Verdict,
)
from livewarden_client.wire import ACTIONS, LABELS, MODALITIES
from livewarden_ensemble.dsa import VISIBILITIES, Circumstances, name_statement, write_statement
from livewarden_ensemble.dsa_table import (
    CATEGORIES,
    CATEGORY_PREFIX,
    EEA,
    EU,
    LABEL_TERMS,
    LANGUAGES,
    MAX_CHARACTERS,
    RETIRED_CATEGORIES,
    SOURCE_TYPES,
)
from livewarden_ensemble.errors import StatementRefused

# Taken by a program from the database's own code: enums, lengths and required fields.
RULES: dict[str, Any] = json.loads(Path(__file__).with_name("statement_rules.json").read_text())
LISTS = {
    "decision_visibility",
    "content_type",
    "category_addition",
    "category_specification",
    "territorial_scope",
}
TODAY = date(2026, 6, 24)
CANARY = "cAnary7f3a"


def find_faults(statement: dict[str, Any]) -> list[str]:
    """Check a statement as StatementStoreRequest.php does, slowly and plainly."""
    faults = [f"{field} is missing" for field in RULES["required"] if not statement.get(field)]
    for field, value in statement.items():
        if field not in RULES["fields"]:
            faults.append(f"{field} is unknown")
        if (field in LISTS) is not isinstance(value, list):
            faults.append(f"{field} has the wrong form")
        items = value if isinstance(value, list) else [value]
        if not set(items) <= set(RULES["enums"].get(field, items)):
            faults.append(f"{field}: {items} has an unknown word")
        if len(value) > RULES["max_characters"].get(field, 10_000):
            faults.append(f"{field} is too long")
        if "_date" in field and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            faults.append(f"{field} is no date")
    if not re.fullmatch(r"[a-zA-Z0-9-_]+", statement["puid"]):
        faults.append("puid has characters that are not accepted")
    return faults + find_missing(statement)


def find_missing(statement: dict[str, Any]) -> list[str]:
    """Find fields that others ask for."""
    parts = ("visibility", "monetary", "provision", "account")
    faults = [] if any(statement.get(f"decision_{part}") for part in parts) else ["no decision"]
    ground = statement["decision_ground"].removeprefix("DECISION_GROUND_").lower()
    reference = {"illegal_content": "legal_ground", "incompatible_content": "ground"}[ground]
    needed = (f"{ground}_{reference}", f"{ground}_explanation")
    faults += [f"{field} is missing" for field in needed if not statement.get(field, "").strip()]
    says_other = "DECISION_VISIBILITY_OTHER" in statement.get("decision_visibility", [])
    if says_other is not bool(statement.get("decision_visibility_other")):
        faults.append("decision_visibility_other does not fit")
    return faults


def make_verdict(action: str = "block", label: str | None = "hate", **changes: Any) -> Verdict:
    """Make a verdict in which everything that a caller can write holds the canary."""
    labels = tuple(
        LabelVerdict(
            id=name,
            score=0.97 if name == label else 0.1,
            action=action if name == label else "allow",
            thresholds=Thresholds(0.5, 0.8, 0.95),
            per_modality=dict.fromkeys(MODALITIES, 0.1) | ({"chat": 0.9} if name == label else {}),
        )
        for name in LABELS
    )
    verdict = Verdict(
        request_id=CANARY + "request",
        stream_id=CANARY + "stream",
        clip_seq=7,
        nonce=CANARY,
        action=action,
        label=label,
        reasons=(Reason(f"hate.score>={CANARY}", "block", CANARY, label),),
        labels=labels,
        evidence=(Evidence("hate", CANARY, CANARY, 0.9, source=CANARY),),
        coverage=Coverage(
            ModalityCoverage(8, 7, 7, {CANARY: (1,)}),
            ModalityCoverage(3, 3, 3),
            (CANARY,),
            {CANARY: CANARY},
        ),
        provenance=Provenance(
            bundle=CANARY,
            models={CANARY: CANARY},
            calibration=CANARY,
            policy=PolicyRef("live-default", "17", CANARY, (CANARY,)),
            taxonomy=CANARY,
            wire=1,
            server=CANARY,
        ),
        timings_ms={CANARY: 1.0},
        state=CANARY,
        visibility=("demote", "blur") if action == "restrict" else (),
        review=(CANARY,),
        flags=(CANARY,),
        pass_through={CANARY: CANARY},
    )
    return replace(verdict, **changes)


def write(verdict: Verdict, **given: Any) -> dict[str, Any]:
    circumstances = Circumstances(**{"applied": TODAY, "posted": TODAY} | given)
    return write_statement(verdict, name_statement(verdict.request_id, None), circumstances)


def test_table_is_the_databases_own() -> None:
    """Every word of the table is one of the database's, and no category or country is left out."""
    assert [CATEGORY_PREFIX + category for category in CATEGORIES] == sorted(
        RULES["enums"]["category"]
    )
    assert not RETIRED_CATEGORIES.keys() & set(CATEGORIES)
    assert set(RETIRED_CATEGORIES.values()) <= set(CATEGORIES)
    assert list(EEA) == RULES["enums"]["territorial_scope"]
    assert list(EU) == RULES["eu"]
    assert sorted(LANGUAGES) == RULES["enums"]["content_language"]
    assert RULES["max_characters"] | MAX_CHARACTERS == RULES["max_characters"]
    assert set(SOURCE_TYPES.values()) == set(RULES["enums"]["source_type"])
    assert LABEL_TERMS.keys() == set(LABELS)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("action", ["restrict", "block"])
def test_every_label_makes_a_statement_that_is_accepted(action: str, label: str) -> None:
    """For each label and restricting action the statement passes the database's own checks."""
    assert find_faults(write(make_verdict(action, label))) == []


@given(
    st.builds(
        lambda **given: given,
        posted=st.dates(date(2020, 1, 1), date(2038, 1, 1)),
        until=st.none() | st.dates(date(2020, 1, 1), date(2038, 1, 1)),
        territory=st.lists(st.sampled_from(EEA)).map(tuple),
        language=st.none() | st.sampled_from(sorted(LANGUAGES)),
        ground=st.none() | st.text(min_size=1, max_size=500).filter(str.strip),
        law=st.none() | st.text(min_size=1, max_size=500).filter(str.strip),
        url=st.none() | st.just("https://example.org/terms"),
        decided=st.sampled_from(["restrict", "block"]),
        label=st.none() | st.sampled_from(LABELS),
        visibility=st.lists(st.sampled_from(VISIBILITIES), min_size=1).map(tuple),
        source=st.sampled_from(sorted(SOURCE_TYPES)),
    ),
    st.sampled_from(ACTIONS),
)
def test_any_circumstances_make_a_statement_that_is_accepted(
    circumstances: dict[str, Any], action: str
) -> None:
    """Whatever is given beside the verdict, the statement passes the database's own checks."""
    assert find_faults(write(make_verdict(action), **circumstances)) == []


def test_statement_holds_nothing_that_a_caller_wrote() -> None:
    """No id, text, reference or passed-through value reaches a statement: no personal data."""
    for action in ("restrict", "block"):
        assert CANARY not in json.dumps(write(make_verdict(action)))
    odd = PolicyRef(f"{CANARY} <a@example.org>", "17", "d")
    verdict = make_verdict()
    verdict = replace(verdict, provenance=replace(verdict.provenance, policy=odd))
    assert CANARY not in json.dumps(write(verdict))


def test_statement_says_what_the_verdict_says() -> None:
    """Facts, type, category and dates are those of the deciding label."""
    statement = write(make_verdict(), territory=("FR", "DE", "FR"), language="DE")
    assert statement["decision_facts"] == (
        "A clip of a livestream was assessed by an automated system: 7 of 8 pictures and 3 of 3 "
        "texts. For hatred against people for what they are its calibrated score was 0.97 on a "
        "scale from 0 to 1, against a threshold of 0.95 for the action block. This showed in the "
        "chat. The policy in force was live-default, version 17. The system decided on the action "
        "block by itself."
    )
    assert statement["decision_visibility"] == ["DECISION_VISIBILITY_CONTENT_DISABLED"]
    assert statement["content_type"] == ["CONTENT_TYPE_TEXT", "CONTENT_TYPE_VIDEO"]
    assert statement["category"] == "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH"
    assert statement["category_specification"] == ["KEYWORD_HATE_SPEECH"]
    assert statement["territorial_scope"] == ["DE", "FR"]
    assert statement["automated_detection"] == "Yes"
    assert statement["automated_decision"] == "AUTOMATED_DECISION_FULLY"
    assert statement["application_date"] == "2026-06-24"


def test_restrictions_are_named_one_by_one() -> None:
    """Each way to restrict has its own word; those without one are spelled out."""
    every = write(make_verdict("restrict", visibility=VISIBILITIES), until=date(2026, 7, 1))
    assert every["decision_visibility"] == [
        "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED",
        "DECISION_VISIBILITY_CONTENT_DEMOTED",
        "DECISION_VISIBILITY_CONTENT_INTERACTION_RESTRICTED",
        "DECISION_VISIBILITY_CONTENT_LABELLED",
        "DECISION_VISIBILITY_OTHER",
    ]
    assert every["decision_visibility_other"] == "muting of the sound; blurring of the picture"
    assert every["decision_monetary"] == "DECISION_MONETARY_SUSPENSION"
    assert every["end_date_visibility_restriction"] == "2026-07-01"
    assert every["end_date_monetary_restriction"] == "2026-07-01"
    money = write(make_verdict("restrict", visibility=("demonetise",)), until=date(2026, 7, 1))
    assert "decision_visibility" not in money
    assert "end_date_visibility_restriction" not in money
    assert find_faults(money) == []


def test_decision_of_a_person_is_partly_automated() -> None:
    """What a person decided after review is not called fully automated."""
    statement = write(make_verdict("review"), decided="block", source="article-16")
    assert statement["automated_decision"] == "AUTOMATED_DECISION_PARTIALLY"
    assert statement["automated_detection"] == "No"
    assert "A person reviewed the content" in statement["decision_facts"]


def test_illegal_content_names_the_law() -> None:
    """With a law the ground is illegality, and the fields of the other ground are left out."""
    statement = write(make_verdict(), law="Section 130 StGB")
    assert statement["illegal_content_legal_ground"] == "Section 130 StGB"
    assert not any(field.startswith("incompatible") for field in statement)


def test_category_of_the_policy_wins() -> None:
    """A category that the policy gives a label is used, without another category's keywords."""
    verdict = make_verdict()
    labels = tuple(replace(label, category="CYBER_VIOLENCE") for label in verdict.labels)
    statement = write(replace(verdict, labels=labels))
    assert statement["category"] == "STATEMENT_CATEGORY_CYBER_VIOLENCE"
    assert "category_specification" not in statement


def test_matches_are_told_without_naming_what_matched() -> None:
    """Hits of lists and banks are facts; their names and places are not for the public."""
    evidence = (
        Evidence("hate", "chat", CANARY, 1.0, kind="list", source=CANARY, span=(0, 3)),
        Evidence("hate", "visual", CANARY, 1.0, kind="hash", source=CANARY, distance=9),
        Evidence("weapons", "visual", CANARY, 1.0, kind="list"),
    )
    facts = write(make_verdict(evidence=evidence))["decision_facts"]
    assert "A text matched a list of terms" in facts
    assert "A picture matched content that was known before." in facts
    assert CANARY not in facts


def retire(label: LabelVerdict) -> LabelVerdict:
    return replace(label, category="PORNOGRAPHY_OR_SEXUALIZED_CONTENT")


@pytest.mark.parametrize(
    ("verdict", "given", "said"),
    [
        (make_verdict("allow"), {}, "no statement of reasons is due"),
        (make_verdict("review"), {}, "no statement of reasons is due"),
        (make_verdict("block"), {"decided": "review"}, "no statement of reasons is due"),
        (make_verdict("block", None), {}, "no label decided this verdict"),
        (make_verdict("restrict", visibility=()), {}, "does not say how"),
        (make_verdict("block", labels=()), {}, "has no score for the label"),
        (make_verdict(request_id=""), {}, "has no request_id"),
        (
            make_verdict(labels=tuple(map(retire, make_verdict().labels))),
            {},
            "API v2 has OTHER_VIOLATION_TC instead",
        ),
        (make_verdict(), {"territory": ("US",)}, "territory: 'US' is none of: AT, BE"),
        (make_verdict(), {"language": "de"}, "language: 'de' is none of: AA"),
        (make_verdict(), {"label": "hatred"}, "label: 'hatred' is none of: sexual_explicit"),
        (make_verdict(), {"visibility": ("hide",)}, "visibility: 'hide' is none of: age_restrict"),
        (make_verdict(), {"applied": date(2019, 1, 1)}, "applied: 2019-01-01 is not from"),
        (make_verdict(), {"until": date(2039, 1, 1)}, "until: 2039-01-01 is not from"),
        (make_verdict(), {"ground": " "}, "ground: has 1 characters"),
        (make_verdict(), {"ground": ""}, "ground: has 0 characters; 1 to 500"),
        (make_verdict(), {"law": "x" * 501}, "law: has 501 characters; 1 to 500"),
        (make_verdict(), {"url": "x" * 501}, "url: has 501 characters"),
    ],
)
def test_what_makes_no_statement_is_refused(
    verdict: Verdict, given: dict[str, Any], said: str
) -> None:
    """Where no statement is due or can be made, the message says why and what is accepted."""
    with pytest.raises(StatementRefused, match=re.escape(said)):
        write(verdict, **given)


def test_statement_is_named_after_its_request() -> None:
    """The PUID is the request's hash: plain without a key, the audit log's own with its key."""
    assert name_statement("r1", None) == hashlib.sha256(b"r1").hexdigest()[:32]
    assert name_statement("r1", b"k" * 32) != name_statement("r1", None)
    assert name_statement("r1", b"k" * 32) != name_statement("r2", b"k" * 32)
