from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy import Policy, effective
from livewarden_ensemble.policy.built_in import GENERAL, LABEL
from livewarden_ensemble.policy.layer import LAYER_KINDS, MAX_CACHED

Make = Callable[..., Any]
SECTIONS = ("regions", "surfaces", "audiences", "rooms")
NAMES = ("DE", "kids", "minors", "r1")
ENTER = "labels.hate.thresholds.review.enter"


def layer(value: Any, *, label: str | None = "hate") -> dict[str, Any]:
    body = {"thresholds": {"review": value}}
    return {"defaults": body} if label is None else {"labels": {label: body}}


@pytest.mark.parametrize("last", range(5))
def test_the_last_layer_that_names_a_value_wins(last: int, make_policy: Make) -> None:
    """Global, region, surface, audience, room: in that order, and each names its source."""
    change = {
        section: {name: layer(0.1 + index / 100)}
        for index, (section, name) in enumerate(zip(SECTIONS, NAMES, strict=True))
        if index < last
    }
    setting = effective(make_policy(change), *NAMES).settings[ENTER]
    assert setting.value == (0.5 if last == 0 else 0.1 + (last - 1) / 100)
    assert (
        setting.layer
        == (["base"] + [f"{k}:{n}" for k, n in zip(LAYER_KINDS, NAMES, strict=True)])[last]
    )
    assert setting.line > 0


def test_a_label_goes_before_its_parent_before_the_defaults(make_policy: Make) -> None:
    """Within one layer the nearer word wins; across layers the later layer does."""
    change: dict[str, Any] = {
        "labels": {
            "hate": {"parent": "violence", "cooldown": "1s"},
            "violence": {"severity": 4, "cooldown": "2s"},
        },
        "surfaces": {
            "kids": {"defaults": {"severity": 2}, "labels": {"violence": {"severity": 3}}}
        },
    }
    policy = make_policy(change)
    values = {name: effective(policy, "", name).settings for name in ("", "kids")}
    assert values[""]["labels.hate.severity"].value == 4
    assert values[""]["labels.hate.cooldown"].value == "1s"
    assert values[""]["labels.violence.cooldown"].value == "2s"
    assert values["kids"]["labels.hate.severity"].value == 3
    assert values["kids"]["labels.weapons.severity"].value == 2
    assert values[""]["labels.weapons.severity"].layer == "built-in"


@pytest.mark.parametrize(
    ("reset", "value", "source"),
    [
        ({"labels": {"hate": {"severity": None}}}, 1, "base"),
        ({"labels": {"hate": None}}, 1, "base"),
        ({"defaults": {"severity": None}}, 0, "region:DE"),
        ({"defaults": {"severity": None}, "labels": {"hate": {"severity": 5}}}, 5, "region:DE"),
        ({"labels": {"hate": {"description": None}}}, 6, "base"),
    ],
)
def test_null_resets(reset: Any, value: int, source: str, make_policy: Make) -> None:
    """A null takes a label's value back to the defaults, and a default back to the built-in."""
    change = {
        "defaults": {"severity": 1},
        "labels": {"hate": {"severity": 6}},
        "regions": {"DE": reset},
    }
    setting = effective(make_policy(change), "DE").settings["labels.hate.severity"]
    assert (setting.value, setting.layer) == (value, source)


def test_null_resets_a_whole_group(make_policy: Make) -> None:
    """The reset of a group resets all that is in it, and nothing beside it."""
    change = {
        "labels": {"hate": {"confirm": {"hits": 2, "of": 4}, "cooldown": "5s"}},
        "regions": {"DE": {"labels": {"hate": {"confirm": None}}}},
    }
    policy = make_policy(change)
    assert effective(policy).by_label["hate"].confirm is not None
    assert effective(policy, "DE").by_label["hate"].confirm is None
    assert effective(policy, "DE").by_label["hate"].cooldown_ms == 5_000


def test_null_resets_what_belongs_to_no_label(make_policy: Make) -> None:
    """Fail-safe, review, state and lists are reset to the built-in."""
    change = {
        "fail_safe": {"nothing_scored": "block"},
        "state": {"ttl": "2h"},
        "blocklists": {"a": {"label": "hate", "phrases": ["x"], "mode": "hard"}},
        "rooms": {
            "r": {
                "fail_safe": {"nothing_scored": None},
                "state": None,
                "blocklists": {"a": {"mode": None}},
            }
        },
    }
    policy = make_policy(change)
    base, room = effective(policy), effective(policy, room="r")
    assert (base.fail_safe.nothing_scored, room.fail_safe.nothing_scored) == ("block", "review")
    assert (base.state_ttl_ms, room.state_ttl_ms) == (7_200_000, 3_600_000)
    assert (base.lists["a"].action, room.lists["a"].action) == ("block", "review")


def test_one_number_is_the_whole_threshold(make_policy: Make) -> None:
    """A layer that gives one number moves the exit too, so no exit is left over its enter."""
    change = {
        "labels": {"hate": {"thresholds": {"review": {"enter": 0.6, "exit": 0.55}}}},
        "regions": {"DE": layer(0.3)},
    }
    policy = make_policy(change)
    assert effective(policy).by_label["hate"].exit.review == 0.55
    assert effective(policy, "DE").by_label["hate"].exit.review == 0.3


