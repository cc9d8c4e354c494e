"""Would these configs load and work? Checked before a server sees them, edge by edge.

Triton finds most of this at load or, worse, at the first request, and seldom says which two models
disagree. The rules are data: what a server version lacks stands in `CAPABILITIES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from livewarden_client import wire
from livewarden_export.errors import ConfigInvalid
from livewarden_export.recipe import NUMPY_DTYPES
from livewarden_export.triton_config import CPU_INSTANCES, DATA_TYPES

Version = tuple[int, int]
Configs = Mapping[str, Any]

_FILES: Final = ("config.pbtxt", "configs/tensorrt.pbtxt")
# What the Python backend's shared memory starts at per process, and grows by.
_SHARED_STEP: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Capability:
    """A field that means trouble before server version `since`; `why` says what happens.

    With `steps_only` the trouble is that of a model which another one calls: callers' own requests
    to the pipeline are spared it.
    """

    field: str
    since: Version
    why: str
    steps_only: bool = False


# Server versions by release: 24.10 is 2.51, 25.12 is 2.64, 26.03 is 2.67, and so on by month.
CAPABILITIES: Final = (
    Capability(
        "ensemble_scheduling.max_inflight_requests",
        (2, 64),
        "the field is unknown and the model does not load",
    ),
    Capability(
        "response_cache.enable", (2, 62), "the cache leaks (triton-inference-server/core#449)"
    ),
    Capability(
        "dynamic_batching.max_queue_delay_microseconds",
        (2, 74),
        "with a queue policy the batcher stalls (triton-inference-server/server#8870)",
    ),
    Capability(
        "dynamic_batching.default_queue_policy.max_queue_size",
        (2, 67),
        "a full queue hangs who calls a step (triton-inference-server/core#466)",
        steps_only=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Edge:
    """One tensor on its way from a model to another one; the pipeline gathers rows in between."""

    source: str
    target: str
    tensor: str


# The encoders' outputs that the classifier reads, by name: it takes one more axis, the items.
EDGES: Final = tuple(
    Edge(encoder.name, wire.FUSION_CLASSIFIER.name, output.name)
    for encoder in wire.LEAVES[:3]
    for output in encoder.outputs
    if any(tensor.name == output.name for tensor in wire.FUSION_CLASSIFIER.inputs)
)


def check_repository(repository: Path, server_version: str) -> None:
    """Raise ConfigInvalid with every fault of either target's configs in `repository`."""
    version = parse_version(server_version)
    faults = []
    for file in _FILES:
        configs = {}
        for model in wire.MODELS:
            path = repository / model.name / file
            try:
                configs[model.name] = text_format.Parse(path.read_text(), pb.ModelConfig())
            except OSError as error:
                faults.append(f"{path}: cannot be read ({error.strerror})")
            except text_format.ParseError as error:
                faults.append(f"{path}: {error}")
        faults += [f"{file}: {fault}" for fault in find_faults(configs, version)]
    if faults:
        raise ConfigInvalid("\n".join(faults))


def find_faults(configs: Configs, version: Version) -> list[str]:
    """Everything wrong with one target's `configs`, by model name; empty means that it fits."""
    return [
        *_check_contract(configs),
        *_check_edges(configs),
        *_check_batches(configs),
        *_check_capabilities(configs, version),
    ]


def parse_version(text: str) -> Version:
    """A version such as 2.51.0 as (2, 51); ConfigInvalid for anything else."""
    found = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)?\w*", text)
    if found is None:
        raise ConfigInvalid(f"server version {text!r}: expected something like 2.51.0")
    return int(found[1]), int(found[2])


def measure_shared_memory(instances: Mapping[str, int] = CPU_INSTANCES) -> int:
    """Bytes of /dev/shm that the embedded target can need at once.

    Every Python process of a leaf holds one full batch of inputs and outputs; every one of the
    pipeline holds the calls that it makes, which is one full batch to each leaf. Varying axes
    count with their largest size.
    """
    batches = {leaf.name: _measure_batch(leaf) for leaf in wire.LEAVES}
    leaves = sum(batches[leaf.name] * instances[leaf.name] for leaf in wire.LEAVES)
    pipeline = sum(batches.values()) * instances[wire.MODERATION.name]
    processes = sum(instances[model.name] for model in wire.MODELS)
    return leaves + pipeline + processes * _SHARED_STEP


