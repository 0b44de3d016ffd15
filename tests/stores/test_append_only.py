"""The README's policy for a host that can only append, as far as S3 servers enforce it.

versitygw enforces actions and passes conditions over; moto likewise. So the condition of PutObject is enforced here
by the proxy before versitygw, as Amazon does it: a put without If-None-Match is denied.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.errors import ObjectExists, StoreDenied
from pgvault.monitor.finding import Level
from pgvault.monitor.storecheck import store_findings
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import init_repository
from pgvault.stores.base import ObjectLock
from pgvault.stores.s3 import S3Store, open_s3
from tests.s3servers import Versitygw
from tests.stores.conftest import BRIEF
from tests.stores.faults import Fault, FaultyServer, Request, error

README = Path(__file__).resolve().parents[2] / "README.md"
HOST = ("database-host", "database-host-secret")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def policy_of(readme: str, *, user: str) -> str:
    """Return the README's policy as a bucket's, for one user."""
    (text,) = re.findall(r"```json\n(\{\n  \"Version\".*?)```", readme, re.DOTALL)
    document = json.loads(text)
    for statement in document["Statement"]:
        statement["Principal"] = {"AWS": [user]}
    return json.dumps(document)


def require_condition(request: Request) -> Fault:
    """Deny what the condition denies."""
    is_put = request.method == "PUT" and "retention" not in request.query
    return error(403, "AccessDenied") if is_put and request.headers.get("if-none-match") != "*" else None


@pytest.fixture(scope="module")
def owner(versitygw: Versitygw) -> S3Store:
    """A store of the bucket's owner, who has locked it and let the host in."""
    client = versitygw.server.client()
    client.create_bucket(Bucket="backups", ObjectLockEnabledForBucket=True)
    versitygw.add_user(*HOST)
    client.put_bucket_policy(Bucket="backups", Policy=policy_of(README.read_text(), user=HOST[0]))
    location = replace(versitygw.server.location("backups", "pg"), lock=ObjectLock("compliance", 3))
    return open_s3(location, patience=BRIEF)


def test_a_host_of_those_rights_appends_and_destroys_nothing(versitygw: Versitygw, owner: S3Store) -> None:
    """It puts, reads, lists and extends locks; it deletes nothing, overwrites nothing, and changes no setting."""
    owner.put_if_absent("clusters/main/yesterday", b"yesterday")
    (version,) = owner.versions("clusters/main/yesterday")
    with FaultyServer(versitygw.server.address) as proxy:
        proxy.plan = require_condition
        host = open_s3(replace(owner.location, endpoint_url=proxy.url, credentials=HOST), patience=BRIEF)

        host.put_if_absent("clusters/main/today", b"today")
        assert host.get("clusters/main/today") == b"today"
        assert host.get_version("clusters/main/yesterday", version.id) == b"yesterday"
        assert [entry.key for entry in host.list("clusters")] == ["clusters/main/today", "clusters/main/yesterday"]
        assert host.extend_lock("clusters/main/yesterday", NOW + timedelta(days=3650)) > NOW
        with pytest.raises(ObjectExists):
            host.put_if_absent("clusters/main/yesterday", b"nothing")
        with pytest.raises(StoreDenied):
            host.delete("clusters/main/yesterday")
        with pytest.raises(StoreDenied):
            host.delete_version("clusters/main/yesterday", version.id)
        with pytest.raises(StoreDenied):
            host.replace("clusters/main/yesterday", b"nothing")
    client = versitygw.server.client(HOST)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.put_bucket_versioning(Bucket="backups", VersioningConfiguration={"Status": "Suspended"})
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_bucket_policy(Bucket="backups")

    assert owner.get("clusters/main/yesterday") == b"yesterday"


def test_a_store_that_passes_the_condition_over_still_keeps_yesterday(versitygw: Versitygw, owner: S3Store) -> None:
    """There a plain put hides an object; its locked version stays, and is the oldest."""
    owner.put_if_absent("clusters/main/manifest", b"yesterday")
    host = open_s3(replace(owner.location, credentials=HOST, lock=None), patience=BRIEF)

    host.replace("clusters/main/manifest", b"nothing")

    assert owner.get("clusters/main/manifest") == b"nothing"
    oldest, newest = owner.versions("clusters/main/manifest")
    assert host.get_version("clusters/main/manifest", oldest.id) == b"yesterday"
    for version in (oldest, newest):
        with pytest.raises(StoreDenied):
            host.delete_version("clusters/main/manifest", version.id)


def test_check_passes_on_such_a_host(versitygw: Versitygw, owner: S3Store) -> None:
    """It says that nothing can be deleted from here, and is not red."""
    location = replace(owner.location, url=f"{owner.url}/check")
    made = Copy("primary", open_s3(location, patience=BRIEF))
    repository, _ = init_repository([made], Credential("raw", bytes(32)), now=NOW)
    host = Copy("primary", open_s3(replace(location, credentials=HOST), patience=BRIEF))

    found = {finding.name: finding for finding in store_findings(replace(repository, copies=(host,)))}

    assert Level.RED not in {finding.level for finding in found.values()}
    assert "not delete" in found["store primary"].detail
    assert found["versions primary"].level is Level.WARN  # versitygw shows a bucket's settings to its owner only
    assert found["versions primary"].detail.startswith("unknown")
