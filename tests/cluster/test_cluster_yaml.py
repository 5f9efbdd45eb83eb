"""The clusters of Ray's launcher, cluster/aws.yaml and gcp.yaml: valid by Ray's schema, with the least permissions."""

from __future__ import annotations

import fnmatch
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
import tomllib


@pytest.fixture
def aws() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    return config


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_it_is_valid_by_rays_schema_after_the_defaults_of_ray_up(name: str) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text()))
    validate_config(whole)
    assert set(whole["available_node_types"]) == {"head", "worker"}
    with pytest.raises(ValidationError):
        validate_config({**whole, "max_wokers": 3})


def test_aws_machines_have_only_parameters_that_ec2_knows(aws: dict[str, Any]) -> None:
    """Compare the keys of a machine with the parameters of EC2's RunInstances in botocore's model."""
    session = pytest.importorskip("botocore.session").Session()
    model = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    for node in aws["available_node_types"].values():
        assert set(node["node_config"]) <= set(model.members)
        for key in ("IamInstanceProfile", "MetadataOptions", "InstanceMarketOptions"):
            assert set(node["node_config"].get(key, {})) <= set(model.members[key].members)
    worker = aws["available_node_types"]["worker"]
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    profiles = {
        kind: node["node_config"]["IamInstanceProfile"]["Name"] for kind, node in aws["available_node_types"].items()
    }
    assert profiles == {"head": "lstm-relay-head", "worker": "lstm-relay-worker"}


