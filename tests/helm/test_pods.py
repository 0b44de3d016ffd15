"""The chart's judges see what they are there for: each weakness by itself, in a pod that has no other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.helm.chart import Rendered
from tests.helm.pods import dangling, misnamed, unselected, weaknesses

STRONG = {
    "serviceAccountName": "vault",
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "backup",
            "args": ["backup"],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def container(pod: dict[str, Any]) -> Any:
    return pod["containers"][0]


def context(pod: dict[str, Any]) -> Any:
    return container(pod)["securityContext"]


WEAKER: dict[str, Callable[[dict[str, Any]], object]] = {
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "hostPID": lambda pod: pod.update(hostPID=True),
    "root": lambda pod: pod["securityContext"].pop("runAsNonRoot"),
    "runAsUser 0": lambda pod: pod["securityContext"].update(runAsUser=0),
    "seccomp": lambda pod: pod["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "sysctls": lambda pod: pod["securityContext"].update(sysctls=[]),
    "hostPath": lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "token": lambda pod: pod.pop("automountServiceAccountToken"),
    "no container": lambda pod: pod["containers"].clear(),
    "gain privileges": lambda pod: context(pod).pop("allowPrivilegeEscalation"),
    "capabilities": lambda pod: context(pod)["capabilities"].update(add=["NET_BIND_SERVICE"]),
    "write to its image": lambda pod: context(pod).update(readOnlyRootFilesystem=False),
    "privileged": lambda pod: context(pod).update(privileged=True),
    "hostPort": lambda pod: container(pod).update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "resources": lambda pod: container(pod)["resources"].pop("limits"),
    "simply call": lambda pod: container(pod).update(command=["/bin/sh", "-c"]),
    "call pgvault": lambda pod: container(pod).update(args=["sh", "-c", "pgvault backup"]),
    "calls no command": lambda pod: container(pod).update(args=[]),
    "environment": lambda pod: container(pod).update(envFrom=[{"secretRef": {"name": "secret"}}]),
    "has capabilities None": lambda pod: pod.update(initContainers=[{**container(pod), "securityContext": {}}]),
}


def rendered(pod: dict[str, Any], **labels: str) -> Rendered:
    """A Deployment of that pod, its account, and a Service before it."""
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b", **labels}}, "spec": pod},
    }
    return Rendered(
        "",
        (
            {"kind": "ServiceAccount", "metadata": {"name": "vault"}},
            {"kind": "Deployment", "metadata": {"name": "one"}, "spec": spec},
            {"kind": "Service", "metadata": {"name": "one"}, "spec": {"selector": {"a": "b"}, "ports": []}},
        ),
    )


def test_a_strong_pod_is_let_through() -> None:
    """Nothing is said of what is as it should be."""
    whole = rendered(STRONG)

    assert list(weaknesses(STRONG)) == []
    assert list(dangling(whole, frozenset({"secret"}), frozenset())) == []
    assert list(misnamed(whole)) == list(unselected(whole)) == []


@pytest.mark.parametrize("told", WEAKER)
def test_a_weaker_one_is_not(told: str) -> None:
    """Whatever the restricted standard asks for, and what we promise beside it."""
    pod = copy.deepcopy(STRONG)
    WEAKER[told](pod)

    assert [each for each in weaknesses(pod) if told in each]


DANGLING: dict[str, Callable[[dict[str, Any]], object]] = {
    "no service account": lambda pod: pod.update(serviceAccountName="other"),
    "no Secret secrets": lambda pod: container(pod)["env"][0]["valueFrom"]["secretKeyRef"].update(name="secrets"),
    "variable PASSWORD is given twice": lambda pod: container(pod)["env"].append({"name": "PASSWORD", "value": ""}),
    "no ConfigMap": lambda pod: pod["volumes"].append({"name": "a", "configMap": {"name": "missing"}}),
    "no Secret missing": lambda pod: pod["volumes"].append({"name": "a", "secret": {"secretName": "missing"}}),
    "no claim": lambda pod: pod["volumes"].append({"name": "a", "persistentVolumeClaim": {"claimName": "missing"}}),
    "mounted nowhere": lambda pod: pod["volumes"].append({"name": "a", "emptyDir": {}}),
    "no volume tmp": lambda pod: pod["volumes"].clear(),
    "two volumes": lambda pod: pod["volumes"].append({"name": "tmp", "emptyDir": {}}),
    "/tmp is mounted twice": lambda pod: container(pod)["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"}),
}


@pytest.mark.parametrize("told", DANGLING)
def test_what_is_not_there_is_told(told: str) -> None:
    """A volume, a Secret, an account, a claim; and what is there twice."""
    pod = copy.deepcopy(STRONG)
    DANGLING[told](pod)

    assert [each for each in dangling(rendered(pod), frozenset({"secret"}), frozenset()) if told in each]


def test_names_that_do_not_fit_are_told() -> None:
    """Too long, not a name, twice; a label's value that Kubernetes refuses."""
    for name in ("a" * 53, "A", "a_b", "-a", "", "1a"):
        assert list(misnamed(Rendered("", ({"kind": "Service", "metadata": {"name": name}},))))
    assert list(misnamed(Rendered("", ({"kind": "Service", "metadata": {"name": "a"}},) * 2)))
    for value in ("end-", "x" * 64, "a b"):
        assert list(misnamed(rendered(STRONG, cluster=value)))


def test_a_selector_that_misses_is_told() -> None:
    """A Service that selects the pods of two, or of none."""
    one = rendered(STRONG)
    account, work, service = one.documents

    assert list(unselected(Rendered("", (account, service))))
    assert list(unselected(Rendered("", (work, {**work, "metadata": {"name": "two"}}, service))))
