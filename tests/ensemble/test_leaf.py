import numpy as np
import openvino as ov
import openvino.opset13 as op
import pytest

from livewarden_client.wire import ECHO, NONCE, TOKEN_LENGTHS, Model, Tensor
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.leaf import IR_FILE, PROVEN, OpenVinoExecutor, supports_bf16

SIDE = 4
FRAMES = Model(
    "frames",
    "leaf",
    max_batch=64,
    inputs=(Tensor("frame", "UINT8", (SIDE, SIDE, 3)), NONCE),
    outputs=(Tensor("brightness", "FP32", (3,)), ECHO),
)
TOKENS = Model(
    "tokens",
    "leaf",
    max_batch=64,
    inputs=(Tensor("input_ids", "INT32", (-1,)), NONCE),
    outputs=(Tensor("total", "FP32", (1,)), ECHO),
)
WEIGHT = np.array([[0.25, 1.0, 0.0], [0.5, -1.0, 0.125], [0.0, 2.0, 1.0]], np.float32)


def _name(node, name):
    node.output(0).get_tensor().set_names({name})
    return node


def _save(folder, outputs, inputs, proven=None):
    words = _name(op.parameter([-1, 2], np.int32), "nonce")
    echo = _name(op.result(words), "echo")
    echo.output(0).get_tensor().set_names({"nonce", "echo"})
    model = ov.Model([*outputs, echo], [*inputs, words], "test")
    if proven is not None:
        model.set_rt_info(proven, list(PROVEN))
    ov.save_model(model, folder / IR_FILE, compress_to_fp16=False)


@pytest.fixture
def frames_folder(tmp_path):
    """A leaf that weighs the mean brightness of each channel, proven in bf16."""
    return _make_frames(tmp_path / "frames", "bf16")


def _make_frames(folder, proven):
    folder.mkdir(exist_ok=True)
    frame = _name(op.parameter([-1, SIDE, SIDE, 3], np.uint8), "frame")
    mean = op.reduce_mean(op.convert(frame, "f32"), np.array([1, 2]), keep_dims=False)
    weighed = op.matmul(mean, op.constant(WEIGHT), transpose_a=False, transpose_b=False)
    _save(folder, [op.result(_name(weighed, "brightness"))], [frame], proven)
    return folder


@pytest.fixture
def tokens_folder(tmp_path):
    """A leaf that adds up ids over a varying length."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    ids = _name(op.parameter([-1, -1], np.int32), "input_ids")
    total = op.reduce_sum(op.convert(ids, "f32"), np.array([1]), keep_dims=True)
    _save(folder, [op.result(_name(total, "total"))], [ids])
    return folder


def _draw(rows, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "frame": generator.integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8),
        "nonce": generator.integers(-(2**63), 2**63 - 1, (rows, 1), np.int64),
    }


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 21])
def test_every_batch_matches_numpy(frames_folder, rows, threads):
    """Rests, full slices and both together give each row its own answer, in order."""
    inputs = _draw(rows)
    outputs = OpenVinoExecutor(frames_folder, FRAMES, "f32", threads).infer(inputs)
    expected = inputs["frame"].mean(axis=(1, 2)) @ WEIGHT
    np.testing.assert_allclose(outputs["brightness"], expected, rtol=1e-5)
    assert outputs["brightness"].dtype == np.float32
    np.testing.assert_array_equal(outputs["echo"], inputs["nonce"])
    assert outputs["echo"].dtype == np.int64


def test_nonce_keeps_all_its_bits(frames_folder):
    """The echo is exact over the whole of INT64, also in bf16's company."""
    executor = OpenVinoExecutor(frames_folder, FRAMES)
    inputs = _draw(5)
    inputs["nonce"][:, 0] = [-(2**63), -1, 0, 2**32 + 1, 2**63 - 1]
    np.testing.assert_array_equal(executor.infer(inputs)["echo"], inputs["nonce"])


@pytest.mark.parametrize("rows", [3, 8, 16])
def test_outputs_survive_the_next_call(frames_folder, rows):
    """What was returned does not change under the caller's hands."""
    executor = OpenVinoExecutor(frames_folder, FRAMES, "f32")
    first = executor.infer(_draw(rows))
    kept = {name: array.copy() for name, array in first.items()}
    executor.infer(_draw(rows, seed=1))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


def test_inputs_may_be_views(frames_folder):
    """Inputs that are not contiguous are read as what they show."""
    executor = OpenVinoExecutor(frames_folder, FRAMES, "f32")
    inputs = _draw(6)
    strided = {name: array[::2] for name, array in inputs.items()}
    expected = inputs["frame"][::2].mean(axis=(1, 2)) @ WEIGHT
    np.testing.assert_allclose(executor.infer(strided)["brightness"], expected, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 16, 37])
