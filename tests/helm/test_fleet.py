from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helm.cases import ALL, BASE, DSN
from tests.helm.chart import CHART, Rendered, Values, complaints, merged, render
from tests.helm.pods import misnamed

pytestmark = pytest.mark.endurance
COUNT = 500
LIMIT_BYTES = 1 << 20  # of an object in etcd, and so of a ConfigMap and of the Secret in which Helm keeps a release


@pytest.fixture(scope="module")
def values() -> Values:
    """Five hundred clusters that have nothing in common but how they are described."""
    clusters = [
        {"name": f"tenant-{number:03d}", "config": {"dsn": DSN.replace("main", f"tenant-{number:03d}")}}
        for number in range(COUNT)
    ]
    return merged(BASE, {**ALL, "clusters": clusters})


@pytest.fixture(scope="module")
def rendered(values: Values, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """What they become."""
    return render(tmp_path_factory.mktemp("fleet"), values)


def release_bytes(values: Values, rendered: Rendered) -> int:
    """Size of a release as Helm stores it: the chart's files, the values and the manifest, zipped, twice in base64."""
    files = [path for path in sorted(CHART.rglob("*")) if path.is_file()]
    chart = {str(path.relative_to(CHART)): base64.b64encode(path.read_bytes()).decode() for path in files}
    document = {"chart": chart, "config": values, "manifest": rendered.text}
    zipped = gzip.compress(json.dumps(document).encode(), 9)
    return len(base64.b64encode(base64.b64encode(zipped)))


def test_every_cluster_has_all_it_needs(rendered: Rendered) -> None:
    """A stream, its configuration and its jobs; once for all what looks at all of them."""
    kinds = Counter(each["kind"] for each in rendered.documents)

    assert kinds["StatefulSet"] == COUNT
    assert kinds["CronJob"] == COUNT * 7  # no checks
    assert kinds["ConfigMap"] == COUNT + 2  # the fleet's, and the dashboard
    assert kinds["Deployment"] == 1


def test_an_api_server_takes_them_all(rendered: Rendered, schemas: Path, tmp_path: Path) -> None:
    """Strictly; names are apart, and each selector has its own pods."""
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered.text)

    assert complaints(schemas, [path]) == []
    assert list(misnamed(rendered)) == []


def test_it_fits_where_helm_keeps_it(values: Values, rendered: Rendered) -> None:
    """Below 1 MiB, as every ConfigMap is."""
    assert release_bytes(values, rendered) < LIMIT_BYTES
    for each in rendered.of("ConfigMap"):
        assert sum(map(len, each["data"].values())) < LIMIT_BYTES


def test_they_do_not_begin_at_once(rendered: Rendered) -> None:
    """Minutes that nobody gave are spread: no minute of the hour has more than three times its share."""
    for job in ("backup", "expire", "verify", "drill"):
        minutes = Counter(int(each["spec"]["schedule"].split()[0]) for each in of_component(rendered, job))
        assert sum(minutes.values()) == COUNT
        assert len(minutes) > 50
        assert max(minutes.values()) < 3 * COUNT / 60


def test_jobs_of_one_cluster_are_apart(rendered: Rendered) -> None:
    """The minute of one job says nothing about that of another."""
    drills = {each["metadata"]["labels"]["pgvault/cluster"]: minute(each) for each in of_component(rendered, "drill")}
    same = [
        each
        for each in of_component(rendered, "backup")
        if minute(each) == drills[each["metadata"]["labels"]["pgvault/cluster"]]
    ]

    assert len(same) < COUNT / 10


def of_component(rendered: Rendered, job: str) -> list[Any]:
    """The CronJobs of one kind."""
    return [e for e in rendered.of("CronJob") if e["metadata"]["labels"]["app.kubernetes.io/component"] == job]


def minute(job: Any) -> str:
    """The first field of its schedule."""
    return str(job["spec"]["schedule"]).split()[0]
