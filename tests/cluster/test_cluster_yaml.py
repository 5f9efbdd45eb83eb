"""The clusters that are described in cluster/*.yaml: by Ray's own schema, by KubeRay's fields, and closed to the outside."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The fields of KubeRay's v1 API (1.5.1) and of Kubernetes that these files may use: a name that is misspelt is an error.
AUTOSCALER = {"version", "idleTimeoutSeconds", "resources", "upscalingMode", "image", "imagePullPolicy", "env", "envFrom"}
CLUSTER = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
}  # fmt: skip
JOB = {
    "entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "runtimeEnvYAML", "rayClusterSpec", "entrypointNumCpus", "jobId", "metadata", "suspend",
}  # fmt: skip
HEAD_GROUP = {"serviceType", "enableIngress", "rayStartParams", "template", "headService"}
WORKER_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams", "template"}
CONTAINER = {"name", "image", "env", "envFrom", "resources", "ports", "securityContext", "volumeMounts", "command", "args"}


def documents(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((ROOT / "cluster" / name).read_text()) if each]


def ray_cluster(name: str) -> dict[str, Any]:
    (found,) = [each for each in documents(name) if each["apiVersion"] == "ray.io/v1"]
    spec: dict[str, Any] = found["spec"]
    return spec["rayClusterSpec"] if found["kind"] == "RayJob" else spec


@pytest.fixture
def aws() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    return found


def test_aws_is_valid_by_rays_own_schema_and_completes_as_ray_up_does(aws: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(aws)
    validate_config(whole)
    assert set(whole["available_node_types"]) == {"head", "worker"}
    with pytest.raises(ValidationError):
        validate_config({**whole, "max_wokers": 3})


def test_aws_machines_fill_themselves_and_take_the_names_that_ec2_knows(aws: dict[str, Any]) -> None:
    """Every key of a machine is a parameter of EC2's RunInstances, by botocore's own model of it."""
    session = pytest.importorskip("botocore.session").Session()
    model = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    for node in aws["available_node_types"].values():
        assert set(node["node_config"]) <= set(model.members)
        for key in ("IamInstanceProfile", "MetadataOptions", "InstanceMarketOptions"):
            assert set(node["node_config"].get(key, {})) <= set(model.members[key].members)
    worker = aws["available_node_types"]["worker"]
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert (
        worker["node_config"]["IamInstanceProfile"]
        == aws["available_node_types"]["head"]["node_config"]["IamInstanceProfile"]
    )


def test_aws_is_closed_and_every_start_wants_the_token(aws: dict[str, Any]) -> None:
    assert "IpPermissions" not in aws["provider"]["security_group"]  # nothing but Ray's own rules: SSH, and the group itself
    for kind in ("head", "worker"):
        start = aws[f"{kind}_start_ray_commands"][-1]
        assert re.search(r"RAY_AUTH_MODE=token.*ray start", start)
    assert "--dashboard-host=127.0.0.1" in aws["head_start_ray_commands"][-1]
    assert aws["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    text = (ROOT / "cluster" / "aws.yaml").read_text()
    assert "0.0.0.0" not in text
    assert not re.search(r"AKIA|aws_secret|RAY_AUTH_TOKEN=", text)


def test_aws_installs_what_is_pinned_and_mounts_files_that_are_there(aws: dict[str, Any]) -> None:
    for local in aws["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_file()
    assert any("-c constraints.txt -r needs.txt" in command for command in aws["setup_commands"])
    pinned = (ROOT / "constraints.txt").read_text()
    assert f"ray=={version('ray')}" in pinned
    assert "boto3==" in pinned


def test_aws_says_what_it_may_grow_to(aws: dict[str, Any]) -> None:
    worker = aws["available_node_types"]["worker"]
    assert worker["max_workers"] <= aws["max_workers"]
    assert (
        f"LSTM_RELAY_GROWS_TO_CPUS={worker['max_workers'] * worker['resources']['CPU']};"
        in aws["head_start_ray_commands"][-1]
    )


@pytest.mark.parametrize(("name", "kind"), [("kuberay-cluster.yaml", "RayCluster"), ("kuberay-job.yaml", "RayJob")])
def test_kuberay_files_have_fields_that_kuberay_knows(name: str, kind: str) -> None:
    (found,) = [each for each in documents(name) if each["kind"] == kind]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", found["metadata"]["name"])  # KubeRay takes up to 47 letters
    assert set(found["spec"]) <= (JOB if kind == "RayJob" else CLUSTER)
    spec = ray_cluster(name)
    assert set(spec) <= CLUSTER
    assert set(spec.get("autoscalerOptions", {})) <= AUTOSCALER
    assert set(spec["headGroupSpec"]) <= HEAD_GROUP
    groups = spec["workerGroupSpecs"]
    for group in groups:
        assert set(group) <= WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *groups):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # KubeRay wants text
        for container in group["template"]["spec"]["containers"]:
            assert set(container) <= CONTAINER
            assert container["resources"]["requests"] == container["resources"]["limits"]
            for variable in container.get("env", []):
                assert isinstance(variable.get("value", ""), str)


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_kuberay_clusters_are_closed_and_want_the_token(name: str) -> None:
    spec = ray_cluster(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["enableIngress"] is False
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            context = container["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0  # a name, as the image has, cannot be seen not to be root
            assert context["allowPrivilegeEscalation"] is False
    for document in documents(name):
        assert document["kind"] in ("RayCluster", "RayJob", "ServiceAccount", "NetworkPolicy")
    assert "RAY_AUTH_TOKEN" not in yaml.safe_dump(spec)


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_kuberay_versions_are_the_pinned_one_and_the_growth_is_that_of_the_workers(name: str) -> None:
    spec = ray_cluster(name)
    assert spec["rayVersion"] == version("ray")
    assert f"FROM rayproject/ray:{version('ray')}-py312\n" in (ROOT / "cluster" / "Dockerfile").read_text()
    most = sum(
        group["maxReplicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in spec["workerGroupSpecs"]
    )
    environment = {
        each["name"]: each.get("value") for each in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environment["LSTM_RELAY_GROWS_TO_CPUS"] == str(most)


def test_the_entrypoint_of_the_ray_job_is_a_command_that_there_is() -> None:
    from typer.testing import CliRunner

    from workflows.__main__ import app

    (job,) = documents("kuberay-job.yaml")
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "workflows"]
    result = CliRunner().invoke(app, words[3:])
    assert result.exit_code == 2  # all options are known; the recipe is not on this machine
    assert "/home/ray/recipe/recipe.toml: there is no such file" in result.stderr
    assert set(yaml.safe_load(job["spec"]["runtimeEnvYAML"])) == {"env_vars"}


def test_the_image_copies_what_is_there_and_installs_what_is_pinned() -> None:
    text = (ROOT / "cluster" / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {"pyproject.toml", "constraints.txt", "data", "models", "workflows", "cluster"}
    assert all((ROOT / name).exists() for name in copied)
    command = re.search(r'python -c "(.*)"', text)
    assert command is not None
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "-c constraints.txt -r /tmp/needs.txt" in text
