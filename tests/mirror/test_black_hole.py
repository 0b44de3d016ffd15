"""A second region that accepts everything and answers nothing: the archiver must not notice."""

from __future__ import annotations

import json
import logging
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from pgvault.repository import layout
from tests.archive import (
    SYSTEM,
    bare_environment,
    make_archive,
    make_control,
    make_segment,
    pgvault,
    program,
    small,
)
from tests.s3servers import S3Server
from tests.stores.faults import FaultyServer, error

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.endurance

SEGMENTS = 200
SLOWER_MOST = 1.25  # by median, pushes in turn on the same machine
BUCKET = "second-region"


@pytest.fixture
def region() -> Iterator[FaultyServer]:
    """An S3 server whose bucket is the second region, behind a proxy that may swallow everything."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = server.get_host_and_port()
        with closing(S3Server(f"http://{address[0]}:{address[1]}", ("test", "test")).client()) as client:
            client.create_bucket(Bucket=BUCKET)
        with FaultyServer(address) as faulty:
            yield faulty
    finally:
        server.stop()


class Site:
    """A repository whose further copy is in the region, another with one copy only, and a pg_wal to archive."""

    def __init__(self, directory: Path, region: FaultyServer, *, options: str = "") -> None:
        for name in ("both", "alone"):
            (directory / name).mkdir()
        both, alone = make_archive(directory / "both"), make_archive(directory / "alone")
        self.config, self.alone = both.config, alone.config
        self.root = both.root
        secret = directory / "secret"
        secret.write_text("secret\n")
        access = f"access_key: 'file:{secret}', secret_key: 'file:{secret}'"
        place = f"url: 's3://{BUCKET}/{directory.name}', endpoint_url: '{region.url}', region: us-east-1"
        dr = f"{{{place}, {access}{options}}}"
        self.config.write_text(
            f"repository:\n  key: file:{both.key}\n  copies:\n    primary: {{url: '{both.root.as_uri()}'}}\n"
            f"    dr: {dr}\nclusters:\n  main: {{dsn: 'host={directory}/nowhere'}}\n"
        )
        (directory / "data/global").mkdir(parents=True)
        (directory / "data/global/pg_control").write_bytes(make_control())
        self.pg_wal = directory / "data/pg_wal"
        self.pg_wal.mkdir()

    def push(self, config: Path, number: int) -> float:
        """Archive a segment as a server does; return how many seconds that took."""
        path = self.pg_wal / small(number).name
        path.write_bytes(make_segment(small(number)))
        began = time.monotonic()
        done = pgvault("--config", config, "wal", "push", path, timeout=120)
        took = time.monotonic() - began
        assert done.status == 0, done.errors
        return took

    def copy_lag(self) -> dict[str, Any]:
        """What `status` says of the copy."""
        told = pgvault("--config", self.config, "status", "--json", timeout=180)
        assert told.status == 51, told.errors
        findings = json.loads(told.output)["clusters"][0]["findings"]
        (found,) = [each for each in findings if each["name"] == "copy_lag"]
        return dict(found)

    @contextmanager
    def watching(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run `copy --watch`, and see that it ends well when it is told to."""
        words = [*program(), "--config", str(self.config), "copy", "--watch", "--every", "1s"]
        with log.open("wb") as file:
            process = subprocess.Popen(words, env=bare_environment(), stderr=file)
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def wait_until(claim: Callable[[], bool], *, seconds: float) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_pushes_keep_their_speed_while_a_region_is_gone_and_it_catches_up_alone(
    tmp_path: Path, region: FaultyServer
) -> None:
    """200 segments into a hole: as quick as with one copy. `status` is red, and nobody has to do anything after."""
    site = Site(tmp_path, region, options=", wal_lag: 2s")
    site.push(site.config, 1)
    assert pgvault("--config", site.config, "copy").status == 0
    assert site.copy_lag()["level"] == "ok"
    lags = []
    for number in (2, 3):
        site.push(site.config, number)
        lags.append(site.copy_lag()["figures"])
    assert [lag["objects"] for lag in lags] == [1, 2]
    assert lags[0]["bytes"] < lags[1]["bytes"]
    assert lags[0]["wal_seconds"] < lags[1]["wal_seconds"]

    log = tmp_path / "log"
    with site.watching(log):
        wait_until(lambda: site.copy_lag()["level"] == "ok", seconds=60)
        with region.black_hole():
            one, two = [], []
            for number in range(4, 4 + SEGMENTS):
                two.append(site.push(site.config, number))
                if number % 8 == 0:  # in turn, since machines are noisy
                    one.append(site.push(site.alone, number))
            found = site.copy_lag()
            assert found["level"] == "red"
            assert "does not answer" in found["detail"] or "could not" in found["detail"], found
        wait_until(lambda: site.copy_lag()["level"] == "ok", seconds=180)

    alone, gone = statistics.median(one), statistics.median(two)
    logger.info("push, median: with one copy %.3f s, with the region gone %.3f s: %.2f", alone, gone, gone / alone)
    assert gone / alone < SLOWER_MOST
    told = log.read_text()
    assert "attempt" not in told
    assert told.count("can not be brought up to date") == 1, told
    assert told.count("is brought up to date again") == 1, told
    assert pgvault("--config", site.config, "copy", "--json").output.count('"objects": 0') == 1


def test_a_sync_copy_that_is_gone_fails_the_push_by_its_name(tmp_path: Path, region: FaultyServer) -> None:
    """What was promised to be in two places is not acknowledged from one; the next try brings it."""
    site = Site(tmp_path, region, options=", wal: sync")
    assert pgvault("--config", site.config, "copy").status == 0
    path = site.pg_wal / small(1).name
    path.write_bytes(make_segment(small(1)))
    region.always(error(403, "AccessDenied"), method="PUT")

    failed = pgvault("--config", site.config, "wal", "push", "--retry-for", "1s", path)

    assert failed.status == 31
    assert "sync copy 'dr' did not take" in failed.errors
    assert "copies.dr.wal: async" in failed.errors

    region.reset()
    assert pgvault("--config", site.config, "wal", "push", path).status == 0
    name = layout.wal_file("main", SYSTEM, small(1).name)
    assert [request.path for request in region.requests if request.method == "PUT"] == [
        f"/{BUCKET}/{tmp_path.name}/{name}"
    ]
