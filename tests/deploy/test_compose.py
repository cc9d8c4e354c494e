from __future__ import annotations

import re
from typing import Any

import compose_spec
import pytest
import yaml
from deployment import DEPLOY, DRAIN_S, Manifest, find_serve, parse_serve, read_steps

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_compose_file_is_one() -> None:
    """The Compose specification's own model takes the file, and knows every key of a service."""
    compose_spec.PyOptions(apply_merge=True).from_yaml(
        (DEPLOY / "compose.yaml").read_text()
    ).validate()
    known = {field.alias or name for name, field in compose_spec.Service.model_fields.items()}
    for service in SERVICES.values():
        assert set(service) - {"<<"} <= known


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    """Read-only root, no capability, nothing gained by setuid, an image with a version."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":(?!latest)[\w.-]+$", service["image"])


def test_server_is_reached_by_nobody_but_the_front() -> None:
    """It publishes no port and is only on a network that leads nowhere; others bind loopback."""
    assert "ports" not in SERVICES["server"]
    assert list(SERVICES["server"]["networks"]) == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_server_is_given_what_it_needs() -> None:
    """Shared memory, an executable /tmp for the stubs, and more time to stop than a drain takes."""
    server = SERVICES["server"]
    assert server["shm_size"] == "1gb"
    assert any(mount.startswith("/tmp:exec") for mount in server["tmpfs"])
    assert int(server["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_server_listens_where_the_others_ask() -> None:
    """Front, Prometheus and the image's HEALTHCHECK ask the ports that the command opens."""
    options = parse_serve(SERVICES["server"]["command"])
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.compose.yaml").read_text())
    found = {
        job["job_name"]: (one["names"], one["port"])
        for job in prometheus["scrape_configs"]
        for one in job["dns_sd_configs"]
    }
    name = SERVICES["server"]["networks"]["inside"]["aliases"]
    assert found == {
        "livewarden": (name, int(options["metrics_port"])),
        "livewarden-supervisor": (name, int(options["health_port"])),
    }
    [check] = [s.text for s in read_steps(DEPLOY / "Dockerfile.cpu") if s.name == "HEALTHCHECK"]
    assert f":{options['health_port']}/ready" in check
    envoy = (DEPLOY / "helm" / "livewarden" / "files" / "envoy-plain.json").read_text()
    assert f'"address": "{name[0]}"' in envoy


RUNTIME, INFERENCE = yaml.safe_load_all((DEPLOY / "kserve" / "livewarden.yaml").read_text())


def read_container() -> Manifest:
    [container] = RUNTIME["spec"]["containers"]
    return dict(container)


def test_kserve_runtime_opens_the_ports_it_names() -> None:
    """Port, probes and the annotation for metrics are those of the command line."""
    container = read_container()
    options = parse_serve(find_serve(container["args"][0]))
    assert [port["containerPort"] for port in container["ports"]] == [int(options["grpc_port"])]
    probes = [probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")]
    assert {probe["port"] for probe in probes} == {int(options["health_port"])}
    annotations = RUNTIME["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == options["metrics_port"]


def test_kserve_container_is_restricted_and_checks_the_bundle() -> None:
    """Non-root, read-only, each mount has its volume; nothing unsigned is published or served."""
    container = read_container()
    security = container["securityContext"]
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    volumes = {volume["name"] for volume in RUNTIME["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    script = container["args"][0]
    assert script.index("bundle verify") < script.index("bundle publish") < script.index("serve")
    assert script.count("/etc/livewarden/keys/release.pub") == 2


def test_kserve_service_names_its_runtime() -> None:
    """The InferenceService asks for a format and protocol that the runtime offers, and waits."""
    model: dict[str, Any] = INFERENCE["spec"]["predictor"]["model"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert [one["name"] for one in model["env"]] == ["BUNDLE"]
    assert read_container()["args"][0].count('"/mnt/models/$BUNDLE"') == 2
    offered = {one["name"]: one["version"] for one in RUNTIME["spec"]["supportedModelFormats"]}
    assert offered[model["modelFormat"]["name"]] == model["modelFormat"]["version"]
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]
    assert INFERENCE["spec"]["predictor"]["terminationGracePeriodSeconds"] > DRAIN_S
