"""The command `livewarden serve`."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from livewarden_ensemble.server import Server
    from livewarden_ensemble.supervisor import Notice

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default="model_repository",
    show_default=True,
    help="Directory of the models.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True, help="0: any free one.")
@click.option("--http-port", type=_PORT, default=8000, show_default=True, help="0: any free one.")
@click.option(
    "--metrics-port", type=_PORT, default=8002, show_default=True, help="0: any free one."
)
@click.option(
    "--health-port",
    type=_PORT,
    help="Answer GET /ready, /live and /metrics here: for load balancers and Prometheus.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Serve with N servers behind an Envoy on --grpc-port (docs/replicas.md).",
)
@click.option(
    "--tls-certificate", type=_FILE, help="With --replicas: callers speak TLS; the chain (PEM)."
)
@click.option("--tls-key", type=_FILE, help="Its private key (PEM).")
@click.option(
    "--tls-client-ca", type=_FILE, help="Take only callers with a certificate of this authority."
)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file; the models' default where absent.",
)
@click.option(
    "--require-signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PUBKEY",
    help="Serve only bundles signed by this key (PEM); others are refused by name.",
)
@click.option(
    "--policy-key",
    type=_FILE,
    metavar="PUBKEY",
    help="Decide only by a policy signed by this key (PEM), also when it changes.",
)
@click.option(
    "--shared-memory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEYFILE",
    help="Take decoded frames in shared memory from callers who send the key in this file.",
)
@click.option("--model-config-name", help="Target: use configs/NAME.pbtxt of each model.")
@click.option(
    "--tritonserver",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LIVEWARDEN_TRITONSERVER",
    show_envvar=True,
    help="Another tritonserver than the one in nvidia-pytriton.",
)
@click.option(
    "--log-level",
    type=click.Choice(["error", "warning", "info"]),
    default="warning",
    show_default=True,
    help="What tritonserver logs.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object per line, with one for each clip that is not allowed.",
)
@click.option(
    "--otlp",
    metavar="URL",
    # Not its envvar: what operators put into every pod must not be as binding as what was asked.
    help="Send traces to this collector (OTLP over HTTP); so does OTEL_EXPORTER_OTLP_ENDPOINT.",
)
@click.option(
    "--log-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep tritonserver's log here; it is cut at 4 MiB, one older file is kept.",
)
def serve(
    *,
    replicas: int | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    **options: object,
) -> None:
    """Serve clips until stopped, healing what breaks.

    Starts tritonserver on the model repository and says ready only once a clip has gone through
    every stage. Ctrl-C or SIGTERM finishes the requests in flight and stops; a second one stops
    at once.

    \b
    Example:
      livewarden serve --repository model_repository
      livewarden serve --host 0.0.0.0 --grpc-port 9001 --policy policies/default.yaml
      livewarden serve --require-signature keys/release.pub --policy-key keys/policy.pub
      livewarden serve --shared-memory /run/livewarden/frames.key
      livewarden serve --health-port 8003 --otlp http://127.0.0.1:4318 --log-format json
      livewarden serve --replicas 2 --host 0.0.0.0 --health-port 8003 \\
          --tls-certificate server.pem --tls-key server.key --tls-client-ca callers.pem
      livewarden serve --model-config-name tensorrt \\
          --tritonserver /opt/tritonserver/bin/tritonserver
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from rich.console import Console

    from livewarden_ensemble.errors import ServerFailed
    from livewarden_ensemble.server import Server

    if bool(tls_certificate) != bool(tls_key):
        raise click.UsageError("--tls-certificate and --tls-key come together.")
    if replicas is None and (tls_certificate or tls_client_ca):
        raise click.UsageError("TLS is Envoy's part: add --replicas 1 (or more).")
    if tls_client_ca and not tls_certificate:
        raise click.UsageError("--tls-client-ca needs --tls-certificate and --tls-key.")
    _check_exported(options["repository"])
    # Lines of JSON have standard error to themselves.
    console = Console(stderr=True, quiet=options["log_format"] == "json")
    stop = threading.Event()
    # Installed before anything is started: a signal at any moment finds it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _request_stop(stop))
    with console.status("Starting tritonserver, loading the models") as status:
        try:
            if replicas is not None:
                tls = (tls_certificate, tls_key, tls_client_ca)
                _serve_replicas(console, status, stop, replicas, tls, options)
                return
            server = Server(tell=lambda notice: _show(console, status, server, notice), **options)  # type: ignore[arg-type] # click has checked the options
            server.start()
            try:
                while not stop.is_set() and not server.wait_ended(timeout=0.2):
                    pass
            finally:
                server.close()
        except ServerFailed as error:
            raise click.ClickException(str(error)) from None


