"""What pictures can say of a label, as data: the encoders' own classes, and nothing invented."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from livewarden_client.wire import LABELS, TEXT_KINDS

# ILSVRC-2012 class index -> name, by label. The score is the group's share of the softmax.
# Left out on purpose, because ordinary streams show them: kitchen knives and tools, tanks and
# missiles (games, rocket launches), pill bottles and syringes (medicine), pool tables.
PICTURE_CLASSES: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "sexual_suggestive": {
            445: "bikini",
            459: "brassiere",
            638: "maillot",
            639: "maillot, tank suit",
            842: "swimming trunks",
        },
        "weapons": {
            413: "assault rifle",
            597: "holster",
            763: "revolver",
            764: "rifle",
        },
        "regulated_goods": {
            440: "beer bottle",
            441: "beer glass",
            503: "cocktail shaker",
            860: "tobacco shop",
            901: "whiskey jug",
            907: "wine bottle",
            966: "red wine",
        },
        "gambling": {800: "slot, one-armed bandit"},
    }
)

# Labels that open_nsfw's one probability speaks about.
NSFW_LABELS: Final = ("sexual_explicit", "sexual_suggestive")
# Slope and shift over the log odds of that probability. Its authors call below 0.2 safe and above
# 0.8 probably not: the curve makes 0.02 and 0.8 of those two, since most of a stream is safe.
NSFW_CURVE: Final = (1.9, -1.25)

# Besides classes and open_nsfw: QR codes, which the reference data composes onto pictures.
LEARNED_LABELS: Final = ("scam_spam",)

VISUAL_LABELS: Final = tuple(
    label
    for label in LABELS
    if label in PICTURE_CLASSES or label in NSFW_LABELS or label in LEARNED_LABELS
)

# What calibration.json says each modality can speak to.
SUPPORTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"visual": VISUAL_LABELS, **dict.fromkeys(TEXT_KINDS, LABELS)}
)
