"""Words of the EU's DSA Transparency Database, API v2, and which of them stands for what of ours.

Source: github.com/digital-services-act/transparency-database at commit 69e80a0b (24 June 2026),
app/Models/Statement.php and app/Http/Requests/StatementStoreRequest.php. Version 2 is in force
since 1 July 2025 (resources/markdown/api-documentation.md); a test holds this table against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

# What a policy's labels may name in `dsa`; a statement writes them with CATEGORY_PREFIX.
CATEGORIES: Final = (
    "ANIMAL_WELFARE",
    "CONSUMER_INFORMATION",
    "CYBER_VIOLENCE",
    "CYBER_VIOLENCE_AGAINST_WOMEN",
    "DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
    "ILLEGAL_OR_HARMFUL_SPEECH",
    "INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    "NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
    "NOT_SPECIFIED_NOTICE",
    "OTHER_VIOLATION_TC",
    "PROTECTION_OF_MINORS",
    "RISK_FOR_PUBLIC_SECURITY",
    "SCAMS_AND_FRAUD",
    "SELF_HARM",
    "UNSAFE_AND_PROHIBITED_PRODUCTS",
    "VIOLENCE",
)
CATEGORY_PREFIX: Final = "STATEMENT_CATEGORY_"

# Categories of API v1 that no statement may name any more, and what comes closest in v2.
RETIRED_CATEGORIES: Final[Mapping[str, str]] = {
    "NON_CONSENSUAL_BEHAVIOUR": "CYBER_VIOLENCE",
    "PORNOGRAPHY_OR_SEXUALIZED_CONTENT": "OTHER_VIOLATION_TC",
    "SCOPE_OF_PLATFORM_SERVICE": "OTHER_VIOLATION_TC",
    "UNSAFE_AND_ILLEGAL_PRODUCTS": "UNSAFE_AND_PROHIBITED_PRODUCTS",
}


@dataclass(frozen=True, slots=True)
class LabelTerms:
    """One label in the database's words, and in a sentence for people.

    `category` stands where the policy names none. `keywords` go with that category alone.
    """

    category: str
    keywords: tuple[str, ...]
    meaning: str


LABEL_TERMS: Final[Mapping[str, LabelTerms]] = {
    "sexual_explicit": LabelTerms(
        "OTHER_VIOLATION_TC", ("ADULT_SEXUAL_MATERIAL",), "nudity or sexual acts"
    ),
    "sexual_suggestive": LabelTerms(
        "OTHER_VIOLATION_TC", ("AGE_SPECIFIC_RESTRICTIONS",), "sexually suggestive content"
    ),
    "minor_safety": LabelTerms("PROTECTION_OF_MINORS", (), "a risk to minors"),
    "violence": LabelTerms("VIOLENCE", (), "violence"),
    "graphic_gore": LabelTerms("VIOLENCE", (), "severe injury, blood or death shown"),
    "weapons": LabelTerms(
        "UNSAFE_AND_PROHIBITED_PRODUCTS", ("PROHIBITED_PRODUCTS",), "weapons or explosives"
    ),
    "terrorism_extremism": LabelTerms(
        "RISK_FOR_PUBLIC_SECURITY", ("TERRORIST_CONTENT",), "terrorist or extremist content"
    ),
    "hate": LabelTerms(
        "ILLEGAL_OR_HARMFUL_SPEECH", ("HATE_SPEECH",), "hatred against people for what they are"
    ),
    "harassment_threat": LabelTerms(
        "CYBER_VIOLENCE",
        ("CYBER_BULLYING_INTIMIDATION", "CYBER_HARASSMENT"),
        "harassment, bullying or threats",
    ),
    "self_harm": LabelTerms("SELF_HARM", (), "suicide, self-injury or disordered eating"),
    "regulated_goods": LabelTerms(
        "UNSAFE_AND_PROHIBITED_PRODUCTS",
        ("PROHIBITED_PRODUCTS",),
        "drugs, alcohol, tobacco or other regulated goods",
    ),
    "gambling": LabelTerms(
        "OTHER_VIOLATION_TC", ("GOODS_SERVICES_NOT_PERMITTED",), "gambling or its promotion"
    ),
    "scam_spam": LabelTerms("SCAMS_AND_FRAUD", (), "fraud, deception or spam"),
    "dangerous_acts": LabelTerms("OTHER_VIOLATION_TC", (), "dangerous acts or challenges"),
}

# How a `restrict` is carried out; for the others the database has no word, and takes a phrase.
VISIBILITY_TERMS: Final[Mapping[str, str]] = {
    "age_restrict": "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED",
    "demote": "DECISION_VISIBILITY_CONTENT_DEMOTED",
    "interaction_restrict": "DECISION_VISIBILITY_CONTENT_INTERACTION_RESTRICTED",
    "label": "DECISION_VISIBILITY_CONTENT_LABELLED",
}
OTHER_VISIBILITIES: Final[Mapping[str, str]] = {
    "mute": "muting of the sound",
    "blur": "blurring of the picture",
}
VISIBILITY_OTHER: Final = "DECISION_VISIBILITY_OTHER"
# A livestream that is blocked can no longer be reached; nothing has been removed from a store.
BLOCK_VISIBILITY: Final = "DECISION_VISIBILITY_CONTENT_DISABLED"
# `demonetise` restricts payments, not visibility.
MONETARY_TERMS: Final[Mapping[str, str]] = {"demonetise": "DECISION_MONETARY_SUSPENSION"}

# What a modality is besides the video that every livestream is.
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "visual": "CONTENT_TYPE_VIDEO",
    "ocr": "CONTENT_TYPE_VIDEO",
    "asr": "CONTENT_TYPE_AUDIO",
    "title": "CONTENT_TYPE_TEXT",
    "chat": "CONTENT_TYPE_TEXT",
}

Source = Literal["voluntary", "article-16", "trusted-flagger", "other"]
SOURCE_TYPES: Final[Mapping[Source, str]] = {
    "voluntary": "SOURCE_VOLUNTARY",
    "article-16": "SOURCE_ARTICLE_16",
    "trusted-flagger": "SOURCE_TRUSTED_FLAGGER",
    "other": "SOURCE_TYPE_OTHER_NOTIFICATION",
}

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU: Final = tuple(_EU.split())
EEA: Final = tuple(sorted((*EU, "IS", "LI", "NO")))

# ISO 639-1, in capitals.
_LANGUAGES = """
AA AB AE AF AK AM AN AR AS AV AY AZ BA BE BG BH BI BM BN BO BR BS CA CE CH CO CR CS CU CV CY DA
DE DV DZ EE EL EN EO ES ET EU FA FF FI FJ FO FR FY GA GD GL GN GU GV HA HE HI HO HR HT HU HY HZ
IA ID IE IG II IK IO IS IT IU JA JV KA KG KI KJ KK KL KM KN KO KR KS KU KV KW KY LA LB LG LI LN
LO LT LU LV MG MH MI MK ML MN MR MS MT MY NA NB ND NE NG NL NN NO NR NV NY OC OJ OM OR OS PA PI
PL PS PT QU RM RN RO RU RW SA SC SD SE SG SI SK SL SM SN SO SQ SR SS ST SU SV SW TA TE TG TH TI
TK TL TN TO TR TS TT TW TY UG UK UR UZ VE VI VO WA WO XH YI YO ZA ZH ZU
"""
LANGUAGES: Final = frozenset(_LANGUAGES.split())

# Characters that a field may have.
MAX_CHARACTERS: Final[Mapping[str, int]] = {
    "decision_facts": 5000,
    "decision_ground_reference_url": 500,
    "decision_visibility_other": 500,
    "illegal_content_explanation": 2000,
    "illegal_content_legal_ground": 500,
    "incompatible_content_explanation": 2000,
    "incompatible_content_ground": 500,
    "puid": 500,
}
