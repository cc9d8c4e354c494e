import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from livewarden_export.autocast import cast_graph, find_wide, quantize_graph, write_precision

WIDTH = 8


def _make_model(mask=-1.0):
    """Two products with a Relu between, a softmax behind, an integer passed through."""
    generator = np.random.default_rng(0)
    constants = {
        "w1": generator.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "w2": generator.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "mask": np.full(WIDTH, mask, np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="between"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], name="second"),
        helper.make_node("Add", ["c", "mask"], ["d"], name="masked"),
        helper.make_node("Softmax", ["d"], ["y"], name="norm", axis=-1),
        helper.make_node("Identity", ["b"], ["inner"], name="out"),
        helper.make_node("Identity", ["nonce"], ["echo"], name="pass"),
    ]
    graph = helper.make_graph(
        nodes,
        "two products",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH]),
            helper.make_tensor_value_info("nonce", TensorProto.INT64, ["n", 1]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH]),
            helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["n", WIDTH]),
            helper.make_tensor_value_info("echo", TensorProto.INT64, ["n", 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _make_inputs(scale=1.0):
    generator = np.random.default_rng(1)
    x = generator.normal(scale=scale, size=(5, WIDTH)).astype(np.float32)
    return {"x": x, "nonce": np.arange(5)[:, None] + 2**40}


def _run(model, inputs):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _list_types(model):
    """The element type of every value in the graph, by name."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {item.name: item.data_type for item in graph.initializer}


def _computes_in(model, node_name):
    types = _list_types(model)
    node = next(node for node in model.graph.node if node.name == node_name)
    return types[node.output[0]]


def test_products_and_what_lies_between_go_low():
    """Products and a Relu between two of them compute in 16 bits; softmax and outputs in f32."""
    model = cast_graph(_make_model(), "f16")
    half, full = TensorProto.FLOAT16, TensorProto.FLOAT
    kinds = {n: _computes_in(model, n) for n in ("first", "between", "second", "norm")}
    assert kinds == {"first": half, "between": half, "second": half, "norm": full}
    assert [value.type.tensor_type.elem_type for value in model.graph.output] == [
        full,
        full,
        TensorProto.INT64,
    ]


def test_f16_answers_like_f32():
    """On ONNX Runtime the cast graph is within f16's rounding, and integers are untouched."""
    inputs = _make_inputs()
    wanted, given = _run(_make_model(), inputs), _run(cast_graph(_make_model(), "f16"), inputs)
    for name in ("y", "inner"):
        np.testing.assert_allclose(given[name], wanted[name], rtol=0.02, atol=0.01)
        assert given[name].dtype == np.float32
        assert (given[name] != wanted[name]).any()
    np.testing.assert_array_equal(given["echo"], wanted["echo"])


@pytest.mark.parametrize("keep", ["MatMul", "first"])
def test_kept_nodes_stay_f32(keep):
    """An operator or a node that is named stays f32."""
    model = cast_graph(_make_model(), "f16", frozenset({keep}))
    assert _computes_in(model, "first") == TensorProto.FLOAT
    assert _computes_in(model, "second") == (
        TensorProto.FLOAT if keep == "MatMul" else TensorProto.FLOAT16
    )


def test_constant_beyond_f16_stays_f32():
    """A mask of -1e9 would become minus infinity, and minus infinity less itself is no number."""
    model = cast_graph(_make_model(mask=-1e9), "f16")
    assert _computes_in(model, "masked") == TensorProto.FLOAT
    assert np.isfinite(_run(model, _make_inputs())["y"]).all()


def test_nodes_that_overflow_on_real_data_are_found(tmp_path):
    """Activations above half of f16's range keep their node in f32; small ones do not."""
    loud, quiet = [_make_inputs(scale=5e4)], [_make_inputs()]
    assert {"first", "between", "second"} <= find_wide(_make_model(), loud)
    assert find_wide(_make_model(), quiet) == frozenset()
    source, target = tmp_path / "f32.onnx", tmp_path / "f16.onnx"
    onnx.save(_make_model(), source)
    write_precision(source, target, "f16", loud)
    assert np.isfinite(_run(onnx.load(target), loud[0])["inner"]).all()


def test_bf16_is_valid_and_rounds_to_nearest(tmp_path):
    """The bf16 graph is valid ONNX of an opset that has it; constants round as the hardware."""
    source, target = tmp_path / "f32.onnx", tmp_path / "bf16.onnx"
    onnx.save(_make_model(), source)
    assert write_precision(source, target, "bf16", []) >= 22
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert _computes_in(model, "second") == TensorProto.BFLOAT16
    wanted = {i.name: numpy_helper.to_array(i) for i in _make_model().graph.initializer}
    (given,) = (i for i in model.graph.initializer if i.name == "w1__low")
    words = np.frombuffer(given.raw_data, np.uint16).astype(np.uint32) << 16
    values = words.view(np.float32).reshape(WIDTH, WIDTH)
    np.testing.assert_allclose(values, wanted["w1"], rtol=2**-8)
    assert abs(float((values - wanted["w1"]).mean())) < 1e-3


def test_int8_has_no_biased_pairs_and_answers_alike():
    """Q/DQ is symmetric, has no INT32 bias that TensorRT refuses, and stays near f32."""
    inputs = _make_inputs()
    model = quantize_graph(_make_model(), [inputs])
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("QuantizeLinear") >= 2
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            assert constants[node.input[2]].data_type == TensorProto.INT8
            assert not numpy_helper.to_array(constants[node.input[2]]).any()
    given, wanted = _run(model, inputs), _run(_make_model(), inputs)
    np.testing.assert_allclose(given["inner"], wanted["inner"], atol=0.2)
    assert (given["inner"] != wanted["inner"]).any()


def test_f32_is_left_alone(tmp_path):
    """f32 is the very same graph."""
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(_make_model(), source)
    assert write_precision(source, target, "f32", []) == 20
    assert target.read_bytes() == source.read_bytes()