def test_varying_axis_is_free(tokens_folder, length):
    """A model with a varying axis takes any length, and threads share its rows."""
    executor = OpenVinoExecutor(tokens_folder, TOKENS, threads=2)
    ids = np.arange(11 * length, dtype=np.int32).reshape(11, length)
    nonce = np.arange(11)[:, None]
    outputs = executor.infer({"input_ids": ids, "nonce": nonce})
    np.testing.assert_allclose(outputs["total"][:, 0], ids.sum(axis=1))


@pytest.mark.parametrize("threads", [1, 2])
def test_warm_up_covers_the_shapes_in_use(frames_folder, tokens_folder, monkeypatch, threads):
    """Warm-up gives each thread a full slice, then a rest, and every token length."""
    seen = []
    for folder, model in ((frames_folder, FRAMES), (tokens_folder, TOKENS)):
        executor = OpenVinoExecutor(folder, model, threads=threads)
        infer = executor.infer

        def record(inputs, infer=infer):
            seen.append(next(iter(inputs.values())).shape[:2])
            return infer(inputs)

        monkeypatch.setattr(executor, "infer", record)
        executor.warm_up()
    rows = 4 * threads
    assert seen == [(rows + 1, SIDE), *((rows, length) for length in TOKEN_LENGTHS)]


def test_precision_is_what_was_proven(frames_folder, tokens_folder):
    """On "auto", bf16 serves only where export proved it and the CPU has it; f32 on demand."""
    best = "bf16" if supports_bf16() else "f32"
    assert OpenVinoExecutor(frames_folder, FRAMES).precision == best
    assert OpenVinoExecutor(frames_folder, FRAMES, "f32").precision == "f32"
    assert OpenVinoExecutor(tokens_folder, TOKENS).precision == "f32"
    assert OpenVinoExecutor(_make_frames(frames_folder, "f32"), FRAMES).precision == "f32"


def test_precision_is_pinned(frames_folder):
    """The compiled model really runs at the precision that is reported."""
    executor = OpenVinoExecutor(frames_folder, FRAMES, "f32")
    for queue in (executor._any, executor._slice):
        hint = queue[0].get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        assert hint == ov.Type.f32


def test_bf16_is_refused_where_the_cpu_lacks_it(frames_folder, monkeypatch):
    """Asking for what the CPU cannot compute is an error, not a silent f32."""
    monkeypatch.setattr("livewarden_ensemble.leaf.supports_bf16", lambda: False)
    assert OpenVinoExecutor(frames_folder, FRAMES).precision == "f32"
    with pytest.raises(ValueError, match="bf16"):
        OpenVinoExecutor(frames_folder, FRAMES, "bf16")


def test_missing_artefact_is_named(tmp_path):
    """A leaf that was never exported says which file is missing and what to run."""
    with pytest.raises(BundleInvalid, match=r"model\.xml.*livewarden export"):
        OpenVinoExecutor(tmp_path, FRAMES)


def test_broken_artefact_is_named(frames_folder):
    """An IR that cannot be read is a BundleInvalid, not a bare RuntimeError."""
    (frames_folder / IR_FILE).write_text("<net")
    with pytest.raises(BundleInvalid, match=r"model\.xml"):
        OpenVinoExecutor(frames_folder, FRAMES)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"inputs": (Tensor("frame", "UINT8", (5, SIDE, 3)), NONCE)}, "'frame'"),
        ({"inputs": (Tensor("frame", "INT32", (SIDE, SIDE, 3)), NONCE)}, "'frame'"),
        ({"inputs": (*FRAMES.inputs, Tensor("mask", "INT32", (1,)))}, "'mask'.*absent"),
        ({"outputs": (Tensor("brightness", "FP32", (4,)), ECHO)}, "'brightness'"),
        ({"outputs": (ECHO,)}, "2 outputs.*echo"),
    ],
)
def test_artefact_of_another_contract_is_refused(frames_folder, tensors, named):
    """A tensor that differs from the wire in size, type or presence is named at load."""
    parts = {"inputs": FRAMES.inputs, "outputs": FRAMES.outputs, **tensors}
    with pytest.raises(BundleInvalid, match=named):
        OpenVinoExecutor(frames_folder, Model("frames", "leaf", 64, **parts))


def test_missing_input_is_a_key_error(frames_folder):
    """An input left out is named."""
    with pytest.raises(KeyError, match="nonce"):
        OpenVinoExecutor(frames_folder, FRAMES).infer({"frame": _draw(1)["frame"]})


def test_compiled_models_are_cached(frames_folder, tmp_path):
    """With a cache folder, what was compiled is kept for the next start."""
    cache = tmp_path / "cache"
    OpenVinoExecutor(frames_folder, FRAMES, cache=cache)
    assert list(cache.iterdir())
