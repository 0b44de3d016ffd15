from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.config.config import Config, load_config
from pgvault.hosts.jobs import JOBS, jobs_of
from pgvault.schedule import read_cron
from tests.helm.cases import BASE, CASES, DSN, MAIN, one
from tests.helm.cases import JOBS as NAMES
from tests.helm.chart import EXAMPLES, Document, Rendered, merged, render, workloads

pytestmark = pytest.mark.endurance
CLUSTER = "pgvault/cluster"
COMPONENT = "app.kubernetes.io/component"


WITH_CLUSTERS = [name for name in CASES if CASES[name]["clusters"]]


@pytest.fixture(scope="module", params=[*WITH_CLUSTERS, *(path.stem for path in EXAMPLES)])
def name(request: pytest.FixtureRequest) -> str:
    """A case that has clusters, or an example."""
    return str(request.param)


@pytest.fixture
def rendered(name: str, case_of: Callable[[str], tuple[Path, Rendered]]) -> Rendered:
    """What it becomes."""
    return case_of(name)[1]


def configurations(rendered: Rendered, directory: Path) -> Iterator[tuple[Document, Config]]:
    """Every ConfigMap that has a configuration, and what pgvault reads in it."""
    for number, document in enumerate(rendered.of("ConfigMap")):
        if "pgvault.yaml" in document["data"]:
            path = directory / f"{number}.yaml"
            path.write_text(document["data"]["pgvault.yaml"])
            yield document, load_config(path)


def command_lines(job: Document) -> list[tuple[str, ...]]:
    """What a CronJob calls, in order."""
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [tuple(each["args"]) for each in (*pod.get("initContainers", ()), *pod["containers"])]


def jobs_by_cluster(rendered: Rendered) -> dict[str, dict[str, Document]]:
    """CronJobs by the cluster that their commands name, and by their own name in `schedule:`."""
    found: dict[str, dict[str, Document]] = {}
    for each in rendered.of("CronJob"):
        (cluster,) = {line[line.index("--cluster") + 1] for line in command_lines(each)}
        found.setdefault(cluster, {})[each["metadata"]["labels"][COMPONENT]] = each
    return found


@pytest.fixture
def values(name: str, case_of: Callable[[str], tuple[Path, Rendered]]) -> dict[str, Any]:
    """What it was rendered with."""
    read: dict[str, Any] = yaml.safe_load(case_of(name)[0].read_text())
    return read


def test_pgvault_reads_what_is_rendered(values: dict[str, Any], rendered: Rendered, tmp_path: Path) -> None:
    """Each cluster's own file has that cluster alone; the fleet's has them all, alike."""
    names = [each["name"] for each in values["clusters"]]
    alone: dict[str, object] = {}
    fleet: list[Config] = []
    for _, config in configurations(rendered, tmp_path):
        if len(config.clusters) == 1 and (only := next(iter(config.clusters))) not in alone:
            alone[only] = config.clusters[only]
        else:
            fleet.append(config)
        assert config.timezone == (values["config"].get("timezone") or "UTC")

    assert sorted(alone) == sorted(names)
    has_fleet = bool(rendered.of("Deployment"))
    assert [dict(each.clusters) for each in fleet] == ([alone] if has_fleet else [])


def test_pods_mount_the_configuration_that_names_their_cluster(rendered: Rendered, tmp_path: Path) -> None:
    """Where PGVAULT_CONFIG says it is."""
    read = {document["metadata"]["name"]: config for document, config in configurations(rendered, tmp_path)}
    for work in workloads(rendered):
        maps = {each["name"]: each["configMap"]["name"] for each in work.pod["volumes"] if "configMap" in each}
        for container in work.containers:
            (place,) = [each["value"] for each in container["env"] if each["name"] == "PGVAULT_CONFIG"]
            (volume,) = [m["name"] for m in container["volumeMounts"] if f"{m['mountPath']}/pgvault.yaml" == place]
            clusters = read[maps[volume]].clusters
            if "--cluster" in container["args"]:
                assert list(clusters) == [container["args"][container["args"].index("--cluster") + 1]]
            else:
                assert work.kind == "Deployment" or container["args"] == ["init"]


def test_jobs_are_those_of_the_table(rendered: Rendered, tmp_path: Path) -> None:
    """The same commands, the same deadlines, for the same clusters, as every other scheduler has them."""
    found = jobs_by_cluster(rendered)
    for _, config in configurations(rendered, tmp_path):
        for name, cluster in config.clusters.items():
            wanted = {
                job.name: list(job.lines(name))
                for job in jobs_of(cluster, has_copies=len(config.repository.copies) > 1)
                if cluster.schedule.jobs[job.name] is not None
            }
            assert {job: command_lines(each) for job, each in found.get(name, {}).items()} == wanted


def test_status_counts_the_very_same_slots(rendered: Rendered, tmp_path: Path) -> None:
    """`schedule:` of the configuration is the CronJobs', in the same time zone."""
    found = jobs_by_cluster(rendered)
    seen = 0
    for _, config in configurations(rendered, tmp_path):
        for name, cluster in config.clusters.items():
            for job, document in found.get(name, {}).items():
                assert document["spec"]["schedule"] == cluster.schedule.jobs[job]
                assert document["spec"]["timeZone"] == config.timezone
                seen += 1
    assert seen >= len(rendered.of("CronJob"))


