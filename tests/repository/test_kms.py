"""KMS slots against moto's KMS over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgvault.errors import KeyUnusable, WrongKey
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.keydocument import make_key_document, open_key_document, sign_key_document
from pgvault.repository.keys import AWS_KMS, Credential
from pgvault.repository.kms import AwsKms, region_of
from pgvault.repository.slots import open_slot, wrap_key
from pgvault.stores.retry import Patience
from tests.repository.kms import REGION, make_kms_key, serving_kms

ID = b"repository id 16"
FIRST = "keys/00000001"
RAW = Credential("raw", bytes(range(32)))
HURRIED = Patience(deadline_seconds=0.3, connect_seconds=0.3, read_seconds=0.3, answer_seconds=1.0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_kms() as url:
        yield url


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="module")
def kms(url: str) -> AwsKms:
    return AwsKms(make_kms_key(url, alias="alias/pgvault"), endpoint_url=url)


def credential(kms: AwsKms) -> Credential:
    return Credential(AWS_KMS, b"", kms)


def test_kms_opens_what_it_made(kms: AwsKms) -> None:
    """By ARN, by alias and by key id; the slot names the key's ARN and region."""
    raw, ring = make_key_document(ID, credential(replace(kms, key="alias/pgvault", region=REGION)))
    (slot,) = json.loads(raw)["keys"][0]["slots"]

    assert (slot["kind"], slot["key"], slot["region"]) == ("aws-kms", kms.key, REGION)
    assert ring.active.secret.hex().encode() not in raw
    for name in (kms.key, "alias/pgvault", kms.key.rpartition("/")[2]):
        opened = open_key_document(raw, credential(replace(kms, key=name, region=REGION)), where=FIRST)
        assert opened == (ID, ring)


def test_wrapped_key_of_another_repository_or_key_id_is_refused(kms: AwsKms) -> None:
    """The encryption context binds a slot to its place; KMS itself refuses another."""
    key = RepositoryKey(1, bytes(32))
    slot = wrap_key(key, credential(kms), ID)

    assert open_slot(slot, credential(kms), ID, key_id=1) == key
    assert open_slot(slot, credential(kms), b"x" * 16, key_id=1) is None
    assert open_slot(slot, credential(kms), ID, key_id=2) is None


def test_another_kms_key_is_a_wrong_key(kms: AwsKms, url: str) -> None:
    """A key that was not the one is told apart from a KMS that does not answer."""
    raw, _ = make_key_document(ID, credential(kms))

    other = make_kms_key(url, alias="alias/other")
    with pytest.raises(WrongKey):
        open_key_document(raw, credential(replace(kms, key=other)), where=FIRST)
    with pytest.raises(KeyUnusable, match="alias/other"):  # AWS says IncorrectKey here, moto AccessDenied
        open_key_document(raw, credential(replace(kms, key="alias/other", region=REGION)), where=FIRST)
    with pytest.raises(WrongKey):
        open_key_document(raw, RAW, where=FIRST)


def test_key_that_is_not_there_is_unusable(kms: AwsKms) -> None:
    """Not a wrong key: nobody knows what it would open."""
    raw, _ = make_key_document(ID, credential(kms))
    gone = replace(kms, key="alias/gone", region=REGION)

    with pytest.raises(KeyUnusable, match=r"could not decrypt with KMS key .*NotFound"):
        open_key_document(raw, credential(gone), where=FIRST)


def test_kms_that_does_not_answer_is_said_in_time(kms: AwsKms) -> None:
    """After some attempts, with the key's name."""
    raw, _ = make_key_document(ID, credential(kms))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        deaf = replace(kms, endpoint_url=f"http://127.0.0.1:{port}", patience=HURRIED)
        with pytest.raises(KeyUnusable, match="could not decrypt with KMS key"):
            open_key_document(raw, credential(deaf), where=FIRST)


def test_other_slots_open_without_kms(kms: AwsKms) -> None:
    """Whoever holds a raw key needs no KMS: the escrow sheet works when the account is gone."""
    key = RepositoryKey(1, bytes(32))
    slots = [wrap_key(key, credential(kms), ID), wrap_key(key, RAW, ID)]
    document = {
        "pgvault_keys": 1,
        "repository_id": ID.hex(),
        "active": 1,
        "keys": [{"id": 1, "slots": slots}],
    }
    raw = sign_key_document(document, key, ID, number=1)

    assert open_key_document(raw, RAW, where=FIRST)[1].active == key
    assert open_key_document(raw, credential(kms), where=FIRST)[1].active == key


def test_region_is_read_from_the_arn() -> None:
    """An alias or a key id names none."""
    assert region_of("arn:aws:kms:eu-central-1:123456789012:key/abc") == "eu-central-1"
    assert region_of("arn:aws-cn:kms:cn-north-1:123456789012:alias/x") == "cn-north-1"
    assert [region_of(key) for key in ("alias/x", "abc-def", "arn:aws:kms", "arn:aws:kms::1:key/x")] == [None] * 4
