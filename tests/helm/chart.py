"""The chart as Helm renders it, and what kubeconform says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pgvault.process import Finished, attempt
from tests.archive import ROOT
from tests.helm.tools import KUBERNETES, helm, kubeconform

CHART = ROOT / "helm" / "pgvault"
EXAMPLES = tuple(sorted((ROOT / "helm" / "examples").glob("*.yaml")))
RELEASE = "vault"
TIMEOUT_SECONDS = 300
Document = Mapping[str, Any]
Values = Mapping[str, Any]


def merged(below: Values, above: Values) -> dict[str, Any]:
    """Lay values over others as Helm does: mappings key by key, all else as a whole."""
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        is_deeper = isinstance(value, Mapping) and isinstance(lower, Mapping)
        result[key] = merged(lower or {}, value) if is_deeper else value
    return result


def call_helm(command: str, values: Path, *words: str, release: str = RELEASE, chart: Path = CHART) -> Finished:
    """Run `helm template` or `helm lint` on the chart with a values file."""
    names = [release] if command == "template" else []
    options = ["--namespace=backups", f"--kube-version={KUBERNETES}"]  # which one Helm takes depends on who built it
    argv: list[str | Path] = [helm(), command, *names, chart, *options, f"--values={values}", *words]
    return attempt(argv, timeout=TIMEOUT_SECONDS)


def write_values(directory: Path, values: Values) -> Path:
    """Write a values file: as JSON, since PyYAML leaves "1e3" bare, and Helm takes that for a number."""
    path = directory / "values.yaml"
    path.write_text(json.dumps(values, ensure_ascii=False))
    return path


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one set of values becomes."""

    text: str
    documents: tuple[Document, ...]

    def of(self, *kinds: str) -> tuple[Document, ...]:
        """Every document of these kinds."""
        return tuple(each for each in self.documents if each["kind"] in kinds)

    def one(self, kind: str) -> Document:
        """The only document of a kind."""
        (found,) = self.of(kind)
        return found

    def named(self, kind: str, name: str) -> Document:
        """The document of that name."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found


def render(directory: Path, values: Values) -> Rendered:
    """Render the chart; raise AssertionError with Helm's words where it refuses."""
    return render_file(write_values(directory, values))


def render_file(values: Path, *, release: str = RELEASE) -> Rendered:
    """Render the chart with a values file."""
    finished = call_helm("template", values, release=release)
    assert finished.status == 0, finished.errors
    documents = tuple(each for each in yaml.load_all(finished.output, Loader=yaml.CSafeLoader) if each is not None)
    assert documents, "nothing was rendered"
    return Rendered(finished.output, documents)


def refusal(directory: Path, values: Values, *, release: str = RELEASE) -> str:
    """Return what Helm says of values that must not render."""
    finished = call_helm("template", write_values(directory, values), release=release)
    assert finished.status != 0, finished.output
    return finished.errors


def complaints(schemas: Path, files: Sequence[Path], *, count: int) -> list[str]:
    """Return what is wrong with rendered files, by strict schemas; a kind that has none is wrong as well."""
    location = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    words = ["-strict", "-summary", "-output=json", "-n=2", f"-schema-location={location}"]
    told = json.loads(attempt([kubeconform(), *words, *files], timeout=TIMEOUT_SECONDS).output)
    looked_at = {key: told["summary"][key] for key in ("valid", "invalid", "errors")}
    assert (told["summary"]["skipped"], sum(looked_at.values())) == (0, count), told["summary"]
    return [f"{each['filename']}, {each['kind']} {each['name']}: {each['msg']}" for each in told.get("resources", ())]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that starts pods."""

    kind: str
    name: str
    labels: Mapping[str, str]  # of its pods
    pod: Mapping[str, Any]  # its pods' spec

    @property
    def containers(self) -> tuple[Mapping[str, Any], ...]:
        """Every container in the order in which they are started."""
        return (*self.pod.get("initContainers", ()), *self.pod["containers"])


def workloads(rendered: Rendered) -> Iterator[Workload]:
    """Yield everything that starts pods."""
    for document in rendered.documents:
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            metadata = spec["template"].get("metadata", {})
            name = document["metadata"]["name"]
            yield Workload(document["kind"], name, metadata.get("labels", {}), spec["template"]["spec"])
        assert document["kind"] not in ("Pod", "ReplicaSet", "DaemonSet", "ReplicationController"), document
