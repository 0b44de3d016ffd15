"""Five hundred clusters in one release. Their documents are looked at as text: parsing 14 MB of YAML takes longer than
all the rest, and what a cluster's documents are made of is the matrix' matter.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.helm.cases import ALL, BASE, DSN
from tests.helm.chart import CHART, Values, call_helm, merged, write_values

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


@dataclass(frozen=True, slots=True)
class Text:
    """One document, as it is written."""

    text: str

    def field(self, name: str, *, indent: int) -> str:
        """Return the first value of a key at some depth; empty where there is none."""
        found = re.search(rf"^ {{{indent}}}{re.escape(name)}: (.*)$", self.text, re.MULTILINE)
        return found[1].strip('"') if found else ""

    @property
    def kind(self) -> str:
        """What it is."""
        return self.field("kind", indent=0)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.field("name", indent=2)

    def label(self, name: str) -> str:
        """Return a label of its own."""
        return self.field(name, indent=4)


@pytest.fixture(scope="module")
def manifest(values: Values, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What they become."""
    finished = call_helm("template", write_values(tmp_path_factory.mktemp("fleet"), values))
    assert finished.status == 0, finished.errors
    return finished.output


@pytest.fixture(scope="module")
def documents(manifest: str) -> list[Text]:
    """Its documents."""
    return [Text(each) for each in re.split(r"^---$", manifest, flags=re.MULTILINE) if each.strip()]


def release_bytes(values: Values, manifest: str) -> int:
    """Size of a release as Helm stores it: the chart's files, the values and the manifest, zipped, twice in base64."""
    files = [path for path in sorted(CHART.rglob("*")) if path.is_file()]
    chart = {str(path.relative_to(CHART)): base64.b64encode(path.read_bytes()).decode() for path in files}
    zipped = gzip.compress(json.dumps({"chart": chart, "config": values, "manifest": manifest}).encode(), 9)
    return len(base64.b64encode(base64.b64encode(zipped)))


def test_every_cluster_has_all_it_needs(documents: list[Text]) -> None:
    """A stream, its configuration and its jobs; once for all what looks at all of them; no two of one name."""
    kinds = Counter(each.kind for each in documents)

    assert kinds["StatefulSet"] == COUNT
    assert kinds["CronJob"] == COUNT * 7  # no checks
    assert kinds["ConfigMap"] == COUNT + 2  # the fleet's, and the dashboard
    assert kinds["Deployment"] == 1
    assert len({(each.kind, each.name) for each in documents}) == len(documents)


def test_it_fits_where_helm_keeps_it(values: Values, manifest: str, documents: list[Text]) -> None:
    """Below 1 MiB, as every ConfigMap is."""
    assert release_bytes(values, manifest) < LIMIT_BYTES
    maps = [len(each.text.encode()) for each in documents if each.kind == "ConfigMap"]
    assert 100_000 < max(maps) < LIMIT_BYTES


def test_they_do_not_begin_at_once(documents: list[Text]) -> None:
    """Minutes that nobody gave are spread: no minute of the hour has more than three times its share."""
    for job in ("backup", "expire", "verify", "drill"):
        spread = Counter(minutes(documents, job).values())
        assert sum(spread.values()) == COUNT
        assert len(spread) > 50
        assert max(spread.values()) < 3 * COUNT / 60


def test_jobs_of_one_cluster_are_apart(documents: list[Text]) -> None:
    """The minute of one job says nothing about that of another."""
    drills, backups = minutes(documents, "drill"), minutes(documents, "backup")

    assert drills.keys() == backups.keys()
    assert sum(drills[cluster] == backups[cluster] for cluster in drills) < COUNT / 10


def minutes(documents: list[Text], job: str) -> dict[str, int]:
    """The first field of each cluster's schedule of one job."""
    return {
        each.label("pgvault/cluster"): int(each.field("schedule", indent=2).split()[0])
        for each in documents
        if each.kind == "CronJob" and each.label("app.kubernetes.io/component") == job
    }
