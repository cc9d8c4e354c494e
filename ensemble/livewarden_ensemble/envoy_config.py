"""Envoy's configuration before several replicas: what it takes, whom it asks, when it asks again.

Pure: a front and its replicas in, one JSON object out (docs/replicas.md explains each limit). Field
names are those of Envoy's v3 API, in Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MIB: Final = 1024 * 1024
MAX_STREAMS: Final = 100
CLUSTER: Final = "replicas"
LOOPBACK: Final = "127.0.0.1"

# What callers may ask; models, shared memory, trace and log settings stay behind the front.
_METHODS: Final = (
    "ModelInfer",
    "ModelMetadata",
    "ModelReady",
    "ServerLive",
    "ServerMetadata",
    "ServerReady",
)
_TYPE: Final = "type.googleapis.com/envoy.extensions."
_ROUTER: Final = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"},
}
# A replica that DNS no longer names gets nothing more, healthy or not.
_DISCOVERY: Final = {
    "type": "STRICT_DNS",
    "dns_refresh_rate": "1s",
    "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
    "dns_lookup_family": "V4_PREFERRED",
    "ignore_health_on_host_removal": True,
}
_RESOURCE_EXHAUSTED: Final = "8"  # gRPC's number
# TCP_USER_TIMEOUT: while bytes are under way, the kernel sends no keepalive probes.
_UNACKNOWLEDGED: Final = {"level": 6, "name": 18, "int_value": 5000, "state": "STATE_PREBIND"}
_ADMIN_HEADER: Final = "triton-grpc-protocol-livewarden-admin"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: what the front shows, and with `client_ca` whose certificates it wants to see."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Front:
    """Where and how callers are taken.

    `admin` takes Envoy's own commands: a socket file, or a port of the loopback. `health` is a port
    that answers `GET /ready`: 200 while at least one replica is ready.
    """

    host: str
    port: int
    admin: Path | int
    tls: Tls | None = None
    max_message_bytes: int = 32 * MIB
    health: int | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """Where one replica is: its ports for gRPC, and for its truthful readiness.

    A `host` that is a name stands for every address that DNS gives for it, asked again and again.
    """

    grpc: int
    health: int
    host: str = LOOPBACK


def build_config(front: Front, backends: Sequence[Backend]) -> dict[str, Any]:
    """Envoy's whole configuration."""
    listeners = [_build_listener(front)]
    if front.health is not None:
        listeners.append(_build_health(front.host, front.health))
    return {
        "admin": {"address": _build_admin(front.admin)},
        "static_resources": {
            "listeners": listeners,
            "clusters": [_build_cluster(front, backends)],
        },
        "overload_manager": _build_overload(),
    }


def _build_admin(admin: Path | int) -> dict[str, Any]:
    if isinstance(admin, int):
        return _locate(LOOPBACK, admin)
    return {"pipe": {"path": str(admin), "mode": 0o600}}


def _build_health(host: str, port: int) -> dict[str, Any]:
    check = {
        "@type": f"{_TYPE}filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": False,
        "cluster_min_healthy_percentages": {CLUSTER: {"value": 1}},
        "headers": [{"name": ":path", "string_match": {"exact": "/ready"}}],
    }
    http = {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "health",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "health",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.health_check", "typed_config": check},
            _ROUTER,
        ],
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]
    }
    # So that a drain closes the callers' port alone, and who asks is told.
    return {
        "name": "health",
        "address": _locate(host, port),
        "filter_chains": [chain],
        "drain_type": "MODIFY_ONLY",
    }


def _build_listener(front: Front) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": _build_http(front),
            }
        ]
    }
    if front.tls is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _build_tls(front.tls),
        }
    return {
        "name": "callers",
        "address": _locate(front.host, front.port),
        # Of a connection; a request may be larger, see the buffer.
        "per_connection_buffer_limit_bytes": MIB,
        "filter_chains": [chain],
    }


def _build_tls(tls: Tls) -> dict[str, Any]:
    common: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(tls.certificate)},
                "private_key": {"filename": str(tls.key)},
            }
        ],
    }
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": {"filename": str(tls.client_ca)}}
    return {
        "@type": f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": tls.client_ca is not None,
        "common_tls_context": common,
    }


