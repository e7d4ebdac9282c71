"""cluster/kuberay.yaml: its pods by Kubernetes' own models, the rest by KubeRay's definition as we read it.

KubeRay's whole definition (a CustomResourceDefinition of 25,000 lines) is not ours to ship: where
`RAYDARTS_KUBERAY_CRD` names a file with it, the RayJob is held against all of it. It is
`ray-operator/config/crd/bases/ray.io_rayjobs.yaml` of github.com/ray-project/kuberay, or what
`kubectl get crd rayjobs.ray.io -o yaml` prints.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cluster.test_cluster_files import read

# github.com/ray-project/kuberay, v1.7.0, ray-operator/config/crd/bases/ray.io_rayjobs.yaml, version v1: the fields
# that the file uses, with their types, and what is required.
STRING, BOOLEAN, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
POD = {"type": "object", "required": ["spec"]}


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


STRINGS = {"type": "object", "additionalProperties": STRING}
RAY_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(("name",), name={"type": "string", "maxLength": 47, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}),
    spec=fields(
        entrypoint=STRING,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=NUMBER,
        shutdownAfterJobFinishes=BOOLEAN,
        ttlSecondsAfterFinished=NUMBER,
        rayClusterSpec=fields(
            ("headGroupSpec",),
            rayVersion=STRING,
            authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=STRING),
            enableInTreeAutoscaling=BOOLEAN,
            autoscalerOptions=fields(version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=NUMBER),
            headGroupSpec=fields(("template",), serviceType=STRING, rayStartParams=STRINGS, template=POD),
            workerGroupSpecs={
                "type": "array",
                "items": fields(
                    ("groupName", "maxReplicas", "minReplicas", "template"),
                    groupName=STRING,
                    replicas=NUMBER,
                    minReplicas=NUMBER,
                    maxReplicas=NUMBER,
                    rayStartParams=STRINGS,
                    template=POD,
                ),
            },
        ),
    ),
)


@pytest.fixture
def job() -> dict[str, Any]:
    return read("kuberay")


@pytest.fixture
def cluster(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["rayClusterSpec"]
    return found


def pods(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def test_every_field_is_one_that_kuberay_has(job: dict[str, Any]) -> None:
    jsonschema.validate(job, RAY_JOB)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 0
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        jsonschema.validate(job, RAY_JOB)


def closed(schema: Any) -> Any:
    """A definition's schema that refuses unknown fields, as the API server does with strict validation."""
    if isinstance(schema, dict):
        found = {key: closed(value) for key, value in schema.items()}
        if "properties" in found and not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
        if found.pop("x-kubernetes-int-or-string", False):
            found = {"type": ["integer", "string"]}
        return found
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.skipif("RAYDARTS_KUBERAY_CRD" not in os.environ, reason="RAYDARTS_KUBERAY_CRD names no definition")
def test_job_is_valid_by_the_whole_kuberay_definition(job: dict[str, Any]) -> None:
    definition = yaml.safe_load(Path(os.environ["RAYDARTS_KUBERAY_CRD"]).read_text())
    (version,) = (found for found in definition["spec"]["versions"] if found["name"] == "v1")
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    check = jsonschema.Draft202012Validator(closed(spec))
    check.validate(job["spec"])
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["container"] = []
    assert not check.is_valid(job["spec"])


def test_its_pods_are_pods(cluster: dict[str, Any]) -> None:
    from kubernetes.client import models

    for pod in pods(cluster):
        assert not list(strange(pod, "V1PodTemplateSpec", models, ""))
    wrong = {"spec": {"containers": [{"name": "x", "imag": "y"}], "restartPolicy": 3}}
    assert len(list(strange(wrong, "V1PodTemplateSpec", models, ""))) == 2


def strange(value: Any, kind: str, models: Any, at: str) -> Iterator[str]:
    """Where a value is not as Kubernetes' client has it: an unknown field, or another type."""
    if kind.lower().startswith("list["):
        for index, item in enumerate(value):
            yield from strange(item, kind[5:-1], models, f"{at}[{index}]")
    elif kind.lower().startswith("dict"):
        if not all(isinstance(item, str) for item in value.values()):
            yield f"{at}: {value}"
    elif hasattr(models, kind):
        model = getattr(models, kind)
        names = {shown: name for name, shown in model.attribute_map.items()}
        for key, item in value.items():
            if key not in names:
                yield f"{at}.{key}"
            else:
                yield from strange(item, model.openapi_types[names[key]], models, f"{at}.{key}")
    elif not isinstance(value, {"str": str, "bool": bool, "int": int}[kind]):
        yield f"{at}: {value!r} is no {kind}"


def test_the_token_is_a_secret_and_asked_for_everywhere(cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "raydarts-token"}
    for pod in pods(cluster):
        variables = {entry["name"]: entry for entry in pod["spec"]["containers"][0]["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        assert "RAY_AUTH_TOKEN" not in variables  # KubeRay's, from the secret


def test_no_way_in_from_outside_and_no_extra_rights(cluster: dict[str, Any]) -> None:
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for pod in pods(cluster):
        assert not pod["spec"].get("hostNetwork")
        for container in pod["spec"]["containers"]:
            assert "ports" not in container
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_gpu_pods_come_from_zero_and_leave_with_the_job(job: dict[str, Any], cluster: dict[str, Any]) -> None:
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    assert 0 < cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 1800
    assert cluster["enableInTreeAutoscaling"] is True
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    most = f"CPU={group['maxReplicas'] * int(limits['cpu'])},GPU={group['maxReplicas'] * int(limits['nvidia.com/gpu'])}"
    for pod in pods(cluster):
        variables = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
        assert variables["RAYDARTS_CLUSTER_MAXIMUM"] == most
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
