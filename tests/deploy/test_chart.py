from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from deployment import CHART, DRAIN_S, EXAMPLES, ROOT, Manifest, merge, parse_serve

from livewarden_ensemble.policy.load import load_policy
from livewarden_ensemble.vitals import Timing

BARE = yaml.safe_load((CHART.parent / "examples" / "bare.yaml").read_text())
# Without a schema in kubernetes-validate; test_custom_resources_have_their_parts looks at them.
CUSTOM = {"ScaledObject", "GRPCRoute", "ServiceMonitor", "PrometheusRule"}


def find(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def list_pods(manifests: list[Manifest]) -> list[Manifest]:
    """The pod templates of all Deployments."""
    return [one["spec"]["template"] for one in find(manifests, "Deployment")]


def list_containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def find_servers(manifests: list[Manifest]) -> list[Manifest]:
    """The pod templates of the servers, one for each pool."""
    return [
        pod
        for pod in list_pods(manifests)
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "server"
    ]


def select(manifests: list[Manifest], labels: dict[str, str]) -> list[Manifest]:
    """The pod templates that have all of `labels`."""
    return [
        pod for pod in list_pods(manifests) if labels.items() <= pod["metadata"]["labels"].items()
    ]


def list_ports(pod: Manifest) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container["ports"]
    }


def test_helm_lints_each_example_without_a_warning(example: Manifest) -> None:
    """Helm's own linter finds nothing but that there is no icon."""
    found = helm_python.lint(CHART, example, strict=True)
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


def test_each_manifest_fits_the_schema_of_kubernetes(manifests: list[Manifest]) -> None:
    """Kubernetes' own schemas take every field, in the newest version and in the oldest."""
    new = any(
        "image" in volume for pod in list_pods(manifests) for volume in pod["spec"]["volumes"]
    )
    for manifest in manifests:
        if manifest["kind"] in CUSTOM:
            continue
        for version in ("1.37", "1.35" if new else "1.29"):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_container_is_restricted(manifests: list[Manifest]) -> None:
    """What the Pod Security Standard "restricted" wants, and a read-only root, init ones too."""
    for pod in list_pods(manifests):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in list_containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_selectors_find_the_pods_they_are_meant_for(manifests: list[Manifest]) -> None:
    """Each selector finds a pod, and those of Deployments and PDBs exactly one template."""
    for manifest in find(manifests, "Deployment", "PodDisruptionBudget"):
        labels = manifest["spec"]["selector"]["matchLabels"]
        [_] = select(manifests, labels)
    for manifest in find(manifests, "NetworkPolicy"):
        assert select(manifests, manifest["spec"]["podSelector"]["matchLabels"])
    for service in find(manifests, "Service"):
        assert select(manifests, service["spec"]["selector"])
    for pod in list_pods(manifests):
        for spread in pod["spec"]["topologySpreadConstraints"]:
            assert select(manifests, spread["labelSelector"]["matchLabels"]) == [pod]


def test_ports_are_called_alike_everywhere(manifests: list[Manifest]) -> None:
    """Services, policies and probes name ports that the pods have, with the same numbers."""
    for service in find(manifests, "Service"):
        for pod in select(manifests, service["spec"]["selector"]):
            for port in service["spec"]["ports"]:
                assert list_ports(pod)[port["targetPort"]] == port["port"]
    for policy in find(manifests, "NetworkPolicy"):
        for pod in select(manifests, policy["spec"]["podSelector"]["matchLabels"]):
            for rule in policy["spec"]["ingress"]:
                assert {port["port"] for port in rule["ports"]} <= list_ports(pod).keys()
    for pod in list_pods(manifests):
        for container in pod["spec"]["containers"]:
            probes = [value for name, value in container.items() if name.endswith("Probe")]
            asked = [probe.get("httpGet") or probe["tcpSocket"] for probe in probes]
            assert {ask["port"] for ask in asked} == {"health"}


def test_command_line_opens_the_ports_that_are_declared(manifests: list[Manifest]) -> None:
    """`livewarden serve` takes every argument, and listens where the container says it does."""
    for pod in find_servers(manifests):
        [container] = pod["spec"]["containers"]
        options = parse_serve(container["args"])
        opened = {name: int(options[f"{name}_port"]) for name in ("grpc", "metrics", "health")}
        assert opened == list_ports(pod)
        assert options["host"] == "0.0.0.0"


