"""models.yaml into checked recipes; every error names the file and the key."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from livewarden_client import wire
from livewarden_export.errors import ModelsInvalid
from livewarden_export.recipe import (
    AXES,
    DecisionBudget,
    FactorySource,
    HuggingFaceSource,
    Models,
    ModelSource,
    OnnxOutput,
    OnnxSource,
    Package,
    Pixels,
    Precision,
    Range,
    Recipe,
    Target,
    Tolerance,
)

SCHEMA: Final = "livewarden.models/v1"
# Relative to where the command runs, as model_repository and bundles are.
MODELS_FILE: Final = Path("models.yaml")

_Size = Annotated[int, msgspec.Meta(ge=1)]
_Bound = Annotated[float, msgspec.Meta(ge=0)]
_EMBEDDED: Final = ("f32", "bf16", "int8")
_PLANS: Final = ("f32", "f16", "bf16", "int8")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Package(_Strict, frozen=True):
    package: str
    file: str = ""


class _Factory(_Strict, frozen=True, tag="factory", tag_field="kind"):
    call: Annotated[str, msgspec.Meta(pattern=r"^[\w.]+:\w+$")]
    packages: tuple[str, ...] = ()
    checkpoint: str | None = None


class _HuggingFace(_Strict, frozen=True, tag="hugging_face", tag_field="kind"):
    folder: str


class _Output(_Strict, frozen=True):
    tensor: str
    column: int | None = None


class _Onnx(_Strict, frozen=True, tag="onnx", tag_field="kind"):
    file: str | _Package
    input: str
    outputs: dict[str, _Output]


class _Pixels(_Strict, frozen=True):
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"


class _Target(_Strict, frozen=True):
    precision: Precision
    search: tuple[Precision, ...] = ()
    opset: Annotated[int, msgspec.Meta(ge=18, le=23)] | None = None
    keep: tuple[str, ...] = ()


class _Tolerance(_Strict, frozen=True):
    max_abs: _Bound
    p99_abs: _Bound
    min_cosine: Annotated[float, msgspec.Meta(ge=-1, le=1)] = -1.0


class _Model(_Strict, frozen=True):
    source: _Factory | _HuggingFace | _Onnx
    profile: dict[str, tuple[_Size, _Size, _Size]]
    openvino: _Target
    tensorrt: _Target
    tolerances: dict[Precision, dict[str, _Tolerance]]
    calibration: Literal["pictures", "sentences", "encoders"]
    input_size: _Size | None = None
    pixels: _Pixels | None = None
    tokenizer: str | _Package | None = None


class _Decisions(_Strict, frozen=True):
    policy: str
    max_flips: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_shift: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class _File(_Strict, frozen=True):
    schema: str
    decisions: _Decisions
    models: dict[str, _Model]


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: the second would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys: set[str] = set()
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
        return super().construct_mapping(node, deep)


_FAULT: Final = re.compile(r"(?P<problem>.*) - at `(?:key in )?\$\.?(?P<key>[^`]*)`", re.DOTALL)


def load_models(path: Path) -> Models:
    """Read the models file at `path`; raises ModelsInvalid naming file and key.

    Paths inside the file are relative to its folder.
    """
    try:
        data = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - _Loader is a SafeLoader
        file = msgspec.convert(data, _File)
    except OSError as error:
        raise ModelsInvalid(
            f"{path}: cannot be read ({error.strerror}); name one with --models"
        ) from None
    except msgspec.ValidationError as error:
        fault = _FAULT.fullmatch(str(error))
        where, problem = (fault["key"], fault["problem"]) if fault else ("the file", str(error))
        # msgspec calls every value of a mapping [...]; the key says which.
        raise ModelsInvalid(f"{path}: {_find_key(data, where)}: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML in UTF-8"
        raise ModelsInvalid(f"{path}: {where}{problem}") from None
    if file.schema != SCHEMA:
        raise ModelsInvalid(f"{path}: schema: is {file.schema!r}, this version reads {SCHEMA!r}")
    wanted = [leaf.name for leaf in wire.LEAVES]
    if sorted(file.models) != sorted(wanted):
        raise ModelsInvalid(
            f"{path}: models: names {', '.join(file.models)}; the wire has {', '.join(wanted)}"
        )
    folder = path.resolve().parent
    decisions = DecisionBudget(
        folder / file.decisions.policy, file.decisions.max_flips, file.decisions.max_shift
    )
    recipes = tuple(_make_recipe(leaf, file.models[leaf.name], path) for leaf in wire.LEAVES)
    return Models(path, recipes, decisions)


def _find_key(data: Any, where: str) -> str:
    """`models[...].profile` with the name of the first model that fails in place of [...]."""
    if not where.startswith("models[...]") or not isinstance(data, Mapping):
        return where
    for name, body in data["models"].items():
        try:
            msgspec.convert(body, _Model)
        except msgspec.ValidationError:
            return f"models.{name}{where.removeprefix('models[...]')}"
    return where


def _make_recipe(leaf: wire.Model, spec: _Model, path: Path) -> Recipe:
    folder = path.resolve().parent
    axes = AXES[leaf.name]
    recipe = Recipe(
        model=leaf,
        source=_make_source(spec.source, folder),
        profile={axis: Range(*sizes) for axis, sizes in spec.profile.items()},
        openvino=Target(**msgspec.structs.asdict(spec.openvino)),
        tensorrt=Target(**msgspec.structs.asdict(spec.tensorrt)),
        tolerances={
            precision: {
                output: Tolerance(**msgspec.structs.asdict(bound)) for output, bound in side.items()
            }
            for precision, side in spec.tolerances.items()
        },
        pixels=Pixels(**msgspec.structs.asdict(spec.pixels)) if spec.pixels else None,
        tokenizer=_place(spec.tokenizer, folder),
        calibration=spec.calibration,
        axes=axes,
    )
    key = f"{path}: models.{leaf.name}"
    _check_inputs(recipe, spec, key)
    _check_profile(recipe, key)
    _check_precisions(recipe, key)
    return recipe


def _make_source(spec: _Factory | _HuggingFace | _Onnx, folder: Path) -> ModelSource:
    match spec:
        case _Factory():
            checkpoint = folder / spec.checkpoint if spec.checkpoint else None
            return FactorySource(spec.call, spec.packages, checkpoint)
        case _HuggingFace():
            return HuggingFaceSource(folder / spec.folder)
        case _Onnx():
            outputs = {
                name: OnnxOutput(output.tensor, output.column)
                for name, output in spec.outputs.items()
            }
            place = _place(spec.file, folder)
            assert place is not None
            return OnnxSource(place, spec.input, outputs)


def _place(spec: str | _Package | None, folder: Path) -> Path | Package | None:
    if isinstance(spec, _Package):
        return Package(spec.package, spec.file)
    return folder / spec if spec else None


def _check_inputs(recipe: Recipe, spec: _Model, key: str) -> None:
    takes_frames = any(tensor.name == "frame" for tensor in recipe.model.inputs)
    if takes_frames and recipe.pixels is None:
        raise ModelsInvalid(f"{key}.pixels: is missing; say mean and std of the network's pixels")
    if takes_frames and spec.input_size != wire.IMAGE_SIDE:
        raise ModelsInvalid(
            f"{key}.input_size: is {spec.input_size}; the wire sends frames of {wire.IMAGE_SIDE}"
        )
    if recipe.model.name == wire.TEXT_ENCODER.name and recipe.tokenizer is None:
        raise ModelsInvalid(f"{key}.tokenizer: is missing; name its tokenizer.json")
    if isinstance(recipe.source, OnnxSource):
        wanted = [tensor.name for tensor in recipe.model.outputs if tensor != wire.ECHO]
        if sorted(recipe.source.outputs) != sorted(wanted):
            raise ModelsInvalid(
                f"{key}.source.outputs: names {', '.join(recipe.source.outputs)}; "
                f"the wire has {', '.join(wanted)}"
            )


def _check_profile(recipe: Recipe, key: str) -> None:
    wanted = ["batch", *dict.fromkeys(recipe.axes.values())]
    if sorted(recipe.profile) != sorted(wanted):
        raise ModelsInvalid(
            f"{key}.profile: has {', '.join(recipe.profile)}; it needs {', '.join(wanted)}"
        )
    limits = {
        "batch": (1, recipe.model.max_batch),
        "tokens": (wire.TOKEN_LENGTHS[0], wire.TOKEN_LENGTHS[-1]),
        "frames": (1, wire.MAX_FRAMES),
        "texts": (1, wire.MAX_TEXTS),
    }
    for axis, sizes in recipe.profile.items():
        if not sizes.min <= sizes.opt <= sizes.max:
            raise ModelsInvalid(
                f"{key}.profile.{axis}: min {sizes.min} <= opt {sizes.opt} <= max {sizes.max} "
                "does not hold"
            )
        least, most = limits[axis]
        if sizes.min > least or sizes.max < most:
            raise ModelsInvalid(
                f"{key}.profile.{axis}: takes {sizes.min} to {sizes.max}; the pipeline sends "
                f"{least} to {most}"
            )


def _check_precisions(recipe: Recipe, key: str) -> None:
    floats = [tensor.name for tensor in recipe.model.outputs if tensor.dtype == "FP32"]
    for name, target, known in (
        ("openvino", recipe.openvino, _EMBEDDED),
        ("tensorrt", recipe.tensorrt, _PLANS),
    ):
        for precision in ("f32", target.precision, *target.search):
            if precision not in known:
                raise ModelsInvalid(
                    f"{key}.{name}: {precision!r} is no precision of {name}; "
                    f"it has: {', '.join(known)}"
                )
            bounds = recipe.tolerances.get(precision, {})
            missing = [output for output in floats if output not in bounds]
            if missing:
                raise ModelsInvalid(
                    f"{key}.tolerances.{precision}: has no bound for {', '.join(missing)}; "
                    f"{name} uses this precision"
                )
