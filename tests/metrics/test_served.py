"""`pgvault metrics` and `metrics serve` on a real server, and on a store that answers nothing."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from prometheus_client.parser import text_string_to_metric_families

from pgvault.process import attempt
from tests.archive import program
from tests.cli.here import pgvault
from tests.cluster.places import Place, make_place
from tests.s3servers import S3Server
from tests.servers import NEWEST, ServerFactory
from tests.stores.faults import FaultyServer
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

DEADLINE = 60
CHECK = {"check": "rows", "severity": "critical", "where": "live"}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Series:
    """Every series."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def read_checked(text: str) -> Series:
    """The same, when promtool has nothing to complain about."""
    finished = attempt(["promtool", "check", "metrics"], timeout=60, input=text)
    assert (finished.status, finished.output, finished.errors) == (0, "", "")
    return read(text)


@dataclass(frozen=True)
class Served:
    """A running `metrics serve`."""

    process: subprocess.Popen[str]
    url: str

    def stop(self) -> None:
        """It goes at once, whatever it is doing."""
        if self.process.poll() is None:
            began = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(DEADLINE) == 0
            assert time.monotonic() - began < 8  # a collection that hangs would take 15 s and more

    def scrape(self) -> str:
        with urllib.request.urlopen(self.url, timeout=DEADLINE) as answer:
            return str(answer.read().decode())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a series of the cluster; None where it is absent."""
        return read(self.scrape()).get((name, frozenset({"cluster": "main", **labels}.items())))

    def level(self, finding: str, copy: str = "") -> float | None:
        return self.value("pgvault_finding_level", finding=finding, copy=copy)


@contextmanager
def serving(config: Path) -> Iterator[Served]:
    """Serve on a free port, as systemd would."""
    argv = [*program(), "--config", str(config), "metrics", "serve", "--listen", "127.0.0.1:0", "--interval", "1s"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/metrics", said)
            assert found is not None, said + process.stderr.read()
            served = Served(process, found[0])
            yield served
            served.stop()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def place(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archiving server that was never backed up, with a check."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    place = make_place(servers, tmp_path_factory.mktemp("metrics"), NEWEST, archive_timeout="60s")
    place.server.sql("CREATE TABLE rows AS SELECT 1 AS number")
    check = "{name: rows, query: 'SELECT count(*) FROM rows WHERE number < 0', schedule: hourly}"
    place.archive.config.write_text(
        f"repository:\n  key: file:{place.archive.key}\n"
        f"  copies:\n    primary: {{url: '{place.archive.root.as_uri()}'}}\n"
        f'clusters:\n  main: {{dsn: "{place.server.dsn}", objectives: {{backup_age: 24h}}, checks: [{check}]}}\n'
    )
    return place


def wait_for(claim: Callable[[], object]) -> None:
    wait_until(claim, seconds=DEADLINE)


def test_the_life_of_a_cluster(place: Place) -> None:
    """Never backed up: 0. Backed up: when. A check that fails, and passes. Emptied behind our back: 0 and red.

    A repository that is gone: absent, and its level red.
    """
    with serving(place.archive.config) as served:
        wait_for(lambda: served.value("pgvault_cluster_level"))
        for never in (
            "pgvault_backup_newest_timestamp_seconds",
            "pgvault_drill_last_success_timestamp_seconds",
            "pgvault_key_escrow_proven_timestamp_seconds",
        ):
            assert served.value(never) == 0
        assert served.value("pgvault_check_last_run_timestamp_seconds", **CHECK) == 0
        assert served.value("data_integrity_check_failures", **CHECK) is None
        assert served.value("pgvault_objective_seconds", objective="backup_age") == 86400

        manifest = place.back_up()
        wait_for(lambda: served.value("pgvault_backup_newest_timestamp_seconds"))
        assert served.value("pgvault_backup_newest_timestamp_seconds") == pytest.approx(manifest.stopped_at.timestamp())
        assert served.value("pgvault_backup_page_checksum_errors") == 0
        wait_for(lambda: served.level("backup") == 0)

        assert pgvault("--config", place.archive.config, "checks", "run", "--live").status == 0
        wait_for(lambda: served.value("data_integrity_check_failures", **CHECK) == 0)
        place.server.sql("INSERT INTO rows VALUES (-1)")
        assert pgvault("--config", place.archive.config, "checks", "run", "--live").status == 53
        wait_for(lambda: served.value("data_integrity_check_failures", **CHECK) == 1)
        assert served.level("check") == 2
        read_checked(served.scrape())

        root = place.archive.root
        shutil.move(root / "clusters", root.parent / "clusters")
        wait_for(lambda: served.value("pgvault_backup_newest_timestamp_seconds") == 0)
        assert (served.level("backup"), served.value("pgvault_cluster_level")) == (2, 2)
        assert served.value("data_integrity_check_failures", **CHECK) is None
        shutil.move(root.parent / "clusters", root / "clusters")
        wait_for(lambda: served.value("pgvault_backup_newest_timestamp_seconds"))

        shutil.move(root, root.with_name("gone"))
        wait_for(lambda: served.level("repository") == 2)
        series = read_checked(served.scrape())
        assert not [name for name, _ in series if name.startswith(("pgvault_backup", "pgvault_drill", "data_"))]
        assert served.value("pgvault_objective_seconds", objective="backup_age") == 86400
        shutil.move(root.with_name("gone"), root)

        # A cluster that somebody added is watched from then on, without a restart that nobody thinks of.
        config = place.archive.config
        before = config.read_text()
        config.write_text(before + '  added: {dsn: "host=/nowhere"}\n')
        added = frozenset({("cluster", "added")})
        wait_for(lambda: read(served.scrape()).get(("pgvault_backup_newest_timestamp_seconds", added)) == 0)
        config.write_text("no configuration")
        wait_for(lambda: read(served.scrape()).get(("pgvault_metrics_collection_failed", frozenset())) == 1)
        config.write_text(before)


def test_a_textfile_of_a_cluster_that_is_not_well(place: Place, tmp_path: Path) -> None:
    """It is written whatever it tells, and what it tells is what is printed."""
    path = tmp_path / "pgvault.prom"

    written = pgvault("--config", place.archive.config, "metrics", "--textfile", path)
    printed = pgvault("--config", place.archive.config, "metrics")

    assert (written.status, written.output, printed.status) == (0, "", 0)
    assert read_checked(path.read_text()).keys() == read(printed.output).keys()


@pytest.fixture
def region() -> Iterator[FaultyServer]:
    """An S3 server behind a proxy that may swallow everything."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = server.get_host_and_port()
        with closing(S3Server(f"http://{address[0]}:{address[1]}", ("test", "test")).client()) as client:
            client.create_bucket(Bucket="metrics")
        with FaultyServer(address) as faulty:
            yield faulty
    finally:
        server.stop()