def test_deadlines_are_the_tables(tmp_path: Path) -> None:
    """Where nobody said otherwise."""
    jobs = jobs_by_cluster(render(tmp_path, BASE))["main"]

    deadlines = {name: each["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] for name, each in jobs.items()}
    assert deadlines == {name: JOBS[name].deadline_seconds for name in NAMES}
    assert tuple(JOBS) == NAMES


def test_what_was_said_is_taken_as_it_is(tmp_path: Path) -> None:
    """Words, nicknames, five fields, off; what nobody said keeps its hour, at a minute of its own."""
    said = {"backup": "daily", "drill": "@weekly", "verify": "5 4 1,15 * *", "copy": "hourly", "expire": "off"}
    jobs = jobs_by_cluster(render(tmp_path, one({"schedule": said})))["main"]
    schedules = {name: each["spec"]["schedule"] for name, each in jobs.items()}

    assert {name: schedules.get(name, "off") for name in said} == {
        name: "off" if text == "off" else read_cron(text) for name, text in said.items()
    }
    minute, *rest = schedules["logical"].split()
    assert 0 <= int(minute) < 60
    assert rest == ["2", "*", "*", "0"]


def test_a_name_of_anothers_kind_is_not_confused(tmp_path: Path) -> None:
    """`a-b` and `a_b` are two clusters, and `a` with a job is not the cluster `a-backup`."""
    names = ["a-b", "a_b", "a", "a-backup", "a-backup-config"]
    clusters = [{"name": name, "config": {"dsn": DSN}} for name in names]
    rendered = render(tmp_path, merged(BASE, {"clusters": clusters}))

    assert sorted(jobs_by_cluster(rendered)) == sorted(names)
    objects = [(each["kind"], each["metadata"]["name"]) for each in rendered.documents]
    assert len(set(objects)) == len(objects)


def test_a_change_of_one_cluster_restarts_no_other(tmp_path: Path) -> None:
    """Nothing that belongs to another cluster changes with it."""
    second = {"name": "second", "config": {"dsn": DSN}}
    before = render(tmp_path, merged(BASE, {"clusters": [MAIN, second]}))
    changed = merged(MAIN, {"config": {"stream": {"every": "3s"}}})
    after = render(tmp_path, merged(BASE, {"clusters": [changed, second]}))

    def of(rendered: Rendered, cluster: str) -> list[Document]:
        return [each for each in rendered.documents if each["metadata"]["labels"].get(CLUSTER) == cluster]

    assert of(before, "second") == of(after, "second") != []
    assert of(before, "main") != of(after, "main")


def test_a_stream_starts_anew_for_what_it_reads_alone(tmp_path: Path) -> None:
    """Another interval is such a thing, another check is not."""

    def pod(entry: dict[str, Any]) -> object:
        return render(tmp_path, one(entry)).one("StatefulSet")["spec"]["template"]

    usual = pod({})
    assert pod({"config": {"checks": []}, "schedule": {"drill": "off"}}) == usual
    assert pod({"config": {"stream": {"every": "3s"}}}) != usual


def test_a_secret_that_one_cluster_lacks_blinds_nobody_to_the_others(
    case_of: Callable[[str], tuple[Path, Rendered]],
) -> None:
    """To metrics and alerts every Secret is optional, to what works with it none."""
    seen = set()
    for name in ("alerts", "fleet"):
        for work in workloads(case_of(name)[1]):
            volumes = [each["secret"] for each in work.pod["volumes"] if "secret" in each]
            variables = [
                each["valueFrom"] for container in work.containers for each in container["env"] if "valueFrom" in each
            ]
            is_optional = [
                each.get("optional", False) for each in (*volumes, *(each["secretKeyRef"] for each in variables))
            ]
            assert set(is_optional) == {work.kind == "Deployment"}, work.name
            seen.add((work.kind, bool(variables)))
    assert {("Deployment", True), ("CronJob", True), ("StatefulSet", False)} <= seen


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Numbers that Helm keeps as floats, texts that YAML takes for others, SQL of several lines, braces."""
    texts = ["1e3", "0123", "on", "null", "a: b # c", "SELECT 1 -- {{ .Values }}\n\n  FROM \"ü☃\"\n WHERE a = 'b\\n'\n"]
    checks = [{"name": f"c{n}", "severity": "warn", "threshold": 0, "query": text} for n, text in enumerate(texts)]
    entry = {"checks": checks, "max_rate": 33554432, "logical": {"spool_limit": 268435456, "databases": ["1e3", "on"]}}
    for _, config in configurations(render(tmp_path, one({"config": entry})), tmp_path):
        read = config.clusters["main"]
        assert [getattr(each, "query", None) for each in read.checks] == texts
        assert (read.max_rate, read.logical.spool_limit) == (33554432, 268435456)
        assert read.logical.databases == ("1e3", "on")


def test_configurations_hold_references_alone(rendered: Rendered) -> None:
    """Whatever is called a key or a password is a file: or env:, and no Secret is made."""

    def look(value: object, key: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for name, below in value.items():
                yield from look(below, str(name))
        elif key in ("key", "password", "access_key", "secret_key", "checks_password", "primary_password"):
            yield str(value)

    found = [each for document in rendered.of("ConfigMap") for each in look(_read(document))]
    assert found
    assert {each.partition(":")[0] for each in found} <= {"file", "env"}
    assert not rendered.of("Secret")


def _read(document: Document) -> object:
    return yaml.safe_load(document["data"].get("pgvault.yaml", "{}"))