def test_aws_has_no_open_ports_and_every_start_requires_the_token(aws: dict[str, Any]) -> None:
    assert "IpPermissions" not in aws["provider"]["security_group"]  # only Ray's rules: SSH, and the group itself
    for kind in ("head", "worker"):
        start = aws[f"{kind}_start_ray_commands"][-1]
        assert re.search(r"RAY_AUTH_MODE=token.*ray start", start)
    assert "--dashboard-host=127.0.0.1" in aws["head_start_ray_commands"][-1]
    assert aws["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    text = (ROOT / "cluster" / "aws.yaml").read_text()
    assert "0.0.0.0" not in text
    assert not re.search(r"AKIA|aws_secret|RAY_AUTH_TOKEN=", text)


def test_aws_installs_pinned_packages_and_mounts_existing_files(aws: dict[str, Any]) -> None:
    for local in aws["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_file()
    assert any(
        "--extra-index-url CPU_WHEELS -c constraints.txt -r needs.txt" in command for command in aws["setup_commands"]
    )
    pinned = (ROOT / "constraints.txt").read_text()
    assert f"ray=={version('ray')}" in pinned
    assert "boto3==" in pinned


def test_aws_declares_the_cores_that_it_may_grow_to(aws: dict[str, Any]) -> None:
    worker = aws["available_node_types"]["worker"]
    assert worker["max_workers"] <= aws["max_workers"]
    assert (
        f"LSTM_RELAY_GROWS_TO_CPUS={worker['max_workers'] * worker['resources']['CPU']} RAY_health_check_period_ms=1000"
        in aws["head_start_ray_commands"][-1]
    )


def allows(policies: list[dict[str, Any]], action: str, resource: str, **context: str) -> bool:
    """Return whether policies without denials allow an action, as IAM decides for the conditions used here."""
    for statement in (each for policy in policies for each in policy["Statement"]):
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        conditions = statement.get("Condition", {}).get("StringEquals", {})
        if (
            statement["Effect"] == "Allow"
            and any(fnmatch.fnmatchcase(action, each) for each in actions)
            and fnmatch.fnmatchcase(resource, statement["Resource"])
            and all(context.get(key.partition("/")[2]) == value for key, value in conditions.items())
        ):
            return True
    return False


def policy(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "cluster" / "aws" / f"{name}.json").read_text())
    return document


def test_the_head_may_start_workers_and_read_the_image_only(aws: dict[str, Any]) -> None:
    head, worker = [policy("head-policy"), policy("bucket-policy")], [policy("bucket-policy")]
    image = aws["available_node_types"]["head"]["node_config"]["ImageId"].removeprefix("resolve:ssm:")
    for action in ("ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstances", "ec2:DescribeImages"):
        assert allows(head, action, "*")
        assert not allows(worker, action, "*")
    assert allows(head, "ssm:GetParameters", f"arn:aws:ssm:us-west-2::parameter{image}")
    tag = {"ray-cluster-name": aws["cluster_name"]}
    assert allows(head, "ec2:TerminateInstances", "arn:aws:ec2:us-west-2:1:instance/i-1", **tag)
    assert not allows(
        head, "ec2:TerminateInstances", "arn:aws:ec2:us-west-2:1:instance/i-2", **{"ray-cluster-name": "other"}
    )
    assert allows(head, "iam:PassRole", "arn:aws:iam::ACCOUNT:role/lstm-relay-worker")
    for denied in ("iam:PassRole", "iam:CreateRole", "iam:AttachRolePolicy"):
        assert not allows(head, denied, "arn:aws:iam::ACCOUNT:role/lstm-relay-head")
        assert not allows(worker, denied, "arn:aws:iam::ACCOUNT:role/lstm-relay-worker")
    for role in (head, worker):
        assert allows(role, "s3:ListBucket", "arn:aws:s3:::BUCKET")
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allows(role, action, "arn:aws:s3:::BUCKET/runs/x")
            assert not allows(role, action, "arn:aws:s3:::another/x")


def test_rays_launcher_works_with_the_documented_roles(
    aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Start Ray's launcher on moto's EC2 and IAM: it finds subnets and makes the security group.

    Then start, tag and end a machine as the head's autoscaler does: the head's role allows each call, the workers' none.
    moto has no simulate_principal_policy; `allows` replaces it.
    """
    import boto3
    from botocore.client import BaseClient
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME, TAG_RAY_NODE_STATUS

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tester")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    (tmp_path / ".ssh").mkdir()
    with mock_aws():
        iam = boto3.client("iam")
        statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        for role in ("lstm-relay-head", "lstm-relay-worker"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
            iam.put_role_policy(RoleName=role, PolicyName="bucket", PolicyDocument=json.dumps(policy("bucket-policy")))
            iam.create_instance_profile(InstanceProfileName=role)
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        written = json.dumps(policy("head-policy")).replace("ACCOUNT", "123456789012")
        iam.put_role_policy(RoleName="lstm-relay-head", PolicyName="machines", PolicyDocument=written)
        config = bootstrap_aws(prepare_config(aws))
        for node in config["available_node_types"].values():
            assert node["node_config"]["SubnetIds"]
            assert node["node_config"]["SecurityGroupIds"]
            assert "KeyName" in node["node_config"]
        (group,) = {
            number for node in config["available_node_types"].values() for number in node["node_config"]["SecurityGroupIds"]
        }
        rules = boto3.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        outside = [rule for rule in rules if rule["IpRanges"]]
        assert [(rule["FromPort"], rule["ToPort"]) for rule in outside] == [(22, 22)]

        called: list[str] = []
        call = BaseClient._make_api_call

        def noted(self: Any, operation: str, arguments: Any) -> Any:
            called.append(f"{self.meta.service_model.service_name}:{operation}")
            return call(self, operation, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", noted)
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_NODE_NAME: "worker", TAG_RAY_NODE_STATUS: "uninitialized"}
        node = dict(config["available_node_types"]["worker"]["node_config"])
        (machine,) = provider.create_node(node, tags, 1)
        assert provider.non_terminated_nodes({}) == [machine]
        provider.set_node_tags(machine, {TAG_RAY_NODE_STATUS: "up-to-date"})
        provider.terminate_node(machine)
        assert provider.non_terminated_nodes({}) == []
        expected = {f"ec2:{name}" for name in ("RunInstances", "DescribeInstances", "CreateTags", "TerminateInstances")}
        assert set(called) == expected
        roles = iam.get_instance_profile(InstanceProfileName=node["IamInstanceProfile"]["Name"])["InstanceProfile"]["Roles"]
        head, worker = [json.loads(written), policy("bucket-policy")], [policy("bucket-policy")]
        context = {"ray-cluster-name": config["cluster_name"]}  # Ray's tag of every machine
        for action in expected:
            assert allows(head, action, f"arn:aws:ec2:us-west-2:123456789012:instance/{machine}", **context)
            assert not allows(worker, action, f"arn:aws:ec2:us-west-2:123456789012:instance/{machine}", **context)
        assert allows(head, "iam:PassRole", roles[0]["Arn"])


def test_abandoned_uploads_are_removed_on_both_clouds() -> None:
    (rule,) = policy("lifecycle")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 2
    (google,) = json.loads((ROOT / "cluster" / "gcp-lifecycle.json").read_text())["rule"]
    assert google["action"]["type"] == "AbortIncompleteMultipartUpload"


def test_the_image_copies_existing_files_and_installs_pinned_packages() -> None:
    text = (ROOT / "cluster" / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {"pyproject.toml", "constraints.txt", "data", "models", "workflows", "cluster"}
    assert all((ROOT / name).exists() for name in copied)
    command = re.search(r'python -c "(.*)"', text)
    assert command is not None
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "-c constraints.txt -r /tmp/needs.txt" in text
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(allowed) == copied  # everything else is excluded: environments, runs, history
