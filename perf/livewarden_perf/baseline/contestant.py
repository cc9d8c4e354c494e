"""The baselines, as a table: what each is, how it can be tuned, and how it is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.installation import find_installation
from livewarden_ensemble.launch import Ports, choose_ports, size_shared_memory
from livewarden_perf.baseline.environment import list_packages
from livewarden_perf.baseline.protocol import (
    HOST,
    Base64Http,
    EnsembleGrpc,
    RawHttp,
    WireProtocol,
)
from livewarden_perf.baseline.running import Command, Place
from livewarden_perf.baseline.triton_repository import write_repository

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVERS: Final = Path(__file__).parent / "servers"
# What nvidia-pytriton 0.7.0 ships.
_TRITON_OF_WHEEL: Final = "2.51.0"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to share out the cores; all variants use all of them.

    `workers` processes compute, each on its share of the cores and at `parallel` clips (or
    batches of at most `batch`) at a time.
    """

    name: str
    workers: int = 1
    parallel: int = 1
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Site:
    """Where baselines run: their environment's python, the models, the cores."""

    python: Path
    bundle: Path
    cores: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """One server to compare with.

    `how` is a line for people; `packages` are those whose versions matter.
    """

    name: str
    title: str
    how: str
    packages: tuple[str, ...]
    protocol: WireProtocol
    variants: tuple[Variant, ...]
    build: Callable[[Site, Variant, Place], Command]


def read_versions(python: Path) -> Mapping[str, str]:
    """Read the versions of all packages that baselines and Livewarden are named with."""
    # The two environments have the same versions of what both compute with: a test sees to it.
    return {"tritonserver": _TRITON_OF_WHEEL, **list_packages(python)}


def _build_fastapi(engine: str) -> Callable[[Site, Variant, Place], Command]:
    def build(site: Site, variant: Variant, place: Place) -> Command:
        port = _choose_port()
        arguments = ["-m", "uvicorn", "fastapi_server:app", "--app-dir", str(_SERVERS)]
        arguments += ["--host", HOST, "--port", str(port), "--workers", str(variant.workers)]
        arguments += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        return _make_http(site, variant, place, engine, port, arguments)

    return build


def _build_litserve(site: Site, variant: Variant, place: Place) -> Command:
    script = [str(_SERVERS / "litserve_server.py")]
    return _make_http(site, variant, place, "openvino", _choose_port(), script)


def _build_bentoml(site: Site, variant: Variant, place: Place) -> Command:
    port = _choose_port()
    arguments = ["-m", "bentoml", "serve", "bentoml_server:ClipService"]
    arguments += ["--working-dir", str(_SERVERS), "--host", HOST, "--port", str(port)]
    return _make_http(site, variant, place, "openvino", port, arguments, ready="/readyz")


def _make_http(
    site: Site,
    variant: Variant,
    place: Place,
    engine: str,
    port: int,
    arguments: list[str],
    ready: str = "/ready",
) -> Command:
    return Command(
        arguments=(str(site.python), *arguments),
        environment=_set_environment(site, variant, place, engine, port),
        port=port,
        ready_port=port,
        ready_path=ready,
        loaded=variant.workers,
    )


def _build_triton(site: Site, variant: Variant, place: Place) -> Command:
    """Build the command for a tritonserver with the flags of ours, but for the admin's."""
    repository = place.runtime / "models"
    write_repository(repository, _SERVERS, decoders=2, encoders=variant.parallel)
    installation = find_installation()
    ports = choose_ports(HOST, Ports(0, 0, 0))
    memory = size_shared_memory()
    flags = {
        "model-repository": repository,
        "backend-directory": installation.prepare_backends(place.runtime),
        "grpc-address": HOST,
        "http-address": HOST,
        "grpc-port": ports.grpc,
        "http-port": ports.http,
        "allow-metrics": "false",
        "log-info": "false",
        "exit-timeout-secs": 3,
    }
    backend = {
        "shm-region-prefix-name": place.prefix,
        "shm-default-byte-size": memory,
        "shm-growth-byte-size": memory,
    }
    environment = _set_environment(site, variant, place, "openvino", ports.grpc)
    return Command(
        arguments=(
            str(installation.binary),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in flags.items()),
            *(f"--backend-config=python,{name}={value}" for name, value in backend.items()),
        ),
        environment=installation.build_environment({**os.environ, **environment}),
        port=ports.grpc,
        ready_port=ports.http,
        ready_path="/v2/health/ready",
    )


def _choose_port() -> int:
    return choose_ports(HOST, Ports(0, 0, 0)).http


def _set_environment(
    site: Site, variant: Variant, place: Place, engine: str, port: int
) -> Mapping[str, str]:
    return {
        "BASELINE_BUNDLE": str(site.bundle),
        "BASELINE_RUNTIME": str(place.runtime),
        "BASELINE_ENGINE": engine,
        "BASELINE_WORKERS": str(variant.workers),
        "BASELINE_PARALLEL": str(variant.parallel),
        "BASELINE_BATCH": str(variant.batch),
        "BASELINE_THREADS": str(max(1, site.cores // variant.workers)),
        "BASELINE_PORT": str(port),
        "PYTHONPATH": str(_SERVERS),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Three short texts are no work for a pool.
        "TOKENIZERS_PARALLELISM": "false",
        "BENTOML_HOME": str(place.runtime / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }


_CORES: Final = len(os.sched_getaffinity(0))
_ONE: Final = Variant("1 worker, one at a time on all cores")
_PARALLEL: Final = Variant("1 worker, one per core at a time", parallel=_CORES)
_TWO: Final = Variant("2 workers, cores shared", workers=2)
# Large batches on all cores, or small ones side by side, whose activations fit the caches.
_LARGE: Final = Variant("1 worker, batches of up to 8", batch=8)
_SMALL: Final = Variant("2 workers, batches of up to 2", workers=2, batch=2)

BASELINES: Final = (
    Baseline(
        "fastapi-onnxruntime",
        "FastAPI + ONNX Runtime + Pillow",
        "a clip at a time in fp32; raw body; uvloop, httptools",
        ("fastapi", "uvicorn", "onnxruntime", "pillow"),
        RawHttp("/score"),
        (_ONE, _PARALLEL, _TWO),
        _build_fastapi("onnxruntime"),
    ),
    Baseline(
        "fastapi-openvino",
        "FastAPI + OpenVINO + simplejpeg",
        "a clip at a time in bf16; raw body; uvloop, httptools",
        ("fastapi", "uvicorn", "openvino", "simplejpeg"),
        RawHttp("/score"),
        (_ONE, _PARALLEL, _TWO),
        _build_fastapi("openvino"),
    ),
    Baseline(
        "litserve",
        "LitServe + OpenVINO",
        "batches of clips in bf16; raw body",
        ("litserve", "openvino", "simplejpeg"),
        RawHttp("/predict"),
        (_LARGE, _SMALL),
        _build_litserve,
    ),
    Baseline(
        "bentoml",
        "BentoML + OpenVINO",
        "adaptive batches of clips in bf16; base64 in JSON",
        ("bentoml", "openvino", "simplejpeg"),
        Base64Http("/score"),
        (_LARGE, _SMALL),
        _build_bentoml,
    ),
    Baseline(
        "triton-ensemble",
        "Triton ensemble + OpenVINO",
        "dynamic batches of frames and of texts in bf16; gRPC",
        ("tritonserver", "openvino", "simplejpeg"),
        EnsembleGrpc(),
        (
            Variant("1 copy of an encoder on all cores"),
            Variant("a copy of an encoder per core", parallel=_CORES),
        ),
        _build_triton,
    ),
)
