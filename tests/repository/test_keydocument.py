from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pgvault.errors import FormatUnsupported, ObjectCorrupt, PgvaultError, WrongKey
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.keydocument import make_key_document, named_slots, open_key_document, sign_key_document
from pgvault.repository.keys import Credential, Keyring, document_hmac
from pgvault.repository.slots import wrap_key

ID = b"repository id 16"
FIRST = "keys/00000001"
RAW = Credential("raw", bytes(range(32)))
WORDS = Credential("passphrase", "grüne Wiese".encode())


def opened(document: dict[str, Any], credential: Credential = RAW) -> Keyring:
    return open_key_document(json.dumps(document).encode(), credential, where=FIRST)[1]


def resigned(document: dict[str, Any], key: RepositoryKey) -> dict[str, Any]:
    return document | {"hmac": document_hmac(document, key, ID)}


@pytest.fixture
def raw() -> bytes:
    return make_key_document(ID, RAW)[0]


@pytest.fixture
def document(raw: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(raw)
    return loaded


def test_raw_key_opens_what_it_made() -> None:
    """The same 32 bytes give back the repository's id and its key."""
    raw, ring = make_key_document(ID, RAW)

    assert open_key_document(raw, RAW, where=FIRST) == (ID, ring)
    assert len(ring.active.secret) == 32


def test_repository_key_is_random_and_not_in_the_document(raw: bytes) -> None:
    """Two repositories of one raw key have two repository keys, and neither key is stored plain."""
    again, ring = make_key_document(ID, RAW)

    assert ring.active.secret != open_key_document(raw, RAW, where=FIRST)[1].active.secret
    for secret in (ring.active.secret, RAW.secret):
        assert secret.hex().encode() not in again
        assert base64.b64encode(secret) not in again


def test_passphrase_opens_what_it_made_and_no_other_does() -> None:
    """A passphrase is taken byte for byte: a space more is another one."""
    raw, ring = make_key_document(ID, WORDS)

    assert open_key_document(raw, WORDS, where=FIRST) == (ID, ring)
    for wrong in (WORDS.secret + b" ", WORDS.secret.lower().replace("ü".encode(), "u\u0308".encode())):
        with pytest.raises(WrongKey):
            open_key_document(raw, Credential("passphrase", wrong), where=FIRST)


def test_scrypt_is_as_costly_as_format_1_says() -> None:
    """128 MiB a guess; the document says so, since a later one may ask for more."""
    document = json.loads(make_key_document(ID, WORDS)[0])

    cost = document["keys"][0]["slots"][0]["scrypt"]
    assert (cost["n"], cost["r"], cost["p"]) == (131072, 8, 1)
    assert len(base64.b64decode(cost["salt"])) == 16


@pytest.mark.parametrize(
    "credential",
    [Credential("raw", bytes(32)), Credential("passphrase", bytes(range(32))), Credential("raw", b"")],
)
def test_wrong_credential_is_a_wrong_key(raw: bytes, credential: Credential) -> None:
    """Another key, or the right bytes as a passphrase, open nothing and say so."""
    with pytest.raises(WrongKey):
        open_key_document(raw, credential, where=FIRST)


def test_every_changed_bit_is_noticed(raw: bytes, document: dict[str, Any]) -> None:
    """Whatever changes the document's meaning is refused; what changes only its spaces is not."""
    for position in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        if is_same_json(bytes(changed), document):
            continue
        with pytest.raises((ObjectCorrupt, WrongKey, FormatUnsupported)):
            open_key_document(bytes(changed), RAW, where=FIRST)


def is_same_json(raw: bytes, document: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(raw) == document)
    except ValueError:
        return False


@pytest.mark.parametrize("credential", [RAW, WORDS])
def test_slot_of_another_repository_does_not_open(credential: Credential) -> None:
    """A slot that was copied into another repository's document is no slot there, of whatever kind it is."""
    document = json.loads(make_key_document(ID, credential)[0])
    opened(document, credential)

    with pytest.raises(WrongKey):
        opened(document | {"repository_id": (b"x" * 16).hex()}, credential)


def test_slot_of_another_key_id_does_not_open(document: dict[str, Any]) -> None:
    """Nor does one that was given another key id."""
    document["keys"][0]["id"] = document["active"] = 2

    with pytest.raises(WrongKey):
        opened(document)


def test_all_keys_open_and_the_active_one_seals() -> None:
    """After a rotation objects of both keys can be read."""
    old, new = RepositoryKey(1, bytes(32)), RepositoryKey(2, bytes([1]) * 32)
    slots = [{"id": key.id, "slots": [wrap_key(key, RAW, ID)]} for key in (old, new)]
    document = {"pgvault_keys": 1, "repository_id": ID.hex(), "active": 2, "keys": slots}

    ring = opened(resigned(document, new))

    assert ring.active == new
    assert ring.by_id == {1: old, 2: new}
    with pytest.raises(ObjectCorrupt):
        opened(resigned(document, old))


def test_one_of_several_slots_is_enough() -> None:
    """A key has as many slots as people hold keys to it; those of kinds not known are passed over."""
    key = RepositoryKey(1, bytes(32))
    slots = [
        {"kind": "unheard of", "wrapped": 7},
        wrap_key(key, Credential("raw", bytes(32)), ID),
        wrap_key(key, RAW, ID),
    ]
    document = {"pgvault_keys": 1, "repository_id": ID.hex(), "active": 1, "keys": [{"id": 1, "slots": slots}]}

    assert opened(resigned(document, key)).active == key


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repository_id", "00"),
        ("repository_id", 7),
        ("repository_id", "no hex"),
        ("active", None),
        ("active", "x"),
        ("keys", None),
        ("keys", 7),
        ("keys", ["x"]),
        ("keys", [{"id": 1}]),
        ("keys", [{"id": -1, "slots": [{"kind": "raw", "wrapped": ""}]}]),
        ("keys", [{"id": 2**32, "slots": [{"kind": "raw", "wrapped": ""}]}]),
        ("keys", [{"id": 1, "slots": [{"kind": "raw", "wrapped": ""}]}]),
        ("keys", [{"id": 1, "slots": [{"kind": "raw", "wrapped": "no base64"}]}]),
        ("keys", [{"id": 1, "slots": "raw"}]),
        ("hmac", None),
        ("hmac", 7),
        ("hmac", "ü"),
        ("hmac", "\ud800"),
    ],
)
def test_malformed_document_is_corrupt(document: dict[str, Any], field: str, value: object) -> None:
    """A document that is JSON and nonsense is never anything but corrupt."""
    with pytest.raises(ObjectCorrupt):
        opened(document | {field: value})


