"""The kustomize folders in cluster/kuberay, as kubectl renders them: fields of KubeRay, pod security and network policy.

kuberay/fields.yaml beside this file has the fields and types of KubeRay's v1 API in a reduced form. Where KUBERAY_CRDS (or
../shared/kuberay) is a folder of KubeRay's own schemas (VERSION/rayclusters.yaml and rayjobs.yaml), that form and all YAML
are validated against each version, unknown fields refused.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
FOLDERS = ("base", "gpu", "spot", "job")
pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders the folders, is not installed"
)

FIELDS = yaml.safe_load((Path(__file__).parent / "kuberay" / "fields.yaml").read_text())


def render(folder: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(ROOT / "cluster" / "kuberay" / folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return [each for each in yaml.safe_load_all(process.stdout) if each]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict[str, Any]]]:
    return {folder: render(folder) for folder in FOLDERS}


def cluster_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (document,) = [each for each in documents if each["apiVersion"] == "ray.io/v1"]
    spec: dict[str, Any] = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def groups_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_field_is_one_that_kuberay_knows(folder: str, rendered: dict[str, list[dict[str, Any]]]) -> None:
    kinds = {each["kind"] for each in rendered[folder]}
    assert kinds == ({"RayJob", "ConfigMap"} if folder == "job" else {"RayCluster"}) | {"ServiceAccount", "NetworkPolicy"}
    for document in rendered[folder]:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", document["metadata"]["name"])
        if document["kind"] in FIELDS:
            errors = Draft7Validator(schema_of(FIELDS[document["kind"]])).iter_errors(document["spec"])
            assert [f"{'/'.join(map(str, error.path))}: {error.message}" for error in errors] == []
    spec = cluster_of(rendered[folder])
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups_of(spec):
        pod = group["template"]["spec"]
        volumes = {each["name"] for each in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert container["image"] == f"REGISTRY/lstm-relay:{version('ray')}"
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {each["name"] for each in container.get("volumeMounts", [])} <= volumes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("headGroupSpec", "servicetype"), "ClusterIP"),  # misspelt
        (("enableInTreeAutoscaling",), "true"),  # of another type
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),  # KubeRay wants text
        (("workerGroupSpecs", 0, "template", "spec", "containers", 0, "resource"), {}),
        (("autoscalerOptions", "securityContext", "runAsNonroot"), True),
    ],
)
def test_a_field_that_kuberay_does_not_know_is_refused(
    path: tuple[str | int, ...], value: object, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    spec = copy.deepcopy(cluster_of(rendered["base"]))
    inner: Any = spec
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    (error,) = Draft7Validator(schema_of(FIELDS["RayCluster"])).iter_errors(spec)
    assert tuple(error.path) in (path, path[:-1])


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_meet_restricted_pod_security(folder: str, rendered: dict[str, list[dict[str, Any]]]) -> None:
    spec = cluster_of(rendered[folder])
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["enableIngress"] is False
    contexts = [c["securityContext"] for group in groups_of(spec) for c in group["template"]["spec"]["containers"]]
    for context in [*contexts, spec["autoscalerOptions"]["securityContext"]]:
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0  # a name, as the image has, cannot be seen not to be root
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "RAY_AUTH_TOKEN" not in yaml.safe_dump(spec)


@pytest.mark.parametrize("folder", FOLDERS)
def test_workers_have_a_separate_account_without_a_token(folder: str, rendered: dict[str, list[dict[str, Any]]]) -> None:
    accounts = {each["metadata"]["name"]: each for each in rendered[folder] if each["kind"] == "ServiceAccount"}
    assert set(accounts) == {"lstm-relay-head", "lstm-relay-worker"}
    assert accounts["lstm-relay-worker"]["automountServiceAccountToken"] is False
    spec = cluster_of(rendered[folder])
    assert spec["headGroupSpec"]["template"]["spec"]["serviceAccountName"] == "lstm-relay-head"
    for group in spec["workerGroupSpecs"]:
        assert group["template"]["spec"]["serviceAccountName"] == "lstm-relay-worker"
        assert group["template"]["spec"]["automountServiceAccountToken"] is False


# The labels of the operator's pod, by how it was installed.
HELM = {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/component": "kuberay-operator"}
KUSTOMIZE = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"}
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_the_cluster_the_operator_and_prometheus_reach_the_pods(
    folder: str, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    (policy,) = [each["spec"] for each in rendered[folder] if each["kind"] == "NetworkPolicy"]
    pods = [group["template"]["metadata"]["labels"] for group in groups_of(cluster_of(rendered[folder]))]

    def ports(labels: dict[str, str]) -> set[int] | None:
        """Return the ports that a pod with these labels reaches; None means all."""
        reached: set[int] = set()
        for rule in policy["ingress"]:
            for source in rule["from"]:
                if source["podSelector"]["matchLabels"].items() <= labels.items():
                    if "ports" not in rule:
                        return None
                    reached |= {each["port"] for each in rule["ports"]}
        return reached

    for labels in pods:
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        assert ports(labels) is None
    assert ports(HELM) == ports(KUSTOMIZE) == {8265}
    assert ports(PROMETHEUS) == {8080}
    # Pods of another Ray cluster, which have KubeRay's labels, are neither selected nor admitted.
    assert ports({"ray.io/is-ray-node": "yes", "ray.io/cluster": "another"}) == set()


@pytest.mark.parametrize(("folder", "cpus", "gpus"), [("base", 16, 0), ("gpu", 16, 4), ("spot", 16, 0), ("job", 16, 0)])
def test_versions_are_the_pinned_ones_and_the_growth_is_that_of_the_workers(
    folder: str, cpus: int, gpus: int, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    spec = cluster_of(rendered[folder])
    assert spec["rayVersion"] == version("ray")
    assert f"FROM rayproject/ray:{version('ray')}-py312\n" in (ROOT / "cluster" / "Dockerfile").read_text()
    environment = {e["name"]: e["value"] for e in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]}
    limits = [
        (group["maxReplicas"], group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for group in spec["workerGroupSpecs"]
    ]
    assert sum(count * int(each["cpu"]) for count, each in limits) == cpus == int(environment["LSTM_RELAY_GROWS_TO_CPUS"])
    assert sum(count * int(each.get("nvidia.com/gpu", "0")) for count, each in limits) == gpus
    assert int(environment.get("LSTM_RELAY_GROWS_TO_GPUS", "0")) == gpus
    assert environment["RAY_health_check_period_ms"] == "1000"


def test_spot_workers_are_tolerated_and_the_head_stays(rendered: dict[str, list[dict[str, Any]]]) -> None:
    spec = cluster_of(rendered["spot"])
    (worker,) = spec["workerGroupSpecs"]
    assert worker["template"]["spec"]["tolerations"][0]["key"] in worker["template"]["spec"]["nodeSelector"]
    assert "nodeSelector" not in spec["headGroupSpec"]["template"]["spec"]


def test_the_job_is_complete_and_retries_errors_that_are_not_of_the_input(
    rendered: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    from workflows.recipe.recipe import load_recipe

    (job,) = [each for each in rendered["job"] if each["kind"] == "RayJob"]
    (recipe,) = [each for each in rendered["job"] if each["kind"] == "ConfigMap"]
    (tmp_path / "recipe.toml").write_text(recipe["data"]["recipe.toml"])
    load_recipe(tmp_path / "recipe.toml")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["volumes"] == [{"name": "recipe", "configMap": {"name": recipe["metadata"]["name"]}}]
    assert job["spec"]["backoffLimit"] == 0  # a retry of KubeRay's builds a new cluster
    assert set(yaml.safe_load(job["spec"]["runtimeEnvYAML"])) == {"env_vars"}
    # Run the entrypoint in a shell, with a `python` that ends with a code and counts its calls.
    for code, calls, ends in ((0, 1, 0), (2, 1, 2), (130, 1, 130), (1, 3, 1)):
        bin_folder = tmp_path / f"bin{code}"
        bin_folder.mkdir()
        stand_in = bin_folder / "python"
        stand_in.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/calls{code}\nexit {code}\n')
        stand_in.chmod(0o755)
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(job["spec"]["entrypoint"], shell=True, env={"PATH": path}, check=False)
        lines = (tmp_path / f"calls{code}").read_text().splitlines()
        assert (process.returncode, len(lines)) == (ends, calls)
        assert lines[0].startswith("-m workflows train /home/ray/recipe/recipe.toml --address auto")


TYPES = {"int|string": ["integer", "string"]}


def schema_of(fields: Any) -> dict[str, Any]:
    """Return the JSON schema of a part of fields.yaml; unknown fields are refused."""
    if isinstance(fields, str):
        return {"type": TYPES.get(fields, fields)}
    if isinstance(fields, list):
        return {"type": "array", "items": schema_of(fields[0])}
    if set(fields) == {"any"}:
        return {"type": "object", "additionalProperties": schema_of(fields["any"])}
    inner = {name: schema_of(each) for name, each in fields.items()}
    return {"type": "object", "properties": inner, "additionalProperties": False}


def strict(schema: Any) -> None:
    """Change a schema so that it refuses unknown fields."""
    if isinstance(schema, dict):
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if "properties" in schema and not open_ended:
            schema["additionalProperties"] = False
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        strict(each)


def differences(fields: Any, schema: dict[str, Any], at: str) -> list[str]:
    """Return the fields of fields.yaml that KubeRay's schema lacks or has with another type."""
    if isinstance(fields, str):
        types = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else schema.get("type")
        return [] if types == TYPES.get(fields, fields) else [f"{at}: {fields}, KubeRay has {types}"]
    if isinstance(fields, list):
        return differences(fields[0], schema.get("items", {}), f"{at}[]")
    if set(fields) == {"any"}:
        # A pod's metadata are open in KubeRay's schema.
        inner = schema.get("additionalProperties")
        return differences(fields["any"], inner, f"{at}.*") if inner else [f"{at}: KubeRay has no map"]
    if schema.get("type") == "object" and not schema.get("properties"):
        return []  # a pod's metadata: any fields
    known = schema.get("properties", {})
    lacking = [f"{at}.{name}: KubeRay has no such field" for name in fields if name not in known]
    return lacking + [
        text for name in fields if name in known for text in differences(fields[name], known[name], f"{at}.{name}")
    ]


