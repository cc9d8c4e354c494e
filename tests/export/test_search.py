import dataclasses
from types import SimpleNamespace

import pytest

from livewarden_export import search as module
from livewarden_export.decision import Decisions, Shift
from livewarden_export.errors import ExportFailed
from livewarden_export.parity import Parity
from livewarden_export.search import (
    Trial,
    find_loosest,
    format_trials,
    list_precisions,
    measure_latency,
    search_precisions,
)


def _trial(leaf="a", precision="f32", latency=10.0, shift=0.0, **given):
    usual = Trial(
        leaf,
        precision,
        8,
        latency,
        1.0,
        1.0,
        0.0,
        parity=True,
        flips=0,
        largest_shift=shift,
        least_slack=0.1,
        fits=True,
    )
    return dataclasses.replace(usual, **given)


def test_loosest_is_the_first_choice_that_moves_most_and_can_step_back():
    """A leaf with nothing left to step back to is not asked to."""
    ranked = {
        "a": [_trial(shift=0.2), _trial(shift=0.0)],
        "b": [_trial(shift=0.1), _trial(shift=0.0)],
        "c": [_trial(shift=0.9)],
    }
    assert find_loosest(ranked) == "a"
    assert find_loosest({"c": ranked["c"]}) is None


def test_precisions_are_f32_first_and_what_the_cpu_has(models):
    """Without bf16 it is not tried; int8 is, and nothing is tried twice."""
    work = SimpleNamespace(recipe=models.find("vision_encoder"))
    assert list_precisions(work, SimpleNamespace(bf16=True)) == ["f32", "bf16", "int8"]
    assert list_precisions(work, SimpleNamespace(bf16=False)) == ["f32", "int8"]


def test_table_marks_what_was_chosen():
    """The printed table has a line per trial, its breach and a star."""
    table = format_trials([_trial(parity=False), _trial(precision="int8")], {"a": "int8"})
    _, first, second = table.splitlines()
    assert "BREACH" in first
    assert second.endswith("*")


def test_latency_is_a_median_after_warm_up():
    """Every round asks the artefact; the first ones do not count."""
    calls = []
    case = SimpleNamespace(inputs={})
    assert measure_latency(lambda _inputs: calls.append(1), case) >= 0
    assert len(calls) > 3


# precision -> (latency, parity passes, flips alone)
WORLD = {"f32": (9.0, True, 0), "bf16": (5.0, True, 0), "int8": (1.0, True, 0)}


def _search(monkeypatch, models, worlds, together=lambda _chosen: 0):
    """Run the search over two leaves that exist in numbers only."""
    recipes = (models.find("vision_encoder"), models.find("nsfw_encoder"))
    works = [
        SimpleNamespace(
            name=recipe.model.name,
            recipe=recipe,
            source=SimpleNamespace(reference=lambda _inputs: {}),
            cases=[SimpleNamespace(inputs={"x": [0]})],
        )
        for recipe in recipes
    ]
    made = {}

    def prove(work, precision, _folder, *, alone):
        assert alone
        _, passed, _ = worlds[work.name][precision]
        row = Parity(work.name, "openvino", precision, "x", 1, 1.0, 1.0, 0.0, 0.0, passed=passed)

        def infer(_inputs):
            return {}

        made[id(infer)] = (work.name, precision, infer)
        return [row], infer

    def judge(leaves, _policy, _tokenizer):
        return {n: made[id(f)][1] for n, f in leaves.items() if id(f) in made}

    def compare(_before, after, _policy):
        if len(after) == 1:
            ((name, precision),) = after.items()
            flips = worlds[name][precision][2]
        else:
            flips = together(after)
        shift = 0.01 if "int8" in after.values() else 0.0
        moved = [Shift("c", "allow", "block", "hate", shift, 0.1)] * flips
        return Decisions((*moved, Shift("d", "allow", "allow", "hate", shift, 0.1)))

    def latency(infer, _case):
        name, precision, _ = made[id(infer)]
        return worlds[name][precision][0]

    monkeypatch.setattr(module, "prove_openvino", prove)
    monkeypatch.setattr(module, "judge_clips", judge)
    monkeypatch.setattr(module, "compare_judgements", compare)
    monkeypatch.setattr(module, "measure_latency", latency)
    monkeypatch.setattr(module, "_measure_size", lambda _folder: 1.0)
    stamp = SimpleNamespace(bf16=True)
    return search_precisions(models, works, [], None, stamp, lambda _step: None)


def test_fastest_that_fits_wins(monkeypatch, models):
    """int8 is fastest for both; where it breaches parity or flips a verdict, bf16 is chosen."""
    worlds = {"vision_encoder": WORLD, "nsfw_encoder": {**WORLD, "int8": (1.0, False, 0)}}
    found = _search(monkeypatch, models, worlds)
    assert found.chosen == {"vision_encoder": "int8", "nsfw_encoder": "bf16"}
    assert len(found.trials) == 6
    worlds = {"vision_encoder": {**WORLD, "int8": (1.0, True, 2)}, "nsfw_encoder": WORLD}
    assert _search(monkeypatch, models, worlds).chosen["vision_encoder"] == "bf16"


def test_choices_that_flip_only_together_step_back(monkeypatch, models):
    """Two int8 leaves that fit alone but not together end with one of them slower."""
    worlds = {"vision_encoder": WORLD, "nsfw_encoder": WORLD}

    def together(chosen):
        return int(list(chosen.values()).count("int8") > 1)

    found = _search(monkeypatch, models, worlds, together)
    assert sorted(found.chosen.values()) == ["bf16", "int8"]
    assert found.decisions.flips == 0


def test_nothing_that_fits_is_an_error(monkeypatch, models):
    """Where not even f32 fits, the search says so with its table."""
    broken = dict.fromkeys(WORLD, (1.0, False, 0))
    with pytest.raises(ExportFailed, match=r"vision_encoder: no precision fits[\s\S]*BREACH"):
        _search(monkeypatch, models, {"vision_encoder": broken, "nsfw_encoder": WORLD})
