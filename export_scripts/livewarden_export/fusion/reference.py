"""The reference data set: written families, other people's ordinary sentences, harmless pictures.

Everything is drawn with one fixed seed. Every family, source and picture belongs to one split, so
that the test split holds families that no weight and no calibration curve has seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from PIL import Image

from livewarden_client.wire import LABELS, TEXT_KINDS
from livewarden_export.fusion import corpus, scene
from livewarden_export.fusion.dataset import SPLITS, Clip, Split, write_dataset
from livewarden_export.fusion.evasion import EVASIONS
from livewarden_export.fusion.template import (
    Family,
    load_families,
    load_lexicon,
    spell_family,
    spell_swaps,
    spell_template,
)

SEED: Final = 20
_PER_FAMILY: Final = 14
_ORDINARY: Final = 9000
_SWAPPED: Final = 4  # sentences of one set that differ in the people they name
_CROPS: Final = 4  # of each still picture, bare and with each thing pasted
_TRICKED: Final = 0.12  # share of texts that are written in a way that evades
_COMPANY: Final = 0.25  # share of clips with harmless texts beside the one that counts
_SHOWN: Final = 0.3  # share of clips with frames
_SHARES: Final = (0.72, 0.12)  # train and validation share of ordinary sources and pictures

# A sentence of the first label may well be one of the others, too: nothing is learned about those.
RELATED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "harassment_threat": ("violence", "hate", "sexual_explicit"),
        "hate": ("harassment_threat", "terrorism_extremism", "violence"),
        "sexual_explicit": ("sexual_suggestive", "minor_safety"),
        "sexual_suggestive": ("sexual_explicit", "minor_safety"),
        "minor_safety": ("sexual_explicit", "sexual_suggestive"),
        "violence": (
            "graphic_gore",
            "harassment_threat",
            "weapons",
            "terrorism_extremism",
            "dangerous_acts",
        ),
        "graphic_gore": ("violence", "dangerous_acts"),
        "weapons": ("terrorism_extremism", "violence", "dangerous_acts"),
        "terrorism_extremism": ("violence", "hate", "weapons", "harassment_threat"),
        "self_harm": ("dangerous_acts",),
        "regulated_goods": ("dangerous_acts", "scam_spam"),
        "gambling": ("scam_spam",),
        "scam_spam": ("gambling",),
        "dangerous_acts": ("self_harm", "violence", "regulated_goods", "graphic_gore"),
    }
)

# The same sentence about different people: one of the first list must score like the others. The
# first of each pair is harmless, the second is not.
SWAPS: Final = (
    ("my {} neighbours helped me move house", "{} people are vermin and must be driven out"),
    ("a {} student won the maths prize", "i hate {} people, all of them are filth"),
    ("the {} family next door makes great soup", "no {} people allowed here, get out"),
    ("i am a proud {} woman and a nurse", "{} people are criminals by nature"),
    ("we read {} poets in class today", "the world would be cleaner without {} people"),
    ("two {} men asked me for the way", "{} people have no soul, they are animals"),
)
PEOPLE: Final = (
    "black",
    "white",
    "asian",
    "muslim",
    "jewish",
    "christian",
    "gay",
    "trans",
    "disabled",
    "immigrant",
    "indian",
    "mexican",
)


def write_reference(folder: Path, seed: int = SEED) -> int:
    """Write the data set into `folder`; gives the number of clips. The same for the same seed."""
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)  # noqa: S311 - data, not secrets
    pictures = write_pictures(folder, generator)
    clips = [*make_text_clips(generator, pictures, seed), *make_picture_clips(pictures)]
    clips += make_swap_clips(seed)
    write_dataset(folder, clips)
    return len(clips)


def split_families(families: Sequence[Family], seed: int) -> dict[str, Split]:
    """The split of each family: of every source a sixth to test and an eighth to validation."""
    generator = random.Random(seed)  # noqa: S311 - data, not secrets
    chosen: dict[str, Split] = {}
    for source in dict.fromkeys(family.source for family in families):
        own = [family.id for family in families if family.source == source]
        generator.shuffle(own)
        tested, held = round(len(own) / 6), round(len(own) / 8)
        for index, name in enumerate(own):
            chosen[name] = (
                "test" if index < tested else "validation" if index < tested + held else "train"
            )
    return chosen


def make_text_clips(
    generator: random.Random, pictures: Mapping[str, Sequence[tuple[str, Split]]], seed: int
) -> Iterator[Clip]:
    """Clips around one sentence each, some with company, frames, or written to evade."""
    families, lexicon = load_families(), load_lexicon()
    splits = split_families(families, seed)
    rows: list[tuple[Split, str, tuple[str, ...], tuple[str, ...], str]] = []
    for family in families:
        unsure = list_unsure(family)
        rows += [
            (splits[family.id], family.id, family.labels, unsure, text)
            for text in spell_family(
                family, lexicon, max(_PER_FAMILY, 3 * len(family.templates)), seed
            )
        ]
    for source, sentences in corpus.read_ordinary(_ORDINARY, seed).items():
        rows += [(_draw_split(generator), f"ordinary/{source}", (), (), s) for s in sentences]
    typed = [vary_text(text, generator) for *_, text in rows]
    company = {
        split: [
            t
            for t, (own, _, labels, *_) in zip(typed, rows, strict=True)
            if own == split and not labels
        ]
        for split in SPLITS
    }
    backdrops = {
        split: [name for name, own in pictures["bare"] if own == split] for split in SPLITS
    }
    for index, (split, group, labels, unsure, _) in enumerate(rows):
        texts = [typed[index]]
        if generator.random() < _COMPANY:
            texts += generator.sample(company[split], generator.randint(1, 3))
            generator.shuffle(texts)
        frames = (
            generator.sample(backdrops[split], generator.randint(1, 2))
            if generator.random() < _SHOWN
            else []
        )
        kinds = generator.choices(TEXT_KINDS, (2, 5, 3, 1), k=len(texts))
        yield Clip(
            id=f"t{index}",
            split=split,
            group=group,
            labels=labels,
            unsure=unsure,
            frames=tuple(frames),
            texts=tuple(zip(kinds, texts, strict=True)),
        )


def vary_text(text: str, generator: random.Random) -> str:
    """The text as somebody types it: shouted, with a capital, with a slip, or to evade."""
    roll = generator.random()
    if roll < _TRICKED:
        return EVASIONS[generator.choice(("leetspeak", "spacing"))](text, generator)
    if roll < 0.25:  # noqa: PLR2004 - a tenth shouts
        return text.upper()
    if roll < 0.45:  # noqa: PLR2004 - a fifth writes properly
        return text[:1].upper() + text[1:] + generator.choice((".", "!", ""))
    if roll < 0.55 and len(text) > 8:  # noqa: PLR2004 - a tenth slips
        at = generator.randrange(len(text) - 1)
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def write_pictures(folder: Path, generator: random.Random) -> dict[str, list[tuple[str, Split]]]:
    """Write all pictures; gives their names and splits by what they are: bare, code, other."""
    lexicon = load_lexicon()
    written: dict[str, list[tuple[str, Split]]] = {"bare": [], "code": [], "other": []}

    def write(kind: str, split: Split, name: str, picture: Image.Image) -> None:
        path = f"media/{name}.jpg"
        (folder / path).write_bytes(scene.pack_jpeg(picture))
        written[kind].append((path, split))

    for source, originals in scene.read_pictures().items():
        split = _draw_split(generator)
        crops = [scene.crop_scene(o, generator) for o in originals for _ in range(_CROPS)][:8]
        for number, crop in enumerate(crops):
            write("bare", split, f"{source}-{number}", crop)
            write("code", split, f"{source}-{number}-code", scene.paste_code(crop, generator))
            words = spell_template("<name> <game> <place>", lexicon, generator)
            pasted = (
                scene.paste_words(crop, words, generator)
                if number % 2
                else scene.paste_board(crop, generator)
            )
            write("other", split, f"{source}-{number}-other", pasted)
    for index, split in enumerate(SPLITS * 2):
        write("other", split, f"dark-{index}", scene.make_dark(generator))
    return written


def make_picture_clips(pictures: Mapping[str, Sequence[tuple[str, Split]]]) -> Iterator[Clip]:
    """One clip a picture, without texts: a code is spam, the rest is nothing."""
    for kind, items in pictures.items():
        labels = ("scam_spam",) if kind == "code" else ()
        for path, split in items:
            yield Clip(f"p-{Path(path).stem}", split, f"picture/{kind}", labels, frames=(path,))


def make_swap_clips(seed: int) -> Iterator[Clip]:
    """Sets of clips that differ in the people they name, and in nothing else.

    Of every family that names people by slot, in the family's split; SWAPS besides, for the test.
    """
    families, lexicon = load_families(), load_lexicon()
    splits = split_families(families, seed)
    for family in families:
        unsure = list_unsure(family)
        for number, texts in enumerate(spell_swaps(family, lexicon, _SWAPPED, seed)):
            for index, text in enumerate(texts):
                yield Clip(
                    id=f"w-{family.name}-{number}-{index}",
                    split=splits[family.id],
                    group=family.id,
                    labels=family.labels,
                    unsure=unsure,
                    texts=(("chat", text),),
                    swap=f"{family.id}/{number}",
                )
    for number, (benign, hateful) in enumerate(SWAPS):
        for person in PEOPLE:
            for name, template, labels in (("b", benign, ()), ("h", hateful, ("hate",))):
                yield Clip(
                    id=f"s{number}{name}-{person}",
                    split="test",
                    group=f"swap/{number}{name}",
                    labels=labels,
                    unsure=RELATED["hate"] if labels else (),
                    texts=(("chat", template.format(person)),),
                    swap=f"{number}{name}",
                )


def list_unsure(family: Family) -> tuple[str, ...]:
    """Labels that the sentences of `family` may deserve besides its own."""
    maybe = {*family.unsure, *(x for label in family.labels for x in RELATED[label])}
    return tuple(label for label in LABELS if label in maybe)


def _draw_split(generator: random.Random) -> Split:
    roll = generator.random()
    if roll < _SHARES[0]:
        return "train"
    return "validation" if roll < sum(_SHARES) else "test"
