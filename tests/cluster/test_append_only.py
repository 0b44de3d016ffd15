"""A database host whose credentials can only append: it archives and backs up, and can not destroy yesterday."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.process import attempt
from tests.s3servers import REGION, S3Server, Versitygw
from tests.servers import NEWEST, ServerFactory
from tests.stores.faults import FaultyServer
from tests.stores.test_append_only import HOST, README, policy_of, require_condition

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@pytest.fixture
def versitygw(tmp_path: Path) -> Iterator[Versitygw]:
    """A server with a bucket that keeps versions, and a host with the README's rights."""
    with Versitygw(tmp_path / "versitygw") as running:
        client = running.server.client()
        client.create_bucket(Bucket="backups", ObjectLockEnabledForBucket=True)
        running.add_user(*HOST)
        client.put_bucket_policy(Bucket="backups", Policy=policy_of(README.read_text(), user=HOST[0]))
        yield running


def write_config(path: Path, dsn: str, server: S3Server) -> Path:
    """Write a configuration with one locked copy, reached with the server's credentials."""
    path.mkdir()
    for name, text in zip(("access", "secret"), server.credentials, strict=True):
        (path / name).write_text(f"{text}\n")
    copy = {
        "url": "s3://backups/pg",
        "region": REGION,
        "endpoint_url": server.url,
        "access_key": f"file:{path}/access",
        "secret_key": f"file:{path}/secret",
        "object_lock": {"mode": "compliance", "days": 3},
    }
    document = {
        "repository": {"key": f"file:{path.parent}/key", "copies": {"primary": copy}},
        "clusters": {"main": {"dsn": dsn, "archive_wait": "60s"}},
    }
    (path / "pgvault.yaml").write_text(json.dumps(document))
    return path / "pgvault.yaml"


def run(config: Path, *arguments: str) -> None:
    """Run one command, which must succeed."""
    finished = attempt([sys.executable, "-m", "pgvault", "--config", str(config), *arguments], timeout=180)
    assert finished.status == 0, f"{arguments}: {finished.output}{finished.errors}"


def test_a_host_that_can_only_append_is_backed_up(server: ServerFactory, versitygw: Versitygw, tmp_path: Path) -> None:
    """Two backups, WAL and check with those rights alone; afterwards all is locked, and restores."""
    with FaultyServer(versitygw.server.address) as proxy:
        proxy.plan = require_condition
        host = tmp_path / "host" / "pgvault.yaml"
        push = f'"{sys.executable}" -m pgvault --config "{host}" wal push "%p"'
        source = server(NEWEST, settings={"archive_mode": "on", "archive_timeout": "60s", "archive_command": push})
        owner = write_config(tmp_path / "owner", source.dsn, versitygw.server)
        write_config(tmp_path / "host", source.dsn, S3Server(proxy.url, HOST))

        run(owner, "init", "--generate-key", str(tmp_path / "key"))
        run(host, "backup")
        source.sql("CREATE TABLE kept AS SELECT 1 AS v")
        run(host, "backup")
        run(host, "check")
    listing = versitygw.server.client().list_object_versions(Bucket="backups", Prefix="pg/clusters/")
    assert not listing["IsTruncated"]
    assert listing["Versions"]
    assert all(version["IsLatest"] for version in listing["Versions"])
    assert listing.get("DeleteMarkers", []) == []
    restored = server.directory() / "data"
    run(owner, "restore", "--to", "latest", "--finish", str(restored))
    assert server.adopt(source.programs, restored).sql("SELECT v FROM kept") == [(1,)]
