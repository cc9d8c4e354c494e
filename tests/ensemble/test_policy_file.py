from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from livewarden_client.verdict import Thresholds
from livewarden_client.wire import ACTIONS, LABELS, TAXONOMY_VERSION
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy_file import load_policy

DEFAULT = Path(__file__).parents[2] / "policies" / "default.yaml"

SMALL = """\
policy: { id: small, version: "3", taxonomy: t1.0 }
defaults:
  thresholds: { review: 0.5, restrict: 0.7, block: 0.9 }
labels:
  hate: { thresholds: { review: 0.25, restrict: 0.5, block: 0.75 } }
  violence: {}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_the_default_policy_loads_and_covers_the_taxonomy() -> None:
    """The file that ships is complete, ordered, and says what the design promises."""
    policy = load_policy(DEFAULT)
    assert (policy.id, policy.version) == ("default", "1")
    assert tuple(policy.thresholds) == LABELS
    assert policy.thresholds["sexual_explicit"] == Thresholds(0.50, 0.70, 0.90)
    assert policy.thresholds["weapons"] == Thresholds(0.60, 0.80, 0.95)
    assert policy.digest == f"sha256:{hashlib.sha256(DEFAULT.read_bytes()).hexdigest()}"
    assert policy.fail_safe.frames["missing"] == "review"
    assert policy.fail_safe.texts["missing"] == "allow"
    for rule in (policy.fail_safe.frames, policy.fail_safe.texts):
        assert set(rule) == {"missing", "damaged", "late", "unscored"}
        assert not {rule["damaged"], rule["late"], rule["unscored"]} & {"allow"}


def test_the_default_policy_names_every_label() -> None:
    """A reader of the file sees all labels, in the order of the contract."""
    assert tuple(yaml.safe_load(DEFAULT.read_bytes())["labels"]) == LABELS


def test_labels_without_thresholds_have_the_default_ones(write: Callable[[str], Path]) -> None:
    """A label that is left out, or has no thresholds of its own, takes the file's."""
    policy = load_policy(write(SMALL))
    assert policy.thresholds["hate"] == Thresholds(0.25, 0.5, 0.75)
    rest = {policy.thresholds[label] for label in LABELS if label != "hate"}
    assert rest == {Thresholds(0.5, 0.7, 0.9)}


def test_without_a_fail_safe_block_everything_unseen_is_reviewed(
    write: Callable[[str], Path],
) -> None:
    """What a file does not say about coverage is the safe thing."""
    fail_safe = load_policy(write(SMALL)).fail_safe
    assert {*fail_safe.frames.values(), *fail_safe.texts.values()} == {"review"}
    assert fail_safe.nothing_scored == "review"


@pytest.mark.parametrize("action", ACTIONS)
def test_only_what_was_never_sent_may_be_allowed(write: Callable[[str], Path], action: str) -> None:
    """`missing` takes every action; the other gaps and `nothing_scored` refuse `allow`."""
    for modality in ("frames", "texts"):
        rule = f"fail_safe: {{ {modality}: {{ missing: {action} }} }}\n"
        fail_safe = load_policy(write(SMALL + rule)).fail_safe
        assert getattr(fail_safe, modality)["missing"] == action
        for gap in ("damaged", "late", "unscored"):
            path = write(SMALL + f"fail_safe: {{ {modality}: {{ {gap}: {action} }} }}\n")
            if action == "allow":
                with pytest.raises(PolicyInvalid, match=f"{gap}: Invalid enum value"):
                    load_policy(path)
            else:
                assert getattr(load_policy(path).fail_safe, modality)[gap] == action
    path = write(SMALL + f"fail_safe: {{ nothing_scored: {action} }}\n")
    if action == "allow":
        with pytest.raises(PolicyInvalid, match="nothing_scored: Invalid enum value"):
            load_policy(path)
    else:
        assert load_policy(path).fail_safe.nothing_scored == action


def test_the_digest_is_that_of_the_bytes(write: Callable[[str], Path]) -> None:
    """Two files that differ in a comment have two digests: provenance names the exact file."""
    one = load_policy(write(SMALL)).digest
    two = load_policy(write(SMALL + "# reviewed\n")).digest
    assert one != two
    assert one == f"sha256:{hashlib.sha256(SMALL.encode()).hexdigest()}"


