import dataclasses
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from livewarden_client import wire
from livewarden_export import tensorrt as module
from livewarden_export.autocast import write_precision
from livewarden_export.errors import ExportCancelled, PlanFailed
from livewarden_export.model_file import load_models
from livewarden_export.recipe import FactorySource, Range, Recipe, Target
from livewarden_export.tensorrt import (
    PlanExecutor,
    build_plan,
    import_tensorrt,
    list_names,
    list_shapes,
)

ROOT = Path(__file__).parents[2]
MODELS = load_models(ROOT / "models.yaml")
# Where the bindings' wheel is kept between runs; never committed.
CACHE = ROOT / ".cache" / "tensorrt-bindings"

RECIPE = Recipe(
    wire.Model(
        "tiny",
        "leaf",
        max_batch=8,
        inputs=(wire.Tensor("input_ids", "INT32", (-1,)), wire.NONCE),
        outputs=(wire.Tensor("total", "FP32", (1,)), wire.ECHO),
    ),
    source=FactorySource("nowhere:none"),
    profile={"batch": Range(1, 2, 8), "tokens": Range(2, 32, 128)},
    openvino=Target("f32"),
    tensorrt=Target("f32"),
    tolerances={},
    axes={"input_ids": "tokens"},
)


@pytest.fixture(scope="module")
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="pip install 'livewarden[tensorrt-check]'")


def _write_tiny(path, operator="ReduceSum", *, cast=True, output="total"):
    """Ids -> f32 -> their sum; nonce -> echo."""
    nodes = [helper.make_node("Cast", ["input_ids"], ["values"], to=TensorProto.FLOAT)]
    if not cast:
        nodes = [helper.make_node("Identity", ["input_ids"], ["values"])]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    arguments = ["values", "axes"] if operator == "ReduceSum" else ["values"]
    domain = "" if operator == "ReduceSum" else "nowhere"
    nodes += [
        helper.make_node(operator, arguments, [output], name="the_sum", domain=domain),
        helper.make_node("Identity", ["nonce"], ["echo"]),
    ]
    kind = TensorProto.FLOAT if cast else TensorProto.INT32
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "tokens"]),
            helper.make_tensor_value_info("nonce", TensorProto.INT64, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info(output, kind, ["batch", 1]),
            helper.make_tensor_value_info("echo", TensorProto.INT64, ["batch", 1]),
        ],
        [axes],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def _build(trt, path, recipe=RECIPE, progress=lambda _phase, _done: None):
    return build_plan(trt, path, recipe, progress)


def test_profile_covers_every_input():
    """Each input gets smallest, usual and largest shape out of the recipe's ranges."""
    assert list_shapes(RECIPE) == {
        "input_ids": ((1, 2), (2, 32), (8, 128)),
        "nonce": ((1, 1), (2, 1), (8, 1)),
    }
    fusion = list_shapes(MODELS.find("fusion_classifier"))
    assert fusion["vision_logits"] == ((1, 1, 1000), (2, 8, 1000), (8, 64, 1000))


def test_graph_builds_and_reports_progress(trt, tmp_path):
    """A plan comes out, and the phases of the build were heard, from 0 to 1."""
    heard = []
    plan = _build(trt, _write_tiny(tmp_path / "m.onnx"), RECIPE, lambda *step: heard.append(step))
    assert len(plan.content) > 1000
    assert plan.layers > 0
    assert heard
    assert all(0 < done <= 1 for _, done in heard)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "NoSuchOperator"}, r"the_sum.*NoSuchOperator"),
        ({"cast": False}, r"output 'total' is DataType\.INT32"),
        ({"output": "sum"}, r"outputs \['echo', 'sum'\]"),
    ],
)
def test_refused_graphs_name_the_node_or_tensor(trt, tmp_path, arguments, message):
    """An unknown operator, another type and another name are each told by name."""
    with pytest.raises(PlanFailed, match=message):
        _build(trt, _write_tiny(tmp_path / "m.onnx", **arguments))


def test_bytes_that_are_no_graph_are_refused(trt, tmp_path):
    """The parser would take them for an empty graph."""
    (tmp_path / "m.onnx").write_bytes(b"xxxx")
    with pytest.raises((PlanFailed, Exception), match=r"(?i)tiny|parse|protobuf|decode"):
        _build(trt, tmp_path / "m.onnx")


def test_impossible_profile_is_refused(trt, tmp_path):
    """A profile whose least exceeds its most builds nothing, and the error says so."""
    profile = {"batch": Range(1, 2, 8), "tokens": Range(64, 32, 16)}
    with pytest.raises(PlanFailed, match="tiny"):
        _build(
            trt,
            _write_tiny(tmp_path / "m.onnx"),
            dataclasses.replace(RECIPE, profile=profile),
        )


def test_a_failed_build_is_an_error(trt, tmp_path, monkeypatch):
    """TensorRT answers None instead of raising: never a plan of nothing."""
    monkeypatch.setattr(module, "_build", lambda _build, _cancelled: None)
    with pytest.raises(PlanFailed, match="built nothing"):
        _build(trt, _write_tiny(tmp_path / "m.onnx"))


def test_ctrl_c_stops_a_build(trt, tmp_path):
    """Ctrl-C in the middle of a build ends it with nothing kept."""
    sent = threading.Event()

    def interrupt(_phase, _done):
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ExportCancelled):
        _build(trt, _write_tiny(tmp_path / "m.onnx"), RECIPE, interrupt)