def _measure_batch(leaf: wire.Model) -> int:
    longest = {
        "input_ids": wire.TOKEN_LENGTHS[-1],
        "attention_mask": wire.TOKEN_LENGTHS[-1],
    }
    return leaf.max_batch * sum(
        NUMPY_DTYPES[tensor.dtype].itemsize
        * prod(
            longest.get(tensor.name, wire.MAX_FRAMES) if dim == -1 else dim for dim in tensor.dims
        )
        for tensor in (*leaf.inputs, *leaf.outputs)
    )


def _check_contract(configs: Configs) -> Iterator[str]:
    """Every tensor that the pipeline sends or reads is there, in its type and shape."""
    for model in wire.MODELS:
        config = configs.get(model.name)
        if config is None:
            yield f"{model.name}: there is no config; the pipeline calls it"
            continue
        if config.name != model.name:
            yield f"{model.name}: its config calls it {config.name!r}"
        caller = "client" if model.kind == "pipeline" else wire.MODERATION.name
        yield from _check_side(f"{caller} -> {model.name}", model.inputs, config.input)
        yield from _check_side(f"{model.name} -> {caller}", model.outputs, config.output)


def _check_side(
    edge: str, tensors: Sequence[wire.Tensor], declared: Sequence[Any]
) -> Iterator[str]:
    found = {tensor.name: tensor for tensor in declared}
    for tensor in tensors:
        if tensor.name not in found:
            yield f"{edge}: {tensor.name!r} is not declared; there is: {', '.join(found)}"
            continue
        given = found.pop(tensor.name)
        if given.data_type != DATA_TYPES[tensor.dtype]:
            yield (
                f"{edge}: {tensor.name!r} is {pb.DataType.Name(given.data_type)}, "
                f"the contract says {tensor.dtype}"
            )
        if tuple(given.dims) != tensor.dims:
            yield f"{edge}: {tensor.name!r} has dims {list(given.dims)}, wanted {list(tensor.dims)}"
    for name, extra in found.items():
        if not getattr(extra, "optional", False):
            yield f"{edge}: {name!r} is in no contract; nobody sends or reads it"


def _check_edges(configs: Configs) -> Iterator[str]:
    """What one leaf gives, the next one takes: same type, and the same size of an item."""
    for edge in EDGES:
        if edge.source not in configs or edge.target not in configs:
            continue
        given = {t.name: t for t in configs[edge.source].output}.get(edge.tensor)
        taken = {t.name: t for t in configs[edge.target].input}.get(edge.tensor)
        if given is None or taken is None:
            continue  # named by _check_contract already
        where = f"{edge.source} -> {edge.target}: {edge.tensor!r}"
        if given.data_type != taken.data_type:
            kinds = [pb.DataType.Name(side.data_type) for side in (given, taken)]
            yield f"{where} leaves as {kinds[0]} and is taken as {kinds[1]}"
        if list(given.dims) != list(taken.dims)[1:]:
            yield (
                f"{where} leaves with {list(given.dims)} an item and is taken with "
                f"{list(taken.dims)[1:]}"
            )


def _check_batches(configs: Configs) -> Iterator[str]:
    for model in wire.MODELS:
        config = configs.get(model.name)
        if config is not None and config.max_batch_size < model.max_batch:
            yield (
                f"{model.name}: takes batches of {config.max_batch_size}, "
                f"the pipeline sends up to {model.max_batch}"
            )


def _check_capabilities(configs: Configs, version: Version) -> Iterator[str]:
    called = {leaf.name for leaf in wire.LEAVES}
    for name, config in configs.items():
        for capability in CAPABILITIES:
            if capability.steps_only and name not in called:
                continue
            if version < capability.since and _is_set(config, capability.field.split(".")):
                since = ".".join(map(str, capability.since))
                have = ".".join(map(str, version))
                yield (
                    f"{name}: {capability.field} needs Triton {since}, this is {have}: "
                    f"{capability.why}"
                )


def _is_set(message: Any, path: Sequence[str]) -> bool:
    field, *rest = path
    if not rest:
        return bool(getattr(message, field))
    return message.HasField(field) and _is_set(getattr(message, field), rest)