def _build_http(front: Front) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "codec_type": "HTTP2",
        "use_remote_address": True,
        "server_name": "livewarden",
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_STREAMS,
            "initial_stream_window_size": MIB,
            "initial_connection_window_size": 4 * MIB,
        },
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        # A caller who sends a request byte by byte is let go.
        "request_timeout": "60s",
        "stream_idle_timeout": "150s",
        "local_reply_config": {"mappers": [_build_too_large(front.max_message_bytes)]},
        "route_config": {"virtual_hosts": [_build_host(front)]},
        "http_filters": [
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": {
                    "@type": f"{_TYPE}filters.http.buffer.v3.Buffer",
                    "max_request_bytes": front.max_message_bytes,
                },
            },
            _ROUTER,
        ],
    }


def _build_too_large(max_bytes: int) -> dict[str, Any]:
    # Envoy would say UNKNOWN, which callers take for a fault of the server. The words are gRPC's.
    limit = {"default_value": 413, "runtime_key": "livewarden.too_large"}
    status = {"key": "grpc-status", "value": _RESOURCE_EXHAUSTED}
    return {
        "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": limit}}},
        "body_format_override": {
            "text_format_source": {
                "inline_string": f"Received message larger than max ({max_bytes})"
            }
        },
        "headers_to_add": [{"header": status, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _build_host(front: Front) -> dict[str, Any]:
    service = "/inference.GRPCInferenceService/"
    route = {"cluster": CLUSTER, "timeout": "120s", "retry_policy": _build_retries()}
    return {
        "name": "callers",
        "domains": ["*"],
        "request_headers_to_remove": [_ADMIN_HEADER],
        # What can be sent again must have been kept.
        "request_body_buffer_limit": front.max_message_bytes,
        "routes": [
            *({"match": {"path": service + method}, "route": route} for method in _METHODS),
            {"match": {"prefix": "/"}, "direct_response": {"status": 403}},
        ],
    }


def _build_retries() -> dict[str, Any]:
    return {
        # Inference is pure: whatever became of the first attempt, the second does no harm. Not on
        # INTERNAL: a clip that kills a process must not be taken to every replica.
        "retry_on": "connect-failure,refused-stream,reset,unavailable",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{_TYPE}retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }


def _build_cluster(front: Front, backends: Sequence[Backend]) -> dict[str, Any]:
    named = {backend.host for backend in backends} - {LOOPBACK}
    return {
        "name": CLUSTER,
        **(_DISCOVERY if named else {"type": "STATIC"}),
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "0.5s",
        "per_connection_buffer_limit_bytes": front.max_message_bytes,
        "upstream_connection_options": {
            # A machine that is gone answers nothing, not even with a reset: five seconds, and what
            # was on its way there is sent again. The kernel answers for a process that is slow.
            "tcp_keepalive": {
                "keepalive_time": 2,
                "keepalive_interval": 1,
                "keepalive_probes": 3,
            }
        },
        "upstream_bind_config": {"socket_options": [_UNACKNOWLEDGED]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {"max_concurrent_streams": MAX_STREAMS}
                },
            }
        },
        "health_checks": [
            {
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "unhealthy_interval": "0.5s",
                "timeout": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/ready"},
            }
        ],
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
            "consecutive_5xx": 5,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
        },
        "common_lb_config": {
            # With no replica ready an error is the truth; a replica that is not gets nothing.
            "healthy_panic_threshold": {"value": 0},
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_requests": 1024,
                    "max_pending_requests": 1024,
                    # All that was in flight on the one that died comes at once.
                    "retry_budget": {"budget_percent": {"value": 50}, "min_retry_concurrency": 64},
                }
            ]
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [_build_endpoint(one) for one in backends]}],
        },
    }


def _build_endpoint(backend: Backend) -> dict[str, Any]:
    return {
        "endpoint": {
            "address": _locate(backend.host, backend.grpc),
            "health_check_config": {"port_value": backend.health},
        }
    }


def _build_overload() -> dict[str, Any]:
    heap = "envoy.resource_monitors.fixed_heap"

    def act(name: str, at: float) -> dict[str, Any]:
        trigger = {"name": heap, "threshold": {"value": at}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{_TYPE}resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": 1024 * MIB,
                },
            }
        ],
        "actions": [act("shrink_heap", 0.95), act("stop_accepting_requests", 0.98)],
    }


def _locate(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
