"""The model repository of a plain Triton ensemble over the same models.

Its models have no batch axis of clips: a decoder gives T frames and S texts, and these are the
batch axis of the encoders. So Triton's dynamic batching merges clips of any length, with no
padding, and the classifier's stage takes each clip's rows as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livewarden_client.wire import (
    FUSION_CLASSIFIER,
    NONCE,
    NSFW_ENCODER,
    TEXT_ENCODER,
    VISION_ENCODER,
    Model,
    Tensor,
)
from livewarden_perf.baseline.protocol import ENSEMBLE, JPEGS, KINDS, SCORES, TEXTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ENCODERS: Final = (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER)
_REQUEST: Final = (
    Tensor(JPEGS, "BYTES", (-1,)),
    Tensor(TEXTS, "BYTES", (-1,)),
    Tensor(KINDS, "INT32", (-1,)),
)
_SCORES: Final = (FUSION_CLASSIFIER.output(SCORES),)


def write_repository(folder: Path, code: Path, *, decoders: int, encoders: int) -> None:
    """Write the ensemble to `folder`, with so many instances of its models.

    Their classes are in triton_models.py in the folder `code`.
    """
    views, tokens = VISION_ENCODER.inputs[:1], TEXT_ENCODER.inputs[:2]
    decoded = [Tensor(t.name, t.dtype, (-1, *t.dims)) for t in (*views, *tokens)]
    encoded = [Tensor(t.name, t.dtype, (-1, *t.dims)) for e in _ENCODERS for t in _outputs(e)]
    # The classifier's first axis is the clip; its stage takes one clip and adds the axis itself.
    scores = [Tensor(t.name, t.dtype, (1, *t.dims)) for t in _SCORES]
    models: dict[str, tuple[str | None, str]] = {
        "decode": ("Decode", _render("decode", 0, _REQUEST[:2], decoded, decoders)),
        "fuse": ("Fuse", _render("fuse", 0, [*encoded, _REQUEST[2]], scores, 1)),
        ENSEMBLE: (None, _render_ensemble(decoded, encoded, scores)),
    }
    for encoder in _ENCODERS:
        config = _render(
            encoder.name,
            encoder.max_batch,
            [tensor for tensor in encoder.inputs if tensor != NONCE],
            _outputs(encoder),
            encoders,
        )
        models[encoder.name] = ("Encode", config)
    for name, (kind, config) in models.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
        if kind is not None:
            (version / "model.py").write_text(_import_class(kind, code), encoding="utf-8")


def _outputs(encoder: Model) -> list[Tensor]:
    return [tensor for tensor in encoder.outputs if tensor.name != "echo"]


def _import_class(kind: str, code: Path) -> str:
    # Triton's stubs do not read PYTHONPATH.
    return (
        f"import sys\n\nsys.path.insert(0, {str(code)!r})\n\n"
        f"from triton_models import {kind} as TritonPythonModel\n"
    )


def _render(
    name: str, max_batch: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor], count: int
) -> str:
    batching = "dynamic_batching {}\n" if max_batch else ""
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {max_batch}\n{batching}'
        f"{_render_tensors(inputs, outputs)}"
        f"instance_group {{ count: {count} kind: KIND_CPU }}\n"
    )


def _render_ensemble(
    decoded: Sequence[Tensor], encoded: Sequence[Tensor], scores: Sequence[Tensor]
) -> str:
    steps: list[tuple[str, Sequence[Tensor], Sequence[Tensor]]] = [
        ("decode", _REQUEST[:2], decoded)
    ]
    for encoder in _ENCODERS:
        known = {tensor.name for tensor in encoder.inputs}
        inputs = [tensor for tensor in decoded if tensor.name in known]
        steps.append((encoder.name, inputs, _outputs(encoder)))
    steps.append(("fuse", (*encoded, _REQUEST[2]), scores))
    text = "".join(
        f'  step {{ model_name: "{name}" model_version: -1\n'
        + "".join(f'    input_map {{ key: "{t.name}" value: "{t.name}" }}\n' for t in inputs)
        + "".join(f'    output_map {{ key: "{t.name}" value: "{t.name}" }}\n' for t in outputs)
        + "  }\n"
        for name, inputs, outputs in steps
    )
    return (
        f'name: "{ENSEMBLE}"\nplatform: "ensemble"\nmax_batch_size: 0\n'
        f"{_render_tensors(_REQUEST, scores)}ensemble_scheduling {{\n{text}}}\n"
    )


def _render_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    return "".join(
        f'{side} {{ name: "{tensor.name}" '
        f"data_type: TYPE_{'STRING' if tensor.dtype == 'BYTES' else tensor.dtype} "
        f"dims: {list(tensor.dims)} }}\n"
        for side, tensors in (("input", inputs), ("output", outputs))
        for tensor in tensors
    )