@pytest.mark.parametrize(
    ("region", "surface", "merged"),
    [
        ({"review": 0.65}, {"restrict": 0.55, "block": 0.6}, (0.55, 0.55, 0.6)),
        ({"restrict": 0.85}, {"block": 0.75}, (0.5, 0.75, 0.75)),
        ({"review": 0.65, "restrict": 0.85}, {"restrict": 0.5, "block": 0.6}, (0.5, 0.5, 0.6)),
    ],
)
def test_layers_that_disagree_together_are_put_right_on_the_strict_side(
    region: Any, surface: Any, merged: tuple[float, ...], make_policy: Make
) -> None:
    """Each layer alone is in order; together the stricter threshold wins."""
    change = {
        "regions": {"DE": {"labels": {"hate": {"thresholds": region}}}},
        "surfaces": {"kids": {"labels": {"hate": {"thresholds": surface}}}},
    }
    both = effective(make_policy(change), "DE", "kids").by_label["hate"].enter
    assert (both.review, both.restrict, both.block) == merged


def test_names_without_a_layer_share_one_merge(make_policy: Make) -> None:
    """A million rooms without a layer need no room in the cache."""
    policy = make_policy({"regions": {"DE": {}}})
    found = {id(effective(policy, "DE", "web", "all", f"room{n}")) for n in range(50)}
    assert len(found) == 1


def test_the_cache_is_bounded(make_policy: Make) -> None:
    """Places that are asked for are kept up to a bound, and the oldest makes room."""
    policy = make_policy({"rooms": {f"r{n}": None for n in range(MAX_CACHED + 5)}})
    first = effective(policy, room="r0")
    for n in range(MAX_CACHED + 5):
        effective(policy, room=f"r{n}")
    assert len(policy._cache) == MAX_CACHED
    assert effective(policy, room="r0") is not first


def test_aliases_stand_for_their_label(make_policy: Make) -> None:
    """An alias may be written wherever a label is named."""
    change = {
        "labels": {"hate": {"aliases": ["hate_speech"]}, "violence": {"parent": "hate_speech"}},
        "regions": {"DE": {"labels": {"hate_speech": {"severity": 3}}}},
        "blocklists": {"a": {"label": "hate_speech", "phrases": ["x"]}},
    }
    policy = make_policy(change)
    assert policy.aliases == {"hate_speech": "hate"}
    assert policy.parents == {"violence": "hate"}
    assert policy.list_owners == {"a": "hate"}
    setting = effective(policy, "DE").settings["labels.hate.severity"]
    assert (setting.value, setting.layer) == (3, "region:DE")
    assert setting.line > 1


# --- An override changes only what it names -------------------------------------------------------

# A value for leaves of a label's rule and of the rest that differs from what they are without it.
LEAVES: dict[tuple[str, ...], Any] = {
    ("labels", "hate", "severity"): 7,
    ("labels", "hate", "mode"): "shadow",
    ("labels", "hate", "thresholds", "review", "enter"): 0.45,
    ("labels", "hate", "thresholds", "block", "exit"): 0.75,
    ("labels", "hate", "hysteresis"): 0.05,
    ("labels", "hate", "confirm", "hits"): 2,
    ("labels", "hate", "repeat", "action"): "block",
    ("labels", "hate", "cooldown"): "9s",
    ("labels", "hate", "escalation", "counts"): "block",
    ("labels", "hate", "single_shot_block"): 0.99,
    ("labels", "hate", "visibility"): ["mute"],
    ("labels", "hate", "requires", "all"): ["asr"],
    ("labels", "hate", "fail_safe", "on_timeout"): "block",
    ("fail_safe", "frames", "on_corrupt"): "block",
    ("fail_safe", "required"): ["chat"],
    ("fail_safe", "default"): "restrict",
    ("review", "random"): 0.5,
    ("review", "near_threshold", "band"): 0.1,
    ("state", "ttl"): "5m",
    ("blocklists", "a", "mode"): "hard",
    ("hash_banks", "b", "min_quality"): 99,
}


@given(
    chosen=st.sets(st.sampled_from(sorted(LEAVES)), min_size=1, max_size=4),
    kind=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_an_override_changes_only_what_it_names(
    chosen: set[tuple[str, ...]], kind: int, make_policy: Make
) -> None:
    """Every value but those that the layer names is the same with and without it."""
    body: dict[str, Any] = {}
    for path in chosen:
        at = body
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = LEAVES[path]
    change = {
        "blocklists": {"a": {"label": "hate", "phrases": ["x"]}},
        "hash_banks": {"b": {"label": "hate", "hashes": ["0" * 63 + "f"]}},
        SECTIONS[kind]: {NAMES[kind]: body},
    }
    policy = make_policy(change)
    before, after = effective(policy), effective(policy, *NAMES)
    changed = {leaf for leaf, setting in after.settings.items() if setting != before.settings[leaf]}
    assert changed == {".".join(path) for path in chosen}
    # In the rules themselves, other labels are untouched.
    untouched = [
        (one, other)
        for one, other in zip(before.labels, after.labels, strict=True)
        if one.id != "hate"
    ]
    assert all(one == other for one, other in untouched)


def test_every_value_has_its_source(policy: Policy) -> None:
    """The effective policy lists every leaf there is, each with the layer that it comes from."""
    settings_ = effective(policy, surface="kids").settings
    expected = {f"labels.{label}.{leaf}" for label in LABELS for leaf in LABEL} | set(GENERAL)
    assert set(settings_) == expected
    assert {s.layer for s in settings_.values()} == {"built-in", "base", "surface:kids"}
    assert all((s.line > 0) == (s.layer != "built-in") for s in settings_.values())
