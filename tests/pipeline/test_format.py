"""Format 1 as another program writes it: what `forge` makes from FORMAT.md alone opens, and what it forges does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import FRAME_BYTES, Address, RepositoryKey, content_hmac, open_frames, seal
from tests.pipeline.forge import ForgedFrame, Forger, assemble, compressed, dissect, hkdf

KEY = RepositoryKey(1, bytes(range(32)))
PLACE = Address(b"repository id 16", "clusters/main/systems/first", Kind.SYSTEM)
FORGER = Forger(KEY.secret, PLACE.repository_id, PLACE.path, PLACE.kind)
TEXT = b"page " * 100


def opened(body: bytes) -> list[bytes]:
    return list(open_frames(body, PLACE, keys={1: KEY}))


def test_object_of_another_writer_opens() -> None:
    """Raw and compressed frames, written from the specification, are read."""
    frames = [ForgedFrame(b"raw"), ForgedFrame(compressed(TEXT), 1, len(TEXT)), ForgedFrame(b"")]

    assert opened(FORGER.seal(frames)) == [b"raw", TEXT, b""]


def test_sealed_bytes_are_those_of_format_1() -> None:
    """Pinned: an object of known salt and nonce. A change here makes every repository unreadable."""
    body = FORGER.seal([ForgedFrame(b"what was written in 2026"), ForgedFrame(b"opens in 2036")])

    assert hashlib.sha256(body).hexdigest() == "6c2766cd46548f0827aa410aceaab8a996b28cf822c0c851311d3ebeeb4dd7cd"
    assert opened(body) == [b"what was written in 2026", b"opens in 2036"]


def test_our_objects_are_read_by_the_specification() -> None:
    """The frames that `seal` writes are those that another writer makes of the same salt and nonce."""
    body = seal([b"raw", TEXT], PLACE, key=KEY).body
    forger = replace(FORGER, salt=body[16:48], nonce=body[48:64])

    header, pieces, plain_length = dissect(forger.seal([ForgedFrame(b"raw", last=0)]))

    assert header == body[:128]
    assert pieces[0] == dissect(body)[1][0]
    assert plain_length == 3


def test_derived_names_and_keys_are_those_of_format_1() -> None:
    """Pinned: what is derived from the repository key."""
    digest = hashlib.sha256(b"segment").digest()

    assert (
        content_hmac(KEY, PLACE.repository_id, digest).hex()
        == "7d914540c0fe2ad5d377fc80387d0081d5e9892972f17c163a12d74af1ea9898"
    )
    assert KEY.derive("pgvault 1 object", salt=bytes(32)) == hkdf(KEY.secret, salt=bytes(32), info=b"pgvault 1 object")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(ForgedFrame(compressed(TEXT) + compressed(b"x"), 1, len(TEXT)), id="a second zstd frame"),
        pytest.param(ForgedFrame(compressed(TEXT) + b"x", 1, len(TEXT)), id="a tail behind the zstd frame"),
        pytest.param(ForgedFrame(compressed(TEXT)[:-1], 1, len(TEXT)), id="a cut zstd frame"),
        pytest.param(ForgedFrame(compressed(TEXT)[:-4], 1, len(TEXT)), id="a cut checksum"),
        pytest.param(ForgedFrame(b"", 1, 0), id="no zstd frame"),
        pytest.param(ForgedFrame(compressed(b"") + b"x", 1, 0), id="a tail behind an empty zstd frame"),
        pytest.param(ForgedFrame(compressed(TEXT) + compressed(b""), 1, len(TEXT)), id="an empty frame behind it"),
        pytest.param(ForgedFrame(b"junk" * 9, 1, 36), id="what is no zstd frame"),
        pytest.param(ForgedFrame(compressed(TEXT, checksum=False), 1, len(TEXT)), id="no checksum"),
        pytest.param(ForgedFrame(compressed(TEXT, content_size=False), 1, len(TEXT)), id="no content size"),
        pytest.param(ForgedFrame(compressed(TEXT), 1, len(TEXT) - 1), id="more than promised"),
        pytest.param(ForgedFrame(compressed(TEXT), 1, len(TEXT) + 1), id="less than promised"),
        pytest.param(ForgedFrame(b"raw", 0, 4), id="less than promised, raw"),
        pytest.param(ForgedFrame(b"raw", 0, 2), id="more than promised, raw"),
        pytest.param(ForgedFrame(bytes(FRAME_BYTES + 1)), id="a frame too long, raw"),
        pytest.param(ForgedFrame(compressed(bytes(64 << 20)), 1, 64 << 20), id="a bomb that owns up"),
        pytest.param(ForgedFrame(compressed(bytes(64 << 20)), 1, FRAME_BYTES), id="a bomb that lies"),
        pytest.param(ForgedFrame(b"raw", 2), id="an unknown codec"),
        pytest.param(ForgedFrame(b"raw", reserved=1), id="reserved bits"),
        pytest.param(ForgedFrame(b"raw", number=1), id="another number"),
        pytest.param(ForgedFrame(b"raw", last=0), id="not the last"),
        pytest.param(ForgedFrame(b"raw", last=2), id="a flag that is no flag"),
    ],
)
def test_frame_against_the_rules_is_refused_although_its_seal_is_right(frame: ForgedFrame) -> None:
    """Whoever holds the key and writes nonsense is refused, too: a broken writer, or a broken compressor."""
    body = FORGER.seal([frame])

    with pytest.raises(ObjectCorrupt):
        opened(body)


def test_last_flag_in_the_middle_is_refused() -> None:
    """Only the last frame is the last."""
    with pytest.raises(ObjectCorrupt):
        opened(FORGER.seal([ForgedFrame(b"one", last=1), ForgedFrame(b"two")]))


def test_plain_length_of_the_trailer_must_be_true() -> None:
    """The trailer's sum is not sealed, so it is checked."""
    header, pieces, plain_length = dissect(FORGER.seal([ForgedFrame(b"one")]))

    with pytest.raises(ObjectCorrupt):
        opened(assemble(header, pieces, plain_length + 1))


def test_object_without_frames_is_refused() -> None:
    """An empty plaintext is one empty frame."""
    with pytest.raises(ObjectCorrupt):
        opened(FORGER.seal([]))