@pytest.mark.parametrize("field", ["repository_id", "active", "keys", "hmac"])
def test_missing_field_is_corrupt(document: dict[str, Any], field: str) -> None:
    """No field may be left out."""
    del document[field]

    with pytest.raises(ObjectCorrupt):
        opened(document)


@pytest.mark.parametrize("cost", [{"n": 3, "r": 8, "p": 1}, {"n": 2**40, "r": 8, "p": 1}, {"n": 2**70, "r": 8, "p": 1}])
def test_absurd_scrypt_costs_are_corrupt(cost: dict[str, int]) -> None:
    """A document can not make a reader take all memory."""
    slot = {"kind": "passphrase", "scrypt": {"salt": "", **cost}, "wrapped": base64.b64encode(bytes(60)).decode()}
    document = {
        "pgvault_keys": 1,
        "repository_id": ID.hex(),
        "active": 1,
        "keys": [{"id": 1, "slots": [slot]}],
        "hmac": "",
    }

    with pytest.raises(ObjectCorrupt):
        opened(document, WORDS)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", ObjectCorrupt),
        (b"[]", ObjectCorrupt),
        (b"{}", ObjectCorrupt),
        (b"\xff\xfe", ObjectCorrupt),
        (b"[" * 100_000, ObjectCorrupt),
        (b'{"pgvault_keys": 2}', FormatUnsupported),
        (b'{"pgvault_keys": "1"}', FormatUnsupported),
    ],
)
def test_what_is_no_key_document_is_refused(raw: bytes, error: type[PgvaultError]) -> None:
    """Anything else under keys/ is corrupt, a later version says that it is one."""
    with pytest.raises(error):
        open_key_document(raw, RAW, where=FIRST)


def test_document_put_again_under_another_number_is_refused(raw: bytes) -> None:
    """Whoever may only add objects could bring the slots of before a removal back as the newest state."""
    open_key_document(raw, RAW, where=FIRST)

    with pytest.raises(ObjectCorrupt, match="number 1"):
        open_key_document(raw, RAW, where="keys/00000002")


def test_document_without_number_opens_as_before(document: dict[str, Any]) -> None:
    """Earlier versions wrote none."""
    key = opened(document).active
    del document["number"]

    assert opened(resigned(document, key)).active == key


def test_slot_left_behind_by_a_rotation_says_so() -> None:
    """A sheet from before a rotation is not called wrong: it opens what is older."""
    old, new = RepositoryKey(1, bytes(32)), RepositoryKey(2, bytes([1]) * 32)
    other = Credential("raw", bytes(32))
    entries = [
        {"id": 1, "slots": [wrap_key(old, each, ID) for each in (RAW, other)]},
        {"id": 2, "slots": [wrap_key(new, RAW, ID)]},
    ]
    raw = sign_key_document(
        {"pgvault_keys": 1, "repository_id": ID.hex(), "active": 2, "keys": entries}, new, ID, number=1
    )

    assert open_key_document(raw, RAW, where=FIRST)[1].active == new
    with pytest.raises(WrongKey, match=r"opens repository key 1 .* but not 2"):
        open_key_document(raw, other, where=FIRST)


def test_slots_without_a_name_are_counted_by_kind() -> None:
    """A document of an earlier version has none, and its slots can be spoken of all the same."""
    entry = {"slots": [{"kind": "raw"}, {"kind": "passphrase"}, {"kind": "raw"}, {"kind": "raw", "name": "escrow"}]}

    assert [name for name, _ in named_slots(entry)] == ["raw-1", "passphrase-1", "raw-2", "escrow"]
