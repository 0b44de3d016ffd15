"""The main job on an S3 store over HTTP: archive, back up, verify, lose, restore, drill."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pgvault.process import Finished, attempt
from tests.servers import NEWEST, ServerFactory

if TYPE_CHECKING:
    from mypy_boto3_s3.service_resource import S3ServiceResource

pytestmark = pytest.mark.cluster

SECONDS = 120


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An S3 server with one empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    session(url).create_bucket(Bucket="backups", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield url
    server.stop()


def test_the_main_job_works_on_s3(server: ServerFactory, endpoint: str, tmp_path: Path) -> None:
    """What was committed before the moment comes back out of the bucket, and a drill of it passes."""
    config = tmp_path / "pgvault.yaml"
    push = f'"{sys.executable}" -m pgvault --config "{config}" wal push "%p"'
    source = server(NEWEST, settings={"archive_mode": "on", "archive_timeout": "60s", "archive_command": push})
    config.write_text(json.dumps(configuration(source.dsn, endpoint, tmp_path)))

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
    session(endpoint).Bucket("backups").objects.filter(Prefix="pg/clusters/main/backups").delete()
    assert run(config, "verify").status != 0
    assert run(config, "drill").status == 50


def session(endpoint: str) -> S3ServiceResource:
    """The bucket's owner, for what pgvault itself does not do."""
    return boto3.resource(
        "s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def configuration(dsn: str, endpoint: str, directory: Path) -> dict[str, object]:
    """One copy in the bucket; its credentials in files."""
    secret = directory / "secret"
    secret.write_text("test\n")
    copy = {
        "url": "s3://backups/pg",
        "region": "eu-west-1",
        "endpoint_url": endpoint,
        "access_key": f"file:{secret}",
        "secret_key": f"file:{secret}",
    }
    return {
        "repository": {"key": f"file:{directory}/key", "copies": {"primary": copy}},
        "clusters": {"main": {"dsn": dsn, "archive_wait": "60s"}},
    }


def run(config: Path, *arguments: str) -> Finished:
    """One command, as an operator runs it."""
    return attempt([sys.executable, "-m", "pgvault", "--config", str(config), *arguments], timeout=SECONDS)