@pytest.mark.parametrize("precision", ["f16", "bf16", "int8"])
def test_every_precision_is_taken(trt, tmp_path, exported, precision):
    """The vision encoder builds in each precision baked into its graph, and gets smaller."""
    recipe = MODELS.find("vision_encoder")
    source = exported.folder / "leaves/vision_encoder/model.onnx"
    frame = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), np.uint8)
    inputs = {"frame": frame, "nonce": np.ones((2, 1), np.int64)}
    write_precision(source, tmp_path / "m.onnx", precision, [inputs])
    plan = _build(trt, tmp_path / "m.onnx", recipe)
    assert len(plan.content) < 0.75 * source.stat().st_size


def test_uint8_goes_into_a_cast_only(trt, tmp_path, exported):
    """The rule that made the exporter cast before it transposes: TensorRT refuses the other way."""
    source = exported.folder / "leaves/vision_encoder/model.onnx"
    model = onnx.load(source)
    first = [node for node in model.graph.node if "frame" in node.input]
    assert [node.op_type for node in first] == ["Cast"]
    flip = helper.make_node("Transpose", ["frame"], ["turned"], name="early", perm=[0, 2, 1, 3])
    first[0].input[0] = "turned"
    model.graph.node.insert(0, flip)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(PlanFailed, match="early"):
        _build(trt, tmp_path / "m.onnx", MODELS.find("vision_encoder"))


def test_plan_needs_a_gpu(trt):
    """Without a GPU a plan cannot count as proven, and the error points to what to do."""
    import torch  # noqa: PLC0415 - only here

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(PlanFailed, match=r"docs/gpu\.md"):
        PlanExecutor(trt, b"", RECIPE)


def test_missing_bindings_say_how_to_get_them(monkeypatch):
    """An import that fails names the package and the extra."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(PlanFailed, match=r"livewarden\[tensorrt-check\]"):
        import_tensorrt("tensorrt_rtx")


SYMBOLS = {
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getPluginRegistry",
        "getBuilderPluginRegistry",
    ),
    "libnvonnxparser.so.11": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
}


@pytest.fixture(scope="module")
def bindings(tmp_path_factory):
    """Folders of the real TensorRT 11 bindings, and of stubs for the libraries that PyPI lacks."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("*.whl")):
        wanted = ["--no-deps", "--only-binary", ":all:", "tensorrt-cu13-bindings>=11,<12"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "-d", str(CACHE), *wanted]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the package registry gives no bindings: {done.stderr[-200:]}")
    folder = tmp_path_factory.mktemp("bindings")
    (wheel,) = CACHE.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    stubs = tmp_path_factory.mktemp("stubs")
    for library, symbols in SYMBOLS.items():
        source = stubs / "stub.c"
        source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in symbols))
        arguments = ["-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(stubs / library)]
        try:
            subprocess.run(["gcc", *arguments, str(source)], check=True)
        except FileNotFoundError:
            pytest.skip("no gcc to make stub libraries with")
    return folder, stubs


ASK = """
import json, sys
import tensorrt_bindings as trt
missing = []
for holder, names in json.loads(sys.argv[1]).items():
    owner = getattr(trt, holder, None) if holder else trt
    missing += [f"{holder}.{name}" for name in names if not hasattr(owner, name)]
print(trt.__version__, *missing)
"""

# What the module calls on objects, which `list_names` cannot see in a table of the module.
METHODS = {
    "Builder": ("create_network", "create_builder_config", "create_optimization_profile"),
    "IBuilderConfig": (
        *("set_memory_pool_limit", "clear_flag", "add_optimization_profile", "progress_monitor"),
        *("create_timing_cache", "set_timing_cache", "get_timing_cache", "profiling_verbosity"),
    ),
    "INetworkDefinition": ("num_inputs", "get_input", "num_outputs", "get_output", "num_layers"),
    "IOptimizationProfile": ("set_shape",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "ITimingCache": ("serialize",),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "ParserError": ("desc", "node", "node_name", "node_operator"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": ("create_execution_context", "create_engine_inspector", "get_tensor_dtype"),
    "EngineInspector": ("get_engine_information",),
    "IExecutionContext": (
        *("set_optimization_profile_async", "set_input_shape", "infer_shapes"),
        *("get_tensor_shape", "set_tensor_address", "execute_async_v3"),
    ),
}


def test_every_name_exists_in_the_real_bindings(bindings):
    """All that the builder and the executor use of TensorRT is in the real 11.x bindings."""
    import json  # noqa: PLC0415 - only here

    folder, stubs = bindings
    names = {}
    for holder, used in (*list_names(), *METHODS.items()):
        names.setdefault(holder, []).extend(used)
    environment = {**os.environ, "PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(stubs)}
    told = {}
    for key, asked in (("real", names), ("absent", {"BuilderFlag": ["FP16"]})):
        command = [sys.executable, "-c", ASK, json.dumps(asked)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        told[key] = done.stdout.split()
    assert told["real"][0].startswith("11.")
    assert told["real"][1:] == []
    assert told["absent"][1:] == ["BuilderFlag.FP16"]  # the check can fail


def test_methods_are_those_that_the_module_calls():
    """The table above names nothing that the module does not use."""
    text = Path(module.__file__).read_text()
    unused = [name for used in METHODS.values() for name in used if name not in text]
    assert unused == []
