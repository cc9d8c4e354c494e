import functools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from livewarden_export.bundle import LEAVES_FOLDER, ONNX_FILE, OPENVINO_FOLDER
from livewarden_export.errors import ParityBreach
from livewarden_export.leaf_work import open_onnx, open_openvino
from livewarden_export.model_file import load_models
from livewarden_export.openvino import convert_onnx
from livewarden_export.parity import Artefact, check_parity, format_table, measure_parity
from livewarden_export.recipe import Range, Tolerance
from livewarden_export.sample import Case, frame_cases, text_cases
from livewarden_export.source import Sources, locate

MODELS = load_models(Path(__file__).parents[2] / "models.yaml")
RECIPE = MODELS.find("nsfw_encoder")
LOOSE = {"x": Tolerance(max_abs=0.1, p99_abs=0.05, min_cosine=0.99)}


@functools.cache
def _load_source():
    return Sources(MODELS).open("nsfw_encoder")


def _measure_folder(folder):
    """Parity of the artefacts in `folder` as ONNX and as OpenVINO f32, on real frames."""
    convert_onnx(folder / ONNX_FILE, RECIPE.model, folder / OPENVINO_FOLDER, "f32")
    cases = frame_cases(Range(1, 4, 4))
    references = [_load_source().reference(case.inputs) for case in cases]
    return [
        row
        for artefact in _open_both(folder)
        for row in measure_parity(
            "nsfw_encoder", artefact, cases, references, RECIPE.tolerances["f32"]
        )
    ]


def _open_both(folder):
    return [open_onnx(RECIPE, folder / ONNX_FILE), *open_openvino(RECIPE, folder, "f32")]


def _assert_breach(folder):
    rows = _measure_folder(folder)
    with pytest.raises(ParityBreach, match="nsfw_encoder/nsfw_features") as error:
        check_parity(rows)
    assert {row.runtime for row in rows if not row.passed} == {"onnx", "openvino"}
    assert "BREACH" in error.value.table


def test_faithful_export_passes(tmp_path):
    """The gate lets the real export through."""
    _load_source().write_onnx(tmp_path / ONNX_FILE)
    check_parity(_measure_folder(tmp_path))


def test_dropped_normalisation_is_caught(tmp_path):
    """An export without its mean subtraction does not pass."""
    _edit_constant(tmp_path, "channel_mean", lambda mean: mean * 0)
    _assert_breach(tmp_path)


def test_swapped_channels_are_caught(tmp_path):
    """An export that takes RGB for BGR does not pass."""
    _edit_constant(tmp_path, "channel_order", lambda order: order[::-1].copy())
    _assert_breach(tmp_path)


def test_broken_weight_is_caught(tmp_path):
    """One convolution whose first filter is lost is enough to fail."""

    def break_filter(weight):
        weight = weight.copy()
        weight[0] = 0
        return weight

    _edit_constant(tmp_path, "Conv__440_weights_fused_bn", break_filter)
    _assert_breach(tmp_path)


def _edit_constant(folder, name, change):
    _load_source().write_onnx(folder / ONNX_FILE)
    model = onnx.load(folder / ONNX_FILE)
    constant = next(item for item in model.graph.initializer if item.name == name)
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant)), name))
    onnx.save(model, folder / ONNX_FILE)


def test_ignored_mask_is_caught(exported):
    """A text encoder that attends to padding does not pass, in the serving precision either."""
    recipe = MODELS.find("text_encoder")
    reference = Sources(MODELS).open("text_encoder").reference
    cases = text_cases(locate(recipe.tokenizer), Range(1, 2, 4), Range(2, 32, 128))[5:7]
    answers = [reference(case.inputs) for case in cases]
    precision = exported.manifest["precision"]["text_encoder"]
    folder = exported.folder / LEAVES_FOLDER / "text_encoder"
    served = open_openvino(recipe, folder, precision)[-1]
    bounds = recipe.tolerances[precision]

    def ignore_mask(inputs):
        return served.infer({**inputs, "attention_mask": np.ones_like(inputs["attention_mask"])})

    check_parity(measure_parity("text_encoder", served, cases, answers, bounds))
    broken = Artefact(served.runtime, precision, ignore_mask)
    with pytest.raises(ParityBreach):
        check_parity(measure_parity("text_encoder", broken, cases, answers, bounds))


def _measure(answer, reference, tolerances=LOOSE):
    case = Case("one", {"x": reference})
    artefact = Artefact("fake", "f32", lambda _inputs: {"x": answer})
    return measure_parity("leaf", artefact, [case], [{"x": reference}], tolerances)[0]


def _ones(rows=4, width=5):
    return np.ones((rows, width), np.float32)


def test_figures_match_a_plain_loop():
    """Worst cosine, largest and p99 difference are what a loop over rows finds."""
    generator = np.random.default_rng(0)
    wanted = generator.normal(size=(3, 4, 6)).astype(np.float32)
    given = wanted + generator.normal(scale=0.02, size=wanted.shape).astype(np.float32)
    row = _measure(given, wanted)
    cosines, errors = [], []
    for a, b in zip(given.reshape(12, 6).tolist(), wanted.reshape(12, 6).tolist(), strict=True):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        cosines.append(dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)
        errors += [abs(x - y) for x, y in zip(a, b, strict=True)]
    assert row.rows == 12
    assert row.min_cosine == pytest.approx(min(cosines))
    assert row.max_abs == pytest.approx(max(errors))
    assert row.p99_abs == pytest.approx(np.quantile(errors, 0.99))
    assert row.passed


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_ones() * np.nan, id="nan"),
        pytest.param(np.where(np.eye(4, 5) > 0, np.inf, _ones()).astype(np.float32), id="inf"),
        pytest.param(_ones(rows=3), id="a row too few"),
        pytest.param(_ones().astype(np.float64), id="another type"),
        pytest.param(-_ones() * 0.01, id="another direction"),
        pytest.param(_ones() + 0.06, id="all a little off: p99"),
        pytest.param(_ones() + np.float32(0.2) * np.eye(4, 5, dtype=np.float32), id="max"),
    ],
)
def test_every_kind_of_difference_breaches(answer):
    """NaN, shape, type, direction, a general shift and a single spike each fail."""
    assert _measure(_ones() * 1.01, _ones()).passed
    assert not _measure(answer, _ones()).passed


def test_echo_must_match_to_the_last_bit():
    """Integers are compared exactly, beyond what float64 can hold."""
    nonce = np.array([[2**62 + 1]])
    assert _measure(nonce, nonce).passed
    assert not _measure(nonce - 1, nonce).passed


def test_output_without_a_bound_is_refused():
    """Nothing passes because nobody set a bound for it."""
    with pytest.raises(KeyError, match="x"):
        _measure(_ones(), _ones(), {})


def test_zero_rows_agree_only_with_zero_rows():
    """Padding of zeros counts as the same direction, zeros against numbers do not."""
    loose = {"x": Tolerance(max_abs=10, p99_abs=10, min_cosine=0.5)}
    assert _measure(_ones() * 0, _ones() * 0, loose).passed
    assert not _measure(_ones() * 0, _ones(), loose).passed


def test_table_names_what_broke():
    """The table has a line per output and marks the breach."""
    table = format_table([_measure(_ones(), _ones()), _measure(-_ones(), _ones())])
    head, good, bad = table.splitlines()
    assert head.split()[:3] == ["leaf", "output", "runtime"]
    assert good.endswith("ok")
    assert bad.endswith("BREACH")
