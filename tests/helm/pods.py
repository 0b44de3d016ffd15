"""What a pod spec may be: Kubernetes' "restricted" standard and a little more, and that all it refers to is there.

Written from the standard's text (kubernetes.io, Pod Security Standards), not from the chart. A complaint is a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.helm.chart import Rendered, Workload, workloads

Spec = Mapping[str, Any]
VOLUMES = frozenset(
    {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
SHELLS = re.compile(r"(^|/)(ba|da|z|k)?sh$")


def weaknesses(pod: Spec) -> Iterator[str]:
    """Say where a pod is weaker than the restricted standard, or than we promise beside it."""
    for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace", "ephemeralContainers"):
        if key in pod:
            yield f"pod has {key}"
    yield from _weak_context(pod.get("securityContext", {}))
    for volume in pod.get("volumes", ()):
        for kind in sorted(set(volume) - {"name"} - VOLUMES):
            yield f"volume {volume['name']} is a {kind}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "pod gets a token for Kubernetes' own API"
    if not pod.get("containers"):
        yield "pod has no container"
    for container in (*pod.get("initContainers", ()), *pod.get("containers", ())):
        yield from (f"container {container['name']} {each}" for each in _weaknesses(container))


def _weak_context(context: Spec) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True:
        yield "pod may run as root"
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if not isinstance(context.get(key), int) or context[key] == 0:
            yield f"pod has {key} {context.get(key)!r}"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "pod has no seccomp profile"
    for key in sorted({"sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"} & set(context)):
        yield f"pod has {key}"


def _weaknesses(container: Spec) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"has capabilities {context.get('capabilities')}"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    known = {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
    for key in sorted(set(context) - known):
        yield f"says {key} by itself"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "has a hostPort"
    resources = container.get("resources", {})
    if "memory" not in resources.get("limits", {}) or not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield f"has resources {resources}"
    if "command" in container or any(SHELLS.search(str(word)) for word in container.get("args", ())):
        yield "does not simply call pgvault"
    if not container.get("args"):
        yield "calls no command"
    if any(key in container for key in ("lifecycle", "stdin", "tty", "envFrom")):
        yield "has more than a command and its environment"


def dangling(rendered: Rendered, secrets: frozenset[str], claims: frozenset[str]) -> Iterator[str]:
    """Say what is referred to and is not there; `secrets` and `claims` are those that users bring."""
    accounts = {each["metadata"]["name"] for each in rendered.of("ServiceAccount")}
    maps = {each["metadata"]["name"]: each["data"] for each in rendered.of("ConfigMap")}
    for work in workloads(rendered):
        where = f"{work.kind} {work.name}"
        if work.pod.get("serviceAccountName") not in accounts:
            yield f"{where}: no service account {work.pod.get('serviceAccountName')!r}"
        names = [each["name"] for each in work.pod.get("volumes", ())] + _templates(rendered, work)
        yield from (f"{where}: two volumes are called {name}" for name in set(names) if names.count(name) > 1)
        mounted = {each["name"] for container in work.containers for each in container.get("volumeMounts", ())}
        yield from (f"{where}: no volume {name}" for name in sorted(mounted - set(names)))
        yield from (f"{where}: volume {name} is mounted nowhere" for name in sorted(set(names) - mounted))
        for volume in work.pod.get("volumes", ()):
            yield from (f"{where}: {each}" for each in _missing(volume, maps, secrets, claims))
        for container in work.containers:
            yield from (f"{where}: {each}" for each in _dangling(container, secrets))


def _templates(rendered: Rendered, work: Workload) -> list[str]:
    spec = rendered.named(work.kind, work.name)["spec"]
    return [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", ())]


def _missing(volume: Spec, maps: Mapping[str, Any], secrets: frozenset[str], claims: frozenset[str]) -> Iterator[str]:
    if "configMap" in volume and volume["configMap"]["name"] not in maps:
        yield f"no ConfigMap {volume['configMap']['name']}"
    if "secret" in volume and volume["secret"]["secretName"] not in secrets:
        yield f"no Secret {volume['secret']['secretName']}"
    if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"]["claimName"] not in claims:
        yield f"no claim {volume['persistentVolumeClaim']['claimName']}"


def _dangling(container: Spec, secrets: frozenset[str]) -> Iterator[str]:
    names = [each["name"] for each in container.get("env", ())]
    yield from (f"variable {name} is given twice" for name in set(names) if names.count(name) > 1)
    paths = [each["mountPath"] for each in container["volumeMounts"]]
    yield from (f"{path} is mounted twice" for path in set(paths) if paths.count(path) > 1)
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is not None and reference["name"] not in secrets:
            yield f"no Secret {reference['name']}"


def misnamed(rendered: Rendered) -> Iterator[str]:
    """Say what is called as Kubernetes, or what it appends, does not allow."""
    seen: set[tuple[str, str]] = set()
    for document in rendered.documents:
        kind, name = document["kind"], document["metadata"]["name"]
        # A CronJob's is the shortest, since 11 characters are appended; a Service's begins with a letter (RFC 1035).
        if not LABEL_NAME.fullmatch(name) or len(name) > 52 or (kind == "Service" and not name[0].isalpha()):
            yield f"{kind} is called {name!r}, {len(name)} characters"
        if (kind, name) in seen:
            yield f"two of kind {kind} are called {name!r}"
        seen.add((kind, name))
        yield from (f"{kind} {name}: {each}" for each in _mislabelled(document["metadata"].get("labels", {})))
    for work in workloads(rendered):
        yield from (f"{work.kind} {work.name}: {each}" for each in _mislabelled(work.labels))
        names = [each["name"] for each in work.containers]
        for name in [*names, *(each["name"] for each in work.pod.get("volumes", ()))]:
            if not LABEL_NAME.fullmatch(name):
                yield f"{work.kind} {work.name}: {name!r} is no name"
        if len(set(names)) < len(names):
            yield f"{work.kind} {work.name}: two containers of one name in {names}"
        for port in (port for each in work.containers for port in each.get("ports", ())):
            if not PORT_NAME.fullmatch(port["name"]):
                yield f"{work.kind} {work.name}: {port['name']!r} is no port's name"


def _mislabelled(labels: Mapping[str, object]) -> Iterator[str]:
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
            yield f"label {key}: {value!r}"


def unselected(rendered: Rendered) -> Iterator[str]:
    """Say which selector selects nothing, or more than it means."""
    works = list(workloads(rendered))
    for document in rendered.documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind in ("StatefulSet", "Deployment"):
            found = [each.name for each in works if _selects(spec["selector"]["matchLabels"], each.labels)]
            if found != [name]:
                yield f"{kind} {name} selects pods of {found}"
        if kind == "Service" and spec.get("selector"):
            found = [each.name for each in works if _selects(spec["selector"], each.labels)]
            if len(found) != 1:
                yield f"Service {name} selects pods of {found}"
        if kind == "NetworkPolicy" and not any(
            _selects(spec["podSelector"].get("matchLabels", {}), each.labels) for each in works
        ):
            yield f"NetworkPolicy {name} selects nothing"
        if kind == "ServiceMonitor":
            labels = spec["selector"]["matchLabels"]
            services = [each for each in rendered.of("Service") if _selects(labels, each["metadata"]["labels"])]
            ports = {port["name"] for each in services for port in each["spec"]["ports"]}
            if len(services) != 1 or not {each["port"] for each in spec["endpoints"]} <= ports:
                yield f"ServiceMonitor {name} finds {len(services)} services with ports {sorted(ports)}"


def _selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()
