"""Every file in cluster/: Ray's own validation, its launcher's steps as far as they go offline, and what we promise."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raydarts import __version__
from raydarts.cluster.autoscaling import of_config

FOLDER = Path(__file__).parents[2] / "cluster"
LAUNCHED = ("gpu", "gcp", "onprem")
CLOUDS = ("gpu", "gcp")
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".yaml", ".sh"))
BLANK = re.compile(r"FILL_IN_[A-Z]+(?:_[A-Z]+)*")


def read(name: str, **blanks: str) -> dict[str, Any]:
    """A file with its blanks filled in: those named, the others by their own name in small letters."""
    text = (FOLDER / f"{name}.yaml").read_text()
    text = BLANK.sub(lambda found: blanks.get(found[0], found[0].lower().replace("_", "-")), text)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def header(name: str) -> str:
    lines = (FOLDER / name).read_text().splitlines()
    lines = lines[1:] if lines[0].startswith("#!") else lines
    end = next(index for index, line in enumerate(lines) if not line.startswith("#") or line.startswith("#SBATCH"))
    return "\n".join(lines[:end])


def test_all_of_them_are_looked_at() -> None:
    assert FILES == ["gcp.yaml", "gpu.yaml", "kuberay.yaml", "onprem.yaml", "slurm.sh"]


@pytest.mark.parametrize("name", FILES)
def test_each_opens_with_its_cost_its_blanks_and_three_commands(name: str) -> None:
    opening = header(name)
    for word in ("Costs:", "Fill in:", "Needs:", "up:", "sweep:", "down:"):
        assert re.search(rf"^# +{word} ", opening, re.MULTILINE), f"{word} is not in the opening of {name}"
    blanks = set(BLANK.findall((FOLDER / name).read_text()))
    assert blanks == set(BLANK.findall(opening)), "every blank is named in the opening, and no other"


@pytest.mark.parametrize("name", FILES)
def test_no_secret_and_no_way_in(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(
        r"AKIA|PRIVATE KEY-|(secret|password|api[_-]?key|token) *[:=] *['\"]?[A-Za-z0-9+/]{16}", text, re.I
    )
    assert "0.0.0.0/0" not in text
    assert "::/0" not in text
    if name != "kuberay.yaml":  # there, a pod's own interfaces; what leads to it is a ClusterIP
        assert "0.0.0.0" not in text


def starts(config: dict[str, Any]) -> list[str]:
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_itself_finds_nothing_wrong(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read(name)
    validate_config(prepare_config(config))
    broken = read(name)
    broken["max_worker"] = 3  # the check above can fail
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(broken))


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_start_asks_for_the_token_and_the_dashboard_stays_on_loopback(name: str) -> None:
    config = read(name)
    commands = starts(config)
    assert len(commands) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in commands)
    head = next(command for command in commands if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]


@pytest.mark.parametrize("name", LAUNCHED)
def test_this_version_is_what_is_installed(name: str) -> None:
    config = read(name)
    wheel = f"raydarts-{__version__}-py3-none-any.whl"
    assert config["file_mounts"][f"~/raydarts/{wheel}"] == f"dist/{wheel}"
    assert sum(wheel in command for command in config["setup_commands"]) == 2
    assert sum(f"{wheel}'[cluster]'" in command for command in config["setup_commands"]) == 1, "with the dashboard"
    assert config["file_mounts"]["~/raydarts/constraints.txt"] == "cluster/constraints.txt"
    pinned = (FOLDER / "constraints.txt").read_text()
    assert {"ray", "torch", "torchvision"} <= set(re.findall(r"^(\w+)==\d", pinned, re.MULTILINE))


@pytest.mark.parametrize("name", CLOUDS)
def test_gpu_machines_are_spot_from_zero_and_leave_when_idle(name: str) -> None:
    config = read(name)
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert config["provider"]["cache_stopped_nodes"] is False
    types = config["available_node_types"]
    head, (worker,) = types[config["head_node_type"]], [types[key] for key in types if key != config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert worker["min_workers"] == 0
    assert worker["max_workers"] == config["max_workers"] > 0
    assert worker["resources"]["GPU"] == 1
    node = worker["node_config"]
    spot = node.get("InstanceMarketOptions", {}).get("MarketType") or node["scheduling"]["provisioningModel"]
    assert spot.lower() == "spot"
    assert of_config(config) == {"CPU": 32, "GPU": 8}  # what a sweep plans with while none of them is up


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A simulated AWS."""
    import boto3
    import moto

    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Ray waits 30 s for IAM
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3.client("ec2", region_name="us-west-2")