CRDS = Path(os.environ.get("KUBERAY_CRDS") or ROOT.parent / "shared" / "kuberay")
NO_CRDS = pytest.mark.skipif(not CRDS.is_dir(), reason=f"there are no schemas of KubeRay in {CRDS}")


def kuberay_schemas(kind: str) -> dict[str, dict[str, Any]]:
    """Return KubeRay's schema of a kind's spec, by version."""
    schemas = {}
    for folder in sorted(CRDS.iterdir()):
        crd = yaml.load((folder / f"{kind.lower()}s.yaml").read_text(), yaml.CSafeLoader)
        (v1,) = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
        schemas[folder.name] = v1["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert schemas
    return schemas


@NO_CRDS
def test_everything_validates_against_kuberays_own_schemas(rendered: dict[str, list[dict[str, Any]]]) -> None:
    documents = [each for folder in FOLDERS for each in rendered[folder] if each["apiVersion"] == "ray.io/v1"]
    for kind in ("RayCluster", "RayJob"):
        for release, schema in kuberay_schemas(kind).items():
            strict(schema)
            validator = Draft7Validator(schema)
            for document in (each for each in documents if each["kind"] == kind):
                assert [error.message for error in validator.iter_errors(document["spec"])] == [], release


@NO_CRDS
@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_every_version_of_kuberay_has_the_fields_of_the_reduced_form(kind: str) -> None:
    deviations = {release: differences(FIELDS[kind], schema, kind) for release, schema in kuberay_schemas(kind).items()}
    assert not any(deviations.values()), deviations