def test_ready_means_a_canary_came_through(manifests: list[Manifest]) -> None:
    """Start and readiness ask /ready, not Triton; liveness asks only whether anybody is there."""
    for pod in find_servers(manifests):
        [container] = pod["spec"]["containers"]
        paths = {n: p["httpGet"]["path"] for n, p in container.items() if n.endswith("Probe")}
        assert paths == {
            "startupProbe": "/ready",
            "readinessProbe": "/ready",
            "livenessProbe": "/live",
        }
        start = container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] > Timing().start_timeout_s


def test_nobody_is_killed_while_it_drains(manifests: list[Manifest]) -> None:
    """Grace is longer than a drain of ours, and than Envoy's: its preStop, then its own end."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["gracePeriodSeconds"]["minimum"] > DRAIN_S
    for pod in list_pods(manifests):
        assert pod["spec"]["terminationGracePeriodSeconds"] > DRAIN_S
        for container in pod["spec"]["containers"]:
            if "lifecycle" in container:
                script = container["lifecycle"]["preStop"]["exec"]["command"][-1]
                waits = float(script.split("sleep ")[1])
                arguments = container["args"]
                drain = float(arguments[arguments.index("--drain-time-s") + 1])
                assert drain < waits < pod["spec"]["terminationGracePeriodSeconds"] - 5


def test_what_is_mounted_is_there_and_what_is_named_is_mounted(manifests: list[Manifest]) -> None:
    """Mounts and volumes fit one another, and each path in the arguments lies in a mount."""
    for pod in list_pods(manifests):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        mounted = {m["name"] for c in list_containers(pod) for m in c["volumeMounts"]}
        assert mounted == volumes
        for container in list_containers(pod):
            folders = tuple(mount["mountPath"] for mount in container["volumeMounts"])
            words = [
                *container.get("args", []),
                *(e.get("value", "") for e in container.get("env", [])),
            ]
            paths = [
                word.rpartition("=")[2] for word in words if word.rpartition("=")[2][:1] == "/"
            ]
            assert [path for path in paths if not path.startswith(folders)] == []


def test_bundle_is_checked_before_it_is_published(manifests: list[Manifest]) -> None:
    """Init containers verify, then publish, the bundle of the pool; the server checks again."""
    for pod in find_servers(manifests):
        steps = {one["name"]: one for one in pod["spec"]["initContainers"]}
        assert list(steps)[-3:] == ["repository", "verify", "publish"]
        verify, publish = steps["verify"]["args"], steps["publish"]["args"]
        assert verify[:3] == ["bundle", "verify", publish[-1]]
        [server] = pod["spec"]["containers"]
        key = parse_serve(server["args"]).get("require_signature")
        assert verify[3:] == (["--public-key", str(key)] if key else [])


def test_only_the_front_reaches_the_servers(render: Callable[[Manifest], list[Manifest]]) -> None:
    """Behind Envoy, gRPC of a server is open to Envoy's pods alone, and it may call nobody."""
    values = yaml.safe_load((CHART.parent / "examples" / "cpu.yaml").read_text())
    manifests = render(values)
    [policy] = [
        one
        for one in find(manifests, "NetworkPolicy")
        if one["metadata"]["name"].endswith("servers")
    ]
    [rule] = policy["spec"]["ingress"]
    [pod] = select(manifests, rule["from"][0]["podSelector"]["matchLabels"])
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "front"
    assert policy["spec"]["egress"] == []
    collector = {"podSelector": {"matchLabels": {"app": "collector"}}}
    values = merge(values, {"networkPolicy": {"collector": collector}})
    [policy] = [
        one
        for one in find(render(values), "NetworkPolicy")
        if one["metadata"]["name"].endswith("servers")
    ]
    send, ask = policy["spec"]["egress"]
    assert send == {"to": [collector]}
    assert {port["port"] for port in ask["ports"]} == {53}