def test_aws_gives_what_the_file_asks_for_and_opens_nothing(aws: Any, tmp_path: Path) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    subnet = aws.describe_subnets()["Subnets"][0]
    group = aws.create_security_group(GroupName="raydarts", Description="-", VpcId=subnet["VpcId"])["GroupId"]
    aws.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]},
        ],
    )
    image = aws.describe_images()["Images"][0]["ImageId"]
    before = {found["GroupId"] for found in aws.describe_security_groups()["SecurityGroups"]}
    config = read(
        "gpu",
        FILL_IN_REGION="us-west-2",
        FILL_IN_SUBNET=subnet["SubnetId"],
        FILL_IN_SECURITY_GROUP=group,
        FILL_IN_AMI=image,
    )
    config = prepare_config(config)
    validate_config(config)
    config = AWSNodeProvider.bootstrap_config(config)
    assert {found["GroupId"] for found in aws.describe_security_groups()["SecurityGroups"]} == before, (
        "Ray made its own"
    )
    key = Path(config["auth"]["ssh_private_key"])
    assert key.is_relative_to(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind in ("head", "gpu"):
        node = dict(config["available_node_types"][kind]["node_config"])
        provider.create_node(node, {"ray-node-name": kind, "ray-user-node-type": kind}, 1)
    made = [node for group in aws.describe_instances()["Reservations"] for node in group["Instances"]]
    assert {(node["InstanceType"], node.get("InstanceLifecycle")) for node in made} == {
        ("m7i.large", None),
        ("g5.xlarge", "spot"),
    }
    for node in made:
        assert [found["GroupId"] for found in node["SecurityGroups"]] == [group]
        assert node["MetadataOptions"]["HttpTokens"] == "required"
    everyone = [
        rule
        for found in aws.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        for permission in found["IpPermissions"]
        for rule in permission.get("IpRanges", [])
    ]
    assert everyone == [{"CidrIp": "198.51.100.7/32"}]


def test_without_the_group_ray_would_open_ssh_to_the_world(aws: Any) -> None:
    """Why the file must name one: the reason for a blank, and that the check above sees what it looks for."""
    from ray.autoscaler._private.aws import config as launcher

    rules = launcher._create_default_ssh_inbound_rules()
    assert rules[0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    for node in read("gpu")["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["SubnetIds"]


def test_google_cloud_knows_every_field_and_the_network_is_ones_own() -> None:
    """Against the Compute API's own description, which its client brings along."""
    import googleapiclient.discovery_cache as documents
    from ray.autoscaler._private.gcp.config import _configure_subnet

    description = json.loads((Path(documents.__file__).parent / "documents" / "compute.v1.json").read_text())
    config = read("gcp")
    for node in config["available_node_types"].values():
        assert not list(unknown(node["node_config"], description["schemas"]["Instance"], description["schemas"], ""))
    wrong = {"machineType": 4, "disks": [{"bootx": True}]}
    assert len(list(unknown(wrong, description["schemas"]["Instance"], description["schemas"], ""))) == 2
    assert _configure_subnet(config, compute=None) == config  # Ray looks for no network, `default` or other


def unknown(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    """Where a value has a field that the schema does not, or one of another type."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": (int, str),
        "number": (int, float),
    }
    kind = (str, int) if schema.get("format") in ("int64", "uint64") else kinds[schema["type"]]
    if not isinstance(value, kind):
        yield f"{at}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        for key, item in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if below is None:
                yield f"{at}.{key}"
            else:
                yield from unknown(item, below, schemas, f"{at}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown(item, schema["items"], schemas, f"{at}[{index}]")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"


def test_the_launched_commands_are_sound_shell() -> None:
    for name in LAUNCHED:
        config = read(name)
        for key in ("initialization_commands", "setup_commands", "head_setup_commands"):
            for command in [*config.get(key, []), *starts(config)]:
                subprocess.run(["bash", "-n", "-c", command], check=True)