HATE = "thresholds: { review: 0.25, restrict: 0.5, block: 0.75 }"

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "no YAML": ("policy: [", "line 1, column 10: "),
    "tab": ("policy:\n\tid: x\n", "line 2, column 1: found character '\\t'"),
    "not UTF-8": (b"policy: \xff\xfe\n", "is not YAML in UTF-8"),
    "control character": (b"policy: \x07\n", "is not YAML in UTF-8"),
    "no such day": (SMALL + "since: 2026-13-45\n", "is not YAML in UTF-8"),
    "too deep": ("[" * 2000, "is not YAML in UTF-8"),
    "a Python object": ("!!python/name:os.system\n", "line 1, column 1: could not determine"),
    "empty": ("", "the file: Expected `object`, got `null`"),
    "a list": ("- a\n", "the file: Expected `object`, got `array`"),
    "no header": (SMALL.split("\n", 1)[1], "the file: Object missing required field `policy`"),
    "no defaults": (
        'policy: { id: a, version: "1", taxonomy: t1.0 }\nlabels: {}\n',
        "the file: Object missing required field `defaults`",
    ),
    "unknown section": (SMALL + "regions: {}\n", "the file: Object contains unknown field `reg"),
    "unknown header field": (
        SMALL.replace("id: small", "id: small, owner: me"),
        "policy: Object contains unknown field `owner`",
    ),
    "version as a number": (
        SMALL.replace('"3"', "3"),
        "policy.version: Expected `str`, got `int`",
    ),
    "id with a blank": (SMALL.replace("small", "'a b'"), "policy.id: Expected `str` matching"),
    "id ends the line": (SMALL.replace("small", '"a\\n"'), "policy.id: Expected `str` matching"),
    "another taxonomy": (
        SMALL.replace("t1.0", "t0.9"),
        f"policy.taxonomy is 't0.9'; this server speaks '{TAXONOMY_VERSION}'",
    ),
    "unknown label": (
        SMALL.replace("violence", "violense"),
        f"labels.violense is no label of taxonomy {TAXONOMY_VERSION}; it knows: {LABELS[0]}, ",
    ),
    "label twice": (
        SMALL + "  hate: {}\n",
        "line 7, column 3: the key 'hate' stands here twice",
    ),
    "section twice": (SMALL + "labels: {}\n", "line 7, column 1: the key 'labels' stands here"),
    "label without a body": (
        SMALL.replace("violence: {}", "violence:"),
        "labels.violence: Expected `object`, got `null`",
    ),
    "unknown label field": (
        SMALL.replace("violence: {}", "violence: { threshold: 1 }"),
        "labels.violence: Object contains unknown field `threshold`",
    ),
    "two of three thresholds": (
        SMALL.replace(HATE, "thresholds: { review: 0.25, block: 0.75 }"),
        "labels.hate.thresholds: Object missing required field `restrict`",
    ),
    "threshold over 1": (
        SMALL.replace("block: 0.75", "block: 75"),
        "labels.hate.thresholds.block: Expected `float` <= 1.0",
    ),
    "threshold below 0": (
        SMALL.replace("review: 0.5,", "review: -0.5,"),
        "defaults.thresholds.review: Expected `float` >= 0.0",
    ),
    "threshold is NaN": (
        SMALL.replace("block: 0.75", "block: .nan"),
        "labels.hate.thresholds.block: Expected `float` ",
    ),
    "threshold is infinite": (
        SMALL.replace("block: 0.75", "block: .inf"),
        "labels.hate.thresholds.block: Expected `float` <= 1.0",
    ),
    "threshold in quotes": (
        SMALL.replace("block: 0.75", 'block: "0.75"'),
        "labels.hate.thresholds.block: Expected `float`, got `str`",
    ),
    "threshold is true": (
        SMALL.replace("block: 0.75", "block: on"),
        "labels.hate.thresholds.block: Expected `float`, got `bool`",
    ),
    "falling thresholds": (
        SMALL.replace("restrict: 0.5", "restrict: 0.125"),
        "labels.hate.thresholds must rise: review 0.25 <= restrict 0.125 <= block 0.75",
    ),
    "falling defaults": (
        SMALL.replace("restrict: 0.7", "restrict: 0.95"),
        f"labels.{LABELS[0]}.thresholds must rise: review 0.5 <= restrict 0.95 <= block 0.9",
    ),
    "labels in a list": (
        SMALL.split("labels:", maxsplit=1)[0] + "labels: [hate]\n",
        "labels: Expected `object`, got `array`",
    ),
    "label is a number": (
        SMALL + "  7: {}\n",
        "Expected `str`, got `int` - at `key` in `$.labels`",
    ),
    "unknown action": (
        SMALL + "fail_safe: { frames: { late: panic } }\n",
        "fail_safe.frames.late: Invalid enum value 'panic'",
    ),
    "unknown gap": (
        SMALL + "fail_safe: { frames: { lost: review } }\n",
        "fail_safe.frames: Object contains unknown field `lost`",
    ),
    "unknown modality": (
        SMALL + "fail_safe: { audio: { late: review } }\n",
        "fail_safe: Object contains unknown field `audio`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_file_and_the_place(
    write: Callable[[str | bytes], Path], name: str
) -> None:
    """Every way to get a policy wrong says in which file, at which line or key, and why."""
    text, problem = REFUSED[name]
    path = write(text)
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert "\n" not in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong path is an error of the same kind."""
    path = tmp_path / "none.yaml"
    with pytest.raises(PolicyInvalid, match="No such file") as caught:
        load_policy(path)
    assert str(path) in str(caught.value)
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path)


def test_equal_thresholds_are_in_order(write: Callable[[str], Path]) -> None:
    """Two equal thresholds switch the milder of the two actions off, which is a thing to want."""
    policy = load_policy(write(SMALL.replace("restrict: 0.5", "restrict: 0.75")))
    assert policy.thresholds["hate"] == Thresholds(0.25, 0.75, 0.75)