@pytest.mark.parametrize("front", [{"kind": "none"}, {"kind": "gateway", "gateway": {"name": "g"}}])
def test_only_callers_reach_the_servers_without_envoy(
    front: Manifest, render: Callable[[Manifest], list[Manifest]]
) -> None:
    """Without our Envoy the servers are open to `callers` alone, who must be named."""
    closed = merge(BARE, {"front": front, "networkPolicy": {"enabled": True}})
    with pytest.raises(helm_python.HelmError, match=r"networkPolicy\.callers"):
        render(closed)
    callers = {"podSelector": {"matchLabels": {"app": "caller"}}}
    [policy] = find(render(merge(closed, {"networkPolicy": {"callers": callers}})), "NetworkPolicy")
    assert [rule["from"] for rule in policy["spec"]["ingress"]] == [[callers]]


def test_a_pool_scales_by_its_own_pods(render: Callable[[Manifest], list[Manifest]]) -> None:
    """The query of a pool counts its pods, and not those of a pool whose name begins alike."""
    values = yaml.safe_load((CHART.parent / "examples" / "gpu.yaml").read_text())
    spot = merge(values, {"pools": {"l4-spot": values["pools"]["l4"]}})
    queries = {
        one["metadata"]["name"]: one["spec"]["triggers"][0]["metadata"]["query"]
        for one in find(render(spot), "ScaledObject")
    }
    pods = {name: f"{name}-7d9c5b8f6d-x2x7k" for name in queries}
    assert len(pods) == 3
    for name, query in queries.items():
        [pattern] = set(re.findall(r'pod=~"([^"]*)"', query))
        assert [one for one, pod in pods.items() if re.fullmatch(pattern, pod)] == [name]


def test_every_container_asks_for_resources(manifests: list[Manifest]) -> None:
    """A namespace with a quota takes the pod: init containers ask for what the server does."""
    for pod in list_pods(manifests):
        [main] = pod["spec"]["containers"]
        needs = {
            kind: {name: much for name, much in amounts.items() if name != "nvidia.com/gpu"}
            for kind, amounts in main["resources"].items()
        }
        assert {"cpu", "memory"} <= needs["requests"].keys()
        for container in pod["spec"].get("initContainers", []):
            assert container["resources"] == needs


def test_policy_of_an_example_loads(example: Manifest, tmp_path: Path) -> None:
    """The policy that an example ships is one that a server takes."""
    if text := example.get("policy"):
        file = tmp_path / "policy.yaml"
        file.write_text(text)
        assert load_policy(file).ref == "example@1"


def test_images_come_from_a_registry(manifests: list[Manifest]) -> None:
    """An example's images are ones that were pushed, not names of this machine alone."""
    for pod in find_servers(manifests):
        for container in list_containers(pod):
            assert container["image"].startswith("registry.example/"), container["name"]
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    assert "livewarden bundle sign" in text
    assert set(re.findall(r"^docker push (\S+):", text, re.MULTILINE)) == {
        "registry.example/livewarden",
        "registry.example/livewarden-bundle",
    }


def test_pools_have_their_own_gpu_bundle_and_scale(
    render: Callable[[Manifest], list[Manifest]],
) -> None:
    """Each pool asks for its GPUs and its bundle; with KEDA the Deployment sets no number."""
    values = yaml.safe_load((CHART.parent / "examples" / "gpu.yaml").read_text())
    manifests = render(values)
    assert len(find_servers(manifests)) == 2
    for pod in find_servers(manifests):
        pool = values["pools"][pod["metadata"]["labels"]["livewarden/pool"]]
        [server] = pod["spec"]["containers"]
        assert server["resources"]["limits"]["nvidia.com/gpu"] == pool["gpus"]
        [volume] = [one for one in pod["spec"]["volumes"] if "image" in one]
        assert volume["image"]["reference"].endswith(f":{pool['bundle']}")
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in find(manifests, "ScaledObject")}
    for deployment in find(manifests, "Deployment"):
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)
    assert len(scaled) == 2