def _check_exported(repository: object) -> None:
    """Say before anything starts what a new user lacks: the folder, or anything in it to serve."""
    from livewarden_client.wire import LEAVES, MODERATION
    from livewarden_ensemble.bundle import POINTER

    assert isinstance(repository, Path)
    if not repository.is_dir():
        raise click.UsageError(
            f"Directory {str(repository)!r} does not exist. Run this where `livewarden export` "
            "ran, or name the model repository with --repository."
        )
    is_ours = all((repository / leaf.name).is_dir() for leaf in LEAVES)
    versions = [path for leaf in LEAVES for path in (repository / leaf.name).glob("[0-9]*")]
    if is_ours and not versions and not (repository / MODERATION.name / POINTER).exists():
        raise click.ClickException(
            f"{repository} holds no exported model. Run `livewarden export` (or `make export`)."
        )


def _serve_replicas(
    console: Console,
    status: Status,
    stop: threading.Event,
    count: int,
    tls: tuple[Path | None, Path | None, Path | None],
    options: dict[str, Any],
) -> None:
    from livewarden_ensemble.envoy_config import Tls
    from livewarden_ensemble.replicas import Replicas

    certificate, key, client_ca = tls
    for port in ("http_port", "metrics_port"):  # each replica takes free ones on the loopback
        options.pop(port)
    replicas = Replicas(
        count=count,
        tls=Tls(certificate, key, client_ca) if certificate and key else None,
        tell=lambda notice: console.print(
            f"{notice.phase}: {notice.detail}", markup=False, soft_wrap=True
        ),
        **options,
    )
    try:
        replicas.start()
        status.update("Serving")
        console.print(f"Ready\n  gRPC     {replicas.grpc_url}", highlight=False, soft_wrap=True)
        if replicas.health_url:
            console.print(f"  health   {replicas.health_url}/ready", highlight=False)
        for number, server in enumerate(replicas.servers):
            for url in (server.metrics_url, f"{server.health_url}/metrics"):
                console.print(f"  metrics  {url} (replica {number})", highlight=False)
        while not stop.is_set() and not replicas.wait_ended(0.2):
            pass
        console.print("Stopping: finishing the requests in flight")
    finally:
        replicas.close()
    console.print("Stopped")


def _request_stop(stop: threading.Event) -> None:
    if stop.is_set():
        os._exit(1)  # the keeper sees us gone and ends everything at once
    stop.set()


def _show(console: Console, status: Status, server: Server, notice: Notice) -> None:
    """Tell people of a change."""
    match notice.phase:
        case "ready":
            status.update(f"Serving · restarts: {server.restarts}")
            console.print(_describe(server), highlight=False, soft_wrap=True)
        case "healing":
            status.update("Healing")
            console.print(f"Not ready: {notice.detail}", markup=False, soft_wrap=True)
        case "stopping":
            status.update("Finishing the requests in flight")
            console.print("Stopping: finishing the requests in flight")
        case "stopped":
            console.print("Stopped")
        case _:  # a failure ends the command with its own message
            pass


def _describe(server: Server) -> str:
    url = server.health_url
    health = f"  health   {url}/ready\n           {url}/metrics\n" if url else ""
    return (
        f"Ready\n  gRPC     {server.grpc_url}\n  HTTP     {server.http_url}\n"
        f"  metrics  {server.metrics_url}\n{health}"
        f"Try: livewarden moderate --url {server.grpc_url} --frames FRAME.jpg --text chat:hello\n"
        f"     curl {server.http_url}/v2/models/moderation"
    )
