"""The main job on an S3 store over HTTP: archive, back up, verify, lose, restore, drill."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from pgvault.process import Finished, attempt
from tests.s3servers import REGION, S3Server, Versitygw
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SECONDS = 120
BUCKET = "main-job"  # one process has one moto: other tests have other buckets


@pytest.fixture(params=["moto", "versitygw"])
def s3(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[S3Server]:
    """Each S3 server in turn, with one empty bucket."""
    if request.param == "versitygw":
        with Versitygw(tmp_path / "versitygw") as running:
            running.server.client().create_bucket(Bucket=BUCKET)
            yield running.server
        return
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    served = S3Server(f"http://{host}:{port}", ("test", "test"))
    served.client().create_bucket(Bucket=BUCKET)
    yield served
    moto.stop()


def test_the_main_job_works_on_s3(server: ServerFactory, s3: S3Server, tmp_path: Path) -> None:
    """What was committed before the moment comes back out of the bucket, and a drill of it passes."""
    config = tmp_path / "pgvault.yaml"
    push = f'"{sys.executable}" -m pgvault --config "{config}" wal push "%p"'
    source = server(NEWEST, settings={"archive_mode": "on", "archive_timeout": "60s", "archive_command": push})
    config.write_text(json.dumps(configuration(source.dsn, s3, tmp_path)))

    def pgvault(*arguments: str) -> dict[str, object]:
        finished = run(config, *arguments, "--json")
        assert finished.status == 0, finished.errors
        document: dict[str, object] = json.loads(finished.output)
        return document

    pgvault("init", "--generate-key", str(tmp_path / "key"))
    pgvault("backup")
    source.sql("CREATE TABLE kept AS SELECT 1 AS v")
    time.sleep(0.1)
    moment = source.value("SELECT clock_timestamp()::text")
    time.sleep(0.1)
    source.sql("INSERT INTO kept VALUES (2)")
    pgvault("check")  # switches WAL and waits for it to arrive
    restored = server.directory() / "data"
    document = pgvault("restore", "--to", str(moment).replace(" ", "T"), "--finish", str(restored))

    assert document["directory"] == str(restored)
    assert server.adopt(source.programs, restored).sql("SELECT v FROM kept") == [(1,)]
    assert pgvault("verify")["passed"]
    assert pgvault("drill")["passed"]
    forget_backups(s3)
    assert run(config, "verify").status != 0
    assert run(config, "drill").status == 50


def forget_backups(s3: S3Server) -> None:
    """Delete every backup behind pgvault's back."""
    with closing(s3.client()) as client:
        listing = client.list_objects_v2(Bucket=BUCKET, Prefix="pg/clusters/main/backups/")
        assert not listing["IsTruncated"]
        for entry in listing["Contents"]:
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])


def configuration(dsn: str, s3: S3Server, directory: Path) -> dict[str, object]:
    """One copy in the bucket; its credentials in files."""
    for name, text in zip(("access", "secret"), s3.credentials, strict=True):
        (directory / name).write_text(f"{text}\n")
    copy = {
        "url": f"s3://{BUCKET}/pg",
        "region": REGION,
        "endpoint_url": s3.url,
        "access_key": f"file:{directory}/access",
        "secret_key": f"file:{directory}/secret",
    }
    return {
        "repository": {"key": f"file:{directory}/key", "copies": {"primary": copy}},
        "clusters": {"main": {"dsn": dsn, "archive_wait": "60s"}},
    }


def run(config: Path, *arguments: str) -> Finished:
    """One command, as an operator runs it."""
    return attempt([sys.executable, "-m", "pgvault", "--config", str(config), *arguments], timeout=SECONDS)