def test_a_scrape_never_waits_for_a_store_that_hangs(region: FaultyServer, tmp_path: Path) -> None:
    """The last result comes at once, and so does the end when it is asked for: the collection is left behind."""
    for name, text in (("secret", "test\n"), ("key", bytes(32).hex())):
        (tmp_path / name).write_text(text)
    config = tmp_path / "pgvault.yaml"
    secret = f"file:{tmp_path / 'secret'}"
    store = f"url: 's3://metrics/hangs', endpoint_url: '{region.url}', region: us-east-1"
    config.write_text(
        f"repository:\n  key: file:{tmp_path / 'key'}\n  copies:\n"
        f"    primary: {{{store}, access_key: '{secret}', secret_key: '{secret}'}}\n"
        f"clusters:\n  main: {{dsn: 'host={tmp_path}'}}\n"
    )
    assert pgvault("--config", config, "init").status == 0

    with serving(config) as served:
        wait_for(lambda: served.level("backup") == 2)  # there is none
        with region.black_hole():
            asked = len(region.requests)
            wait_until(lambda: len(region.requests) > asked, seconds=DEADLINE)  # a collection hangs
            began = time.monotonic()
            seen = [served.level("backup") for _ in range(3)]
            took = time.monotonic() - began

            assert seen == [2, 2, 2]
            assert took < 5, took
            served.stop()
