"""Credentials that boto3 finds by itself: nothing of ours is in the way."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from pgvault.stores.base import StoreLocation
from pgvault.stores.retry import Patience
from pgvault.stores.s3 import S3Store, open_s3
from tests.s3servers import S3Server
from tests.stores.conftest import make_store

ROLE = "arn:aws:iam::123456789012:role/backup"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the SDK's own files, and none of the machine's credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def open_without_credentials(server: S3Server, *, profile: str | None = None) -> S3Store:
    """Open a fresh bucket by a location that holds no credentials."""
    made = make_store(server)
    location = StoreLocation(made.url, region="us-east-1", endpoint_url=server.url, profile=profile)
    return open_s3(location, patience=Patience())


def access_key(store: S3Store) -> str:
    """Use the store, and return the access key that its requests were signed with."""
    store.put_if_absent("wal/a", b"x")
    assert store.get("wal/a") == b"x"
    signer = store.bucket.client._request_signer  # type: ignore[attr-defined]  # the SDK's own
    return str(signer._credentials.get_frozen_credentials().access_key)


def test_a_web_identity_is_exchanged_for_a_role(
    home: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Kubernetes a token file and a role's name are all that a pod has."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "pod"}).encode()).decode().rstrip("=")
    (home / "token").write_text(f"e30.{claims}.c2ln")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    assert access_key(open_without_credentials(moto_server)).startswith("ASIA")


def test_a_profile_may_assume_a_role(home: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`profile` names one that takes another's keys to the token service."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.url)
    (home / "credentials").write_text("[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n")
    (home / "config").write_text(f"[profile backup]\nregion = us-east-1\nrole_arn = {ROLE}\nsource_profile = base\n")

    assert access_key(open_without_credentials(moto_server, profile="backup")).startswith("ASIA")


def test_a_profile_may_run_a_program(home: Path, moto_server: S3Server) -> None:
    """`credential_process` prints what to use."""
    answer = {"Version": 1, "AccessKeyId": "AKIAPROGRAM", "SecretAccessKey": "secret"}
    (home / "print.py").write_text(f"print({json.dumps(json.dumps(answer))})")
    (home / "config").write_text(f"[profile backup]\ncredential_process = {sys.executable} {home / 'print.py'}\n")

    assert access_key(open_without_credentials(moto_server, profile="backup")) == "AKIAPROGRAM"


def test_the_environment_is_enough(home: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain variables, as everywhere."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    assert access_key(open_without_credentials(moto_server)) == "AKIAPLAIN"
