from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from livewarden_ensemble.envoy_config import MIB, Backend, Front, Tls, build_config

BACKENDS = (Backend(grpc=5001, health=6001), Backend(grpc=5002, health=6002))
TLS = Tls(Path("/c"), Path("/k"), Path("/a"))


def build(**change: Any) -> dict[str, Any]:
    front = {"host": "0.0.0.0", "port": 8001, "admin": Path("/run/admin")} | change
    config = build_config(Front(**front), BACKENDS)
    return json.loads(json.dumps(config))


def find_http(config: dict[str, Any]) -> dict[str, Any]:
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def find_routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    return find_http(config)["route_config"]["virtual_hosts"][0]["routes"]


def test_every_replica_is_asked_for_its_truthful_readiness():
    """Each endpoint is checked at its own health port, never at Triton's."""
    [cluster] = build()["static_resources"]["clusters"]
    [group] = cluster["load_assignment"]["endpoints"]
    found = [
        (
            one["endpoint"]["address"]["socket_address"]["port_value"],
            one["endpoint"]["health_check_config"]["port_value"],
        )
        for one in group["lb_endpoints"]
    ]
    assert found == [(5001, 6001), (5002, 6002)]
    assert cluster["health_checks"][0]["http_health_check"] == {"path": "/ready"}
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}


def test_only_inference_and_reading_pass():
    """Each route is one whole method; all the rest is refused by the last one."""
    *open_routes, last = find_routes(build())
    paths = [route["match"]["path"].rpartition("/")[2] for route in open_routes]
    assert "ModelInfer" in paths
    assert not [path for path in paths if any(w in path for w in ("Repo", "Memory", "Sett", "Log"))]
    assert last == {"match": {"prefix": "/"}, "direct_response": {"status": 403}}


def test_what_may_be_sent_may_be_sent_again():
    """The buffers for a retry are as large as the largest message: else retries stop in silence."""
    config = build(max_message_bytes=7 * MIB)
    http = find_http(config)
    [host] = http["route_config"]["virtual_hosts"]
    [cluster] = config["static_resources"]["clusters"]
    limits = {
        http["http_filters"][0]["typed_config"]["max_request_bytes"],
        host["request_body_buffer_limit"],
        cluster["per_connection_buffer_limit_bytes"],
    }
    assert limits == {7 * MIB}


def test_deadly_clip_is_not_taken_from_replica_to_replica():
    """INTERNAL, which a dying process leaves, is not asked again elsewhere."""
    retries = find_routes(build())[0]["route"]["retry_policy"]
    assert "internal" not in retries["retry_on"]
    assert retries["num_retries"] == 2


@pytest.mark.parametrize(("tls", "wanted"), [(TLS, True), (Tls(Path("/c"), Path("/k")), False)])
def test_callers_certificates_are_wanted_with_an_authority(tls: Tls, *, wanted: bool):
    """Mutual TLS exactly where there is an authority to check callers by; never below TLS 1.2."""
    [chain] = build(tls=tls)["static_resources"]["listeners"][0]["filter_chains"]
    context = chain["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is wanted
    assert ("validation_context" in context["common_tls_context"]) is wanted
    assert context["common_tls_context"]["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2"
    }


def test_plain_front_has_no_tls():
    """Without TLS there is no transport socket."""
    [chain] = build()["static_resources"]["listeners"][0]["filter_chains"]
    assert "transport_socket" not in chain


def test_admin_is_a_file_of_the_servers_user():
    """Envoy's own commands are on no port."""
    assert build()["admin"] == {"address": {"pipe": {"path": "/run/admin", "mode": 0o600}}}


def test_replicas_may_be_on_other_machines():
    """Each is asked at its own address; one that is gone without a word is noticed in seconds."""
    backend = Backend(grpc=1, health=2, host="10.0.0.7")
    config = build_config(Front("127.0.0.1", 8001, Path("/run/admin")), [backend])
    [cluster] = config["static_resources"]["clusters"]
    [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"]["address"] == "10.0.0.7"
    probes = cluster["upstream_connection_options"]["tcp_keepalive"]
    seconds = probes["keepalive_time"] + probes["keepalive_interval"] * probes["keepalive_probes"]
    assert seconds <= 5