def test_custom_resources_have_their_parts(render: Callable[[Manifest], list[Manifest]]) -> None:
    """The fields that KEDA, Gateway API and the Prometheus operator require are there."""
    gpu, gateway = (
        render(yaml.safe_load((CHART.parent / "examples" / f"{name}.yaml").read_text()))
        for name in ("gpu", "gateway")
    )
    for scaled in find(gpu, "ScaledObject"):
        [trigger] = scaled["spec"]["triggers"]
        assert set(trigger["metadata"]) == {"serverAddress", "threshold", "query"}
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert 'model="moderation"' in trigger["metadata"]["query"]
    [route] = find(gateway, "GRPCRoute")
    [rule] = route["spec"]["rules"]
    [service] = [one for one in find(gateway, "Service") if one["spec"].get("clusterIP") != "None"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": 8001}]
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    [monitor] = find(gpu, "ServiceMonitor")
    [target] = [
        one
        for one in find(gpu, "Service")
        if monitor["spec"]["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
    ]
    names = {port["name"] for port in target["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= names
    [rules] = find(gpu, "PrometheusRule")
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


def test_gateway_passes_what_envoy_passes(render: Callable[[Manifest], list[Manifest]]) -> None:
    """The methods of the GRPCRoute are those of our Envoy, and the operator's header is removed."""
    manifests = render(yaml.safe_load((CHART.parent / "examples" / "gateway.yaml").read_text()))
    [rule] = find(manifests, "GRPCRoute")[0]["spec"]["rules"]
    passed = {f"/{m['method']['service']}/{m['method']['method']}" for m in rule["matches"]}
    assert "/inference.GRPCInferenceService/ModelInfer" in passed
    envoy = (CHART / "files" / "envoy-plain.json").read_text()
    assert passed == set(find_paths(json.loads(envoy)))
    [edit] = rule["filters"]
    assert edit["requestHeaderModifier"]["remove"] == ["triton-grpc-protocol-livewarden-admin"]


def find_paths(config: Any) -> Iterator[str]:
    """Every `path` of a route's match in Envoy's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("match"), dict) and "path" in config["match"]:
            yield config["match"]["path"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from find_paths(part)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bundle": {"id": ""}}, "pool cpu has no bundle"),
        ({"bundle": {"id": "60f26"}}, "does not match pattern"),
        ({"bundle": {"image": ""}}, "name the image of bundles"),
        ({"bundle": {"source": "claim"}}, "name the PersistentVolumeClaim"),
        ({"bundle": {"allowUnsigned": False}}, "release.pub"),
        ({"pools": {"cpu": {"replicas": 2}}}, "stateKeysSecret"),
        ({"pools": {"CPU": {}}}, "CPU"),
        ({"pools": {"front": {}}}, "front"),
        ({"pools": {"cpu": {"gpu": 1}}}, "gpu"),
        ({"autoscaling": {"kind": "hpa"}}, "stateKeysSecret"),
        ({"front": {"kind": "gateway"}}, "name the Gateway"),
        ({"front": {"clientCa": True}}, "front.tlsSecret"),
        ({"stateKeysSecret": "keys", "autoscaling": {"kind": "keda"}}, "URL of Prometheus"),
        ({"gracePeriodSeconds": 10}, "minimum"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(
    change: Manifest, words: str, render: Callable[[Manifest], list[Manifest]]
) -> None:
    """A value that is missing or does not fit the others ends the rendering, and says which."""
    assert render(BARE)
    with pytest.raises(helm_python.HelmError, match=words):
        render(merge(BARE, change))


def test_defaults_of_values_and_schema_are_the_same() -> None:
    """values.yaml holds each default that the schema, and so the documentation, tells."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(part: Manifest, value: Any, path: str) -> None:
        for name, inner in part.get("properties", {}).items():
            if name == "global":
                continue
            where = f"{path}.{name}"
            assert name in value, where
            if "default" in inner:
                assert value[name] == inner["default"], where
            compare(inner, value[name], where)

    compare(schema, values, "values")


def test_files_of_the_chart_are_up_to_date() -> None:
    """Envoy's configuration and the table of values are what scripts/chart.py makes."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "chart.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_examples_are_the_four_that_are_told() -> None:
    """docs/kubernetes.md names each example, so none is forgotten here or there."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    assert all(f"examples/{path.name}" in text for path in EXAMPLES)
