"""A corpus of malformed policies: each is refused with file, line and key."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy import load_policy

HEAD = """\
policy: {id: a, version: "1", taxonomy: t1.0}
defaults:
  thresholds: {review: 0.5, restrict: 0.7, block: 0.9}
"""
# HEAD is three lines, so what follows begins in line 4.
LABEL = HEAD + "labels:\n  hate:\n"
LISTS = HEAD + "labels: {}\nblocklists:\n"
BANKS = HEAD + "labels: {}\nhash_banks:\n"
HASH = "f" * 64


def label(body: str) -> str:
    """A policy in which `body` is all that is said of hate; its first line is line 6."""
    return LABEL + textwrap.indent(textwrap.dedent(body), "    ")


# Name: the file, and what the message must hold besides the file's name.
CORPUS: dict[str, tuple[str | bytes, str]] = {
    # Not YAML, or not the YAML that is read here.
    "empty file": (b"", ":1:1: the file: "),
    "only a comment": ("# nothing\n", ":1:1: the file: "),
    "a list": ("- a\n", ":1:1: the file: expected object"),
    "a number": ("7\n", ":1:1: the file: expected object"),
    "not UTF-8": (HEAD.encode() + b"x: \xff\n", ":4:4: the file: is not YAML in UTF-8"),
    "a control character": (HEAD + "x: \x07\n", "U+0007"),
    "an open bracket": (HEAD + "labels: {hate: {\n", ":5:1: the file: is not YAML"),
    "an open quote": (HEAD + 'labels: {"hate\n', "the file: is not YAML"),
    "a tab for indentation": (HEAD + "labels:\n\thate: {}\n", ":5:1: the file: is not YAML"),
    "two documents": (HEAD + "labels: {}\n---\na: 1\n", ":5:1: the file: is not YAML"),
    "a key twice": (HEAD + "labels: {}\nlabels: {}\n", ":5:1: labels: stands here twice"),
    "a label twice": (LABEL + "    {}\n  hate: {}\n", ":7:3: labels.hate: stands here twice"),
    "an alias": (HEAD + "labels:\n  hate: &a {}\n  weapons: *a\n", "weapons: is an alias"),
    "a bomb of aliases": (
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        ":2:1: b[0]: is an alias",
    ),
    "a tag": (HEAD + "labels: !!python/object:os.system {}\n", "labels: has a tag"),
    "a tag on a word": (HEAD + "labels: !!binary aGk=\n", ":4:9: labels: has a tag"),
    "a merge key": (HEAD + "labels: {<<: {hate: {}}}\n", ":4:10: labels.<<: "),
    "a mapping as key": (HEAD + "labels: {{a: 1}: 2}\n", ":4:10: labels: has a key that is no"),
    "absurdly deep": (HEAD + "labels: " + "[" * 400 + "]" * 400, "nested deeper than 24 levels"),
    "absurdly many values": (HEAD + "labels: [" + "0," * 200_001 + "]", "at most 200000"),
    "absurdly large": (HEAD + "#" * 4_200_000, "at most 4194304 are accepted"),
    # Keys and their types.
    "no labels": (HEAD, ":1:1: the file: lacks the key 'labels'"),
    "no defaults": (HEAD.partition("defaults")[0] + "labels: {}\n", "lacks the key 'defaults'"),
    "no policy": ("defaults: {}\nlabels: {}\n", "the file: lacks the key 'policy'"),
    "no version": (
        HEAD.replace(', version: "1"', "") + "labels: {}\n",
        ":1:1: policy: lacks the key 'version'",
    ),
    "a version that is a number": (
        HEAD.replace('"1"', "1") + "labels: {}\n",
        ":1:17: policy.version: expected str, got int",
    ),
    "a version with a space": (HEAD.replace('"1"', '"1 2"') + "labels: {}\n", "policy.version: "),
    "another taxonomy": (
        HEAD.replace("t1.0", "t9.9") + "labels: {}\n",
        ":1:31: policy.taxonomy: is 't9.9'; this server speaks 't1.0'",
    ),
    "an unknown section": (
        HEAD + "labels: {}\nblocklist: {}\n",
        ":5:1: blocklist: is no key here; did you mean 'blocklists'?",
    ),
    "an unknown label": (
        HEAD + "labels: {hatee: {}}\n",
        ":4:10: labels.hatee: is no label of taxonomy t1.0; did you mean 'hate'?",
    ),
    "an unknown label in a layer": (
        HEAD + "labels: {}\nregions: {DE: {labels: {violins: {}}}}\n",
        ":5:25: regions.DE.labels.violins: is no label",
    ),
    "an unknown key of a label": (
        label("treshold: 1\n"),
        ":6:5: labels.hate.treshold: is no key here; did you mean 'thresholds'?",
    ),
    "labels as a list": (HEAD + "labels: [hate]\n", ":4:1: labels: expected object, got array"),
    "a mode that YAML 1.1 would read as false": (
        label("mode: no\n"),
        ":6:5: labels.hate.mode: 'no' is not accepted; there are: enforce, off,",
    ),
    "an unknown mode": (
        label("mode: shaddow\n"),
        "labels.hate.mode: 'shaddow' is not accepted; did",
    ),
    "a day that does not exist": (
        label("mode_until: 2026-02-30\n"),
        ":6:5: labels.hate.mode_until: 2026-02-30 is no day",
    ),
    "a time without a zone": (label("mode_until: 2026-02-01T10:00:00\n"), "labels.hate.mode_until"),
    # Thresholds.
    "a threshold over one": (
        label("thresholds: {review: 1.5}\n"),
        ":6:18: labels.hate.thresholds.review: expected",
    ),
    "a negative threshold": (
        label("thresholds: {review: -0.1}\n"),
        ":6:18: labels.hate.thresholds.review: expected",
    ),
    "a threshold that is NaN": (
        label("thresholds: {review: .nan}\n"),
        ":6:26: labels.hate.thresholds.review: must be a number, not NaN",
    ),
    "a threshold that is infinite": (
        label("thresholds: {block: .inf}\n"),
        ":6:25: labels.hate.thresholds.block: must be a number",
    ),
    "a threshold in words": (
        label("thresholds: {review: high}\n"),
        ":6:18: labels.hate.thresholds.review: expected",
    ),
    "a threshold that is a boolean": (
        label("thresholds: {review: true}\n"),
        ":6:18: labels.hate.thresholds.review: expected",
    ),
    "an integer of too many digits": (
        label("severity: 99999999999999999999\n"),
        "labels.hate.severity: is an integer of too many digits",
    ),
    "thresholds out of order": (
        label("thresholds: {review: 0.8}\n"),
        ":6:5: labels.hate.thresholds: must rise: review 0.8 is over restrict 0.7",
    ),
    "defaults out of order": (
        HEAD.replace("block: 0.9", "block: 0.6") + "labels: {}\n",
        ":3:3: defaults.thresholds: must rise: restrict 0.7 is over block 0.6",
    ),
    "a layer's thresholds out of order": (
        HEAD + "labels: {}\nregions:\n  DE:\n    labels: {hate: {thresholds: {block: 0.6}}}\n",
        ":7:21: regions.DE.labels.hate.thresholds: must rise",
    ),
    "a layer's defaults out of order": (
        HEAD + "labels: {}\nsurfaces: {x: {defaults: {thresholds: {review: 0.8}}}}\n",
        ":5:27: surfaces.x.defaults.thresholds: must rise",
    ),
    "an exit over its enter": (
        label("thresholds: {review: {enter: 0.5, exit: 0.6}}\n"),
        ":6:5: labels.hate.thresholds: review must end at or under where it starts",
    ),
    "a hysteresis over a half": (label("hysteresis: 0.7\n"), ":6:5: labels.hate.hysteresis: "),
    # Rules over time.
    "more hits than clips": (
        label("confirm: {hits: 4, of: 3}\n"),
        ":6:15: labels.hate.confirm.hits: asks for 4 hits of 3 clips",
    ),
    "a window of too many clips": (label("repeat: {hits: 2, of: 33}\n"), "labels.hate.repeat.of: "),
    "no hits": (label("repeat: {hits: 0, of: 3}\n"), ":6:14: labels.hate.repeat.hits: expected"),
    "a confirmation before review": (
        label("confirm: {hits: 1, of: 1, needed_for: review}\n"),
        "labels.hate.confirm.needed_for: 'review' is not accepted",
    ),
    "a duration without a unit": (label("cooldown: 30\n"), ":6:5: labels.hate.cooldown: expected"),
    "a duration of an unknown unit": (label("cooldown: 3w\n"), ":6:5: labels.hate.cooldown: "),
    "a duration over a year": (
        label("half_life: 999999999d\n"),
        ":6:5: labels.hate.half_life: 999999999d is longer than a year",
    ),
    "a ladder that does not rise": (
        label(
            "escalation:\n"
            "  ladder: [{violations: 2, action: block}, {violations: 3, action: review}]\n"
        ),
        ":7:48: labels.hate.escalation.ladder[1]: must ask for more",
    ),
    "a rung without an action": (
        label("escalation: {ladder: [{violations: 2}]}\n"),
        "labels.hate.escalation.ladder[0]: lacks the key 'action'",
    ),
    "a rung that allows": (
        label("escalation: {ladder: [{violations: 2, action: allow}]}\n"),
        "labels.hate.escalation.ladder[0].action: 'allow' is not accepted",
    ),
    "a state that lives too long": (
        HEAD + "labels: {}\nstate: {ttl: 2d}\n",
        ":5:9: state.ttl: is 2d; accepted is 1s to 1d",
    ),
    # Labels among each other.
    "an unknown parent": (label("parent: hat\n"), ":6:5: labels.hate.parent: is no label"),
    "its own parent": (label("parent: hate\n"), ":6:5: labels.hate.parent: makes a circle"),
    "a circle of parents": (
        HEAD + "labels:\n  hate: {parent: violence}\n  violence: {parent: hate}\n",
        ":5:10: labels.hate.parent: makes a circle",
    ),
    "a parent in a layer": (
        HEAD + "labels: {}\nrooms: {a: {labels: {hate: {parent: violence}}}}\n",
        "rooms.a.labels.hate.parent: can only stand in",
    ),
    "an alias that is a label": (
        label("aliases: [violence]\n"),
        "labels.hate.aliases[0]: 'violence' is a label",
    ),
    "an alias of two labels": (
        HEAD + "labels:\n  hate: {aliases: [x]}\n  violence: {aliases: [x]}\n",
        ":6:24: labels.violence.aliases[0]: 'x' already stands for 'hate'",
    ),
    "a label under both its names": (
        HEAD + "labels: {hate: {aliases: [x]}}\nregions: {DE: {labels: {x: {}, hate: {}}}}\n",
        ":5:25: regions.DE.labels.x: is another name of hate",
    ),
    # Fail-safe: nothing that was sent may be allowed unseen.
    "corrupt frames allowed": (
        HEAD + "labels: {}\nfail_safe: {frames: {on_corrupt: allow}}\n",
        ":5:22: fail_safe.frames.on_corrupt: 'allow' is not accepted",
    ),
    "late texts ignored": (
        HEAD + "labels: {}\nfail_safe: {chat: {on_timeout: ignore}}\n",
        ":5:20: fail_safe.chat.on_timeout: 'ignore' is not accepted",
    ),
    "nothing scored is allowed": (
        HEAD + "labels: {}\nfail_safe: {nothing_scored: allow}\n",
        ":5:13: fail_safe.nothing_scored: 'allow' is not accepted",
    ),
    "an unknown modality": (
        HEAD + "labels: {}\nfail_safe: {audio: {}}\n",
        ":5:13: fail_safe.audio: is no key here",
    ),
    "required and ignored": (
        HEAD + "labels: {}\nfail_safe: {required: [asr], asr: {on_missing: ignore}}\n",
        ":5:36: fail_safe.asr.on_missing: must be review or more",
    ),
    "required twice": (
        HEAD + "labels: {}\nfail_safe: {required: [asr, asr]}\n",
        ":5:29: fail_safe.required[1]: 'asr' stands here twice",
    ),
    "a forged state allowed": (
        HEAD + "labels: {}\nstate: {on_refused: allow}\n",
        ":5:9: state.on_refused: 'allow' is not accepted",
    ),
    "a restriction without a way": (
        label("visibility: []\n"),
        ":6:5: labels.hate.visibility: is empty",
    ),
    # Layers.
    "an unknown region": (
        HEAD + "labels: {}\nregions: {XX: {}}\n",
        ":5:11: regions.XX: is no country of ISO 3166-1",
    ),
    "a region in words": (
        HEAD + "labels: {}\nregions: {Germany: {}}\n",
        ":5:11: regions.Germany: ",
    ),
    "a layer inside a layer": (
        HEAD + "labels: {}\nregions: {DE: {surfaces: {}}}\n",
        ":5:16: regions.DE.surfaces: is no key here",
    ),
    "a surface with a strange name": (
        HEAD + 'labels: {}\nsurfaces: {"a b": {}}\n',
        ":5:12: surfaces.a b",
    ),
    "an unknown list in a layer": (
        HEAD + "labels: {}\nregions: {DE: {blocklists: {x: {mode: off}}}}\n",
        ":5:29: regions.DE.blocklists.x: does not exist",
    ),
    # Lists and banks.
    "a list without a label": (
        LISTS + "  a: {phrases: [x]}\n",
        ":6:3: blocklists.a: lacks the key",
    ),
    "a list with an unknown label": (
        LISTS + "  a: {label: x, phrases: [x]}\n",
        ":6:7: blocklists.a.label: is no label",
    ),
    "an empty list": (LISTS + "  a: {label: hate}\n", ":6:3: blocklists.a: is empty"),
    "a phrase of punctuation": (
        LISTS + "  a: {label: hate, phrases: ['x', '...']}\n",
        ":6:35: blocklists.a.phrases[1]: has no letter",
    ),
    "a pattern with a back-reference": (
        LISTS + "  a: {label: hate, patterns: ['(a)\\1']}\n",
        ":6:31: blocklists.a.patterns[0]: is no pattern that RE2 can run",
    ),
    "a pattern that looks ahead": (
        LISTS + "  a: {label: hate, patterns: ['a(?=b)']}\n",
        ":6:31: blocklists.a.patterns[0]: is no pattern that RE2 can run",
    ),
    "a pattern that explodes": (
        LISTS + "  a: {label: hate, patterns: ['((a{1,100}){1,100}){1,100}']}\n",
        ":6:31: blocklists.a.patterns[0]: is no pattern that RE2 can run",
    ),
    "a pattern that matches nothing": (
        LISTS + "  a: {label: hate, patterns: ['a*']}\n",
        ":6:31: blocklists.a.patterns[0]: matches the empty text",
    ),
    "an unbalanced pattern": (
        LISTS + "  a: {label: hate, patterns: ['(a']}\n",
        "patterns[0]: is no",
    ),
    "a list in a missing file": (
        LISTS + "  a: {label: hate, file: nowhere.txt}\n",
        ":6:20: blocklists.a.file: nowhere.txt cannot be read",
    ),
    "a list outside of the folder": (
        LISTS + "  a: {label: hate, file: ../../etc/passwd}\n",
        ":6:20: blocklists.a.file: leads out of the policy's own folder",
    ),
    "allow-phrases for no list": (
        HEAD + "labels: {}\nallow_phrases: {a: {phrases: [x], lists: [b]}}\n",
        ":5:43: allow_phrases.a.lists[0]: 'b' is no blocklist",
    ),
    "a language in words": (
        LISTS + "  a: {label: hate, phrases: [x], languages: [German]}\n",
        "blocklists.a.languages[0]: ",
    ),
    "a hash that is none": (
        BANKS + "  a: {label: hate, hashes: [abc]}\n",
        ":6:29: hash_banks.a.hashes[0]: is no PDQ hash",
    ),
    "a hash that YAML reads as a number": (
        BANKS + f"  a: {{label: hate, hashes: [{'1' * 64}]}}\n",
        ":6:29: hash_banks.a.hashes[0]: is an integer of too many digits",
    ),
    "a bank without hashes": (BANKS + "  a: {label: hate}\n", ":6:3: hash_banks.a: is empty"),
    "a distance over the gate": (
        BANKS + f"  a: {{label: hate, hashes: ['{HASH}'], max_distance: 200}}\n",
        "hash_banks.a.max_distance: ",
    ),
    "a ratio over one": (
        BANKS + f"  a: {{label: hate, hashes: ['{HASH}'], enabled_ratio: 2}}\n",
        "hash_banks.a.enabled_ratio: ",
    ),
    # Review and shadows.
    "a share over one": (
        HEAD + "labels: {}\nreview: {random: 7}\n",
        ":5:10: review.random: expected",
    ),
    "a stratum upside down": (
        HEAD + "labels: {}\nreview: {strata: {a: {label: hate, low: 0.5, high: 0.2, share: 1}}}\n",
        ":5:36: review.strata.a.low: must be under high",
    ),
    "a missing shadow": (
        HEAD + "labels: {}\nshadow: [{file: next.yaml}]\n",
        ":5:11: shadow[0].file: cannot be loaded",
    ),
    "itself as shadow": (
        HEAD + "labels: {}\nshadow: [{file: bad.yaml}]\n",
        ":5:11: shadow[0].file: cannot be loaded",
    ),
    "too many shadows": (
        HEAD + "labels: {}\nshadow: [{file: a}, {file: b}, {file: c}]\n",
        ":5:1: shadow: expected array of length <= 2",
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_bad_policy_is_refused_with_file_line_and_key(name: str, corpus_path: Path) -> None:
    """Every malformed policy gets an error that names the file, the place and the key."""
    content, said = CORPUS[name]
    corpus_path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PolicyInvalid) as refused:
        load_policy(corpus_path)
    message = str(refused.value)
    assert said in message
    for line in message.splitlines():
        assert line.startswith(f"{corpus_path}:")


def test_the_corpus_is_large_enough() -> None:
    """At least 60 malformed policies are tried."""
    assert len(CORPUS) >= 60


def test_all_faults_are_told_at_once(corpus_path: Path) -> None:
    """Faults of one kind do not hide each other: each has its line, in the order of the file."""
    corpus_path.write_text(
        label("mode: x\nseverity: 99\nthresholds: {review: 3, revew: 1}\nhalf_lief: 1s\n")
    )
    with pytest.raises(PolicyInvalid) as refused:
        load_policy(corpus_path)
    places = [line.split(":")[1] for line in str(refused.value).splitlines()]
    assert places == ["6", "7", "8", "8", "9"]


def test_a_wrong_value_is_not_told_twice(corpus_path: Path) -> None:
    """A key that must be there and is wrong is wrong, and not lacking as well."""
    corpus_path.write_text(HEAD.replace('"1"', "1") + "labels: {}\n")
    with pytest.raises(PolicyInvalid) as refused:
        load_policy(corpus_path)
    assert str(refused.value) == f"{corpus_path}:1:17: policy.version: expected str, got int"


def test_a_file_of_phrases_is_named_with_its_line(tmp_path: Path) -> None:
    """A fault inside a list's own file names that file's line too."""
    (tmp_path / "list.txt").write_text("# heading\nfine\n\n!!!\n")
    path = tmp_path / "policy.yaml"
    path.write_text(LISTS + "  a: {label: hate, file: list.txt}\n")
    with pytest.raises(PolicyInvalid, match=r":6:20: blocklists.a.file: list.txt:4: has no letter"):
        load_policy(path)


def test_a_folder_is_no_policy(tmp_path: Path) -> None:
    """A path that cannot be read is refused by its name."""
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path)


def test_countries_and_modes_that_yaml_reads_as_booleans(tmp_path: Path) -> None:
    """`NO` is Norway and `off` a mode, whatever YAML 1.1 takes them for."""
    path = tmp_path / "policy.yaml"
    path.write_text(HEAD + "labels: {hate: {mode: off}}\nregions: {NO: {}}\n")
    policy = load_policy(path)
    assert list(policy.layers["region"]) == ["NO"]
    assert policy.base.labels["hate"]["mode"].value == "off"
