from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import FormatUnsupported, ObjectCorrupt, WrongKey
from pgvault.pipeline.header import Kind, ObjectHeader
from pgvault.pipeline.seal import (
    FRAME_BYTES,
    Address,
    RepositoryKey,
    content_hmac,
    open_frames,
    seal,
    split,
)
from tests.pipeline.forge import assemble, dissect, rehashed

KEY = RepositoryKey(1, bytes(range(32)))
KEYS = {1: KEY}
PLACE = Address(b"repository id 16", "clusters/main/backups/20260115T103000Z-f7c2/packs/00000003", Kind.PACK)
FRAMES = [b"first " * 20, b"", b"\x00\xff third, which does not shrink", b"the last one " * 9]

some_frames = st.lists(st.binary(max_size=300) | st.integers(1, 5000).map(bytes), max_size=6)
sizes = [0, 1, 8191, 8192, 8193, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 12345]


def opened(body: bytes, place: Address = PLACE, keys: dict[int, RepositoryKey] = KEYS) -> list[bytes]:
    return list(open_frames(body, place, keys=keys))


@pytest.fixture(scope="module")
def body() -> bytes:
    return seal(FRAMES, PLACE, key=KEY).body


@given(some_frames)
def test_what_was_sealed_opens(frames: list[bytes]) -> None:
    """Frames come back one for one, empty ones too; no frame at all is one empty frame."""
    sealed = seal(frames, PLACE, key=KEY)

    assert opened(sealed.body) == (frames or [b""])
    assert sealed.sha256 == hashlib.sha256(sealed.body).digest()
    assert sealed.frame_count == len(frames or [b""])
    assert sealed.plain_length == sum(map(len, frames))


@pytest.mark.parametrize("size", sizes)
@pytest.mark.parametrize("content", ["random", "zeros"])
def test_every_size_around_a_frame_opens(size: int, content: str) -> None:
    """Around pages and frames nothing is lost, compressible or not."""
    plain = bytes(size) if content == "zeros" else random.Random(size).randbytes(size)

    sealed = seal(split(plain), PLACE, key=KEY)

    assert b"".join(opened(sealed.body)) == plain
    assert sealed.frame_count == max(1, -(-size // FRAME_BYTES))
    assert content == "random" or len(sealed.body) < 1000


def test_frame_that_is_too_long_is_not_sealed() -> None:
    """A writer that forgot to split stops before anything is written."""
    with pytest.raises(ValueError, match="at most"):
        seal([bytes(FRAME_BYTES + 1)], PLACE, key=KEY)


def test_buffer_that_is_reused_two_frames_later_is_sealed_right() -> None:
    """Readers fill two buffers in turn; `seal` looks ahead by one frame and not further."""
    buffers = bytearray(100), bytearray(100)

    def reused() -> Iterator[memoryview]:
        for number in range(9):
            buffers[number % 2][:] = bytes([number]) * 100
            yield memoryview(buffers[number % 2])

    assert opened(seal(reused(), PLACE, key=KEY).body) == [bytes([number]) * 100 for number in range(9)]


def test_every_truncation_is_refused(body: bytes) -> None:
    """No prefix of an object opens."""
    for length in range(len(body)):
        with pytest.raises(ObjectCorrupt):
            opened(body[:length])


def test_every_prefix_with_a_trailer_of_its_own_is_refused(body: bytes) -> None:
    """Who cuts frames off and writes a right trailer behind the rest is found out by the last flag."""
    header, pieces, plain_length = dissect(body)
    for count in range(len(pieces)):
        with pytest.raises(ObjectCorrupt):
            opened(assemble(header, pieces[:count], plain_length))


def test_every_flipped_bit_is_refused(body: bytes) -> None:
    """One changed bit anywhere is an error, never other plaintext; but in the version it is never a wrong key."""
    for position in range(len(body) * 8):
        with pytest.raises((ObjectCorrupt, FormatUnsupported)):
            opened(flipped(body, position))


def test_every_flipped_bit_is_refused_also_under_a_right_hash(body: bytes) -> None:
    """The trailer's hash needs no key, so whoever changes a bit can make it right: the seal must hold alone."""
    for position in range((len(body) - 32) * 8):
        with pytest.raises((ObjectCorrupt, FormatUnsupported, WrongKey)):
            opened(rehashed(flipped(body, position)))


def flipped(body: bytes, position: int) -> bytes:
    damaged = bytearray(body)
    damaged[position // 8] ^= 1 << position % 8
    return bytes(damaged)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_inserted_and_appended_bytes_are_refused(body: bytes, junk: bytes, data: st.DataObject) -> None:
    """Bytes more than were sealed, at any place, do not open; nor does what follows a whole object."""
    at = data.draw(st.integers(0, len(body)))

    with pytest.raises((ObjectCorrupt, FormatUnsupported)):
        opened(body[:at] + junk + body[at:])


def test_two_objects_in_a_row_are_refused(body: bytes) -> None:
    """An object ends where its trailer says."""
    with pytest.raises(ObjectCorrupt):
        opened(body + body)


@given(st.permutations(range(4)).filter(lambda order: order != [0, 1, 2, 3]))
def test_swapped_frames_are_refused(body: bytes, order: list[int]) -> None:
    """Frames open in their order only."""
    header, pieces, plain_length = dissect(body)

    with pytest.raises(ObjectCorrupt):
        opened(assemble(header, [pieces[index] for index in order], plain_length))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(lambda order: order != [0, 1, 2, 3]))
def test_dropped_and_repeated_frames_are_refused(body: bytes, order: list[int]) -> None:
    """Neither may one be left out, nor given twice, whatever the trailer says."""
    header, pieces, plain_length = dissect(body)

    with pytest.raises(ObjectCorrupt):
        opened(assemble(header, [pieces[index] for index in order], plain_length))


@pytest.mark.parametrize("index", range(4))
def test_frame_of_another_object_is_refused(body: bytes, index: int) -> None:
    """The same frame, of the same plaintext, sealed for the same place another time, does not fit in."""
    header, pieces, plain_length = dissect(body)
    _, others, _ = dissect(seal(FRAMES, PLACE, key=KEY).body)

    with pytest.raises(ObjectCorrupt):
        opened(assemble(header, [*pieces[:index], others[index], *pieces[index + 1 :]], plain_length))


def test_all_frames_under_another_header_are_refused(body: bytes) -> None:
    """The header is part of what is authenticated, also where its salt stays."""
    header, pieces, plain_length = dissect(body)
    decoded = ObjectHeader.decode(header, where="x")
    other = ObjectHeader(decoded.kind, decoded.key_id, decoded.salt, bytes(16), decoded.content_hmac)

    with pytest.raises(ObjectCorrupt):
        opened(assemble(other.encode(), pieces, plain_length))


@pytest.mark.parametrize(
    "place",
    [
        Address(PLACE.repository_id, PLACE.path.replace("main", "mail"), PLACE.kind),
        Address(PLACE.repository_id, PLACE.path[:-1] + "4", PLACE.kind),
        Address(PLACE.repository_id, PLACE.path[:-1], PLACE.kind),
        Address(PLACE.repository_id, "", PLACE.kind),
        Address(b"repository id 17", PLACE.path, PLACE.kind),
    ],
)
def test_object_opens_nowhere_else(body: bytes, place: Address) -> None:
    """Under another name, or in another repository, an object is corrupt."""
    with pytest.raises(ObjectCorrupt):
        opened(body, place)


def test_repository_id_can_not_run_into_the_path() -> None:
    """Both are hashed side by side, so an id of another length is refused at once."""
    with pytest.raises(ValueError, match="16 bytes"):
        Address(PLACE.repository_id[:-1], PLACE.repository_id[-1:].decode() + PLACE.path, PLACE.kind)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not PLACE.kind])
def test_object_of_another_kind_is_refused(body: bytes, kind: Kind) -> None:
    """Neither asking for another kind nor writing another one into the header helps."""
    elsewhere = Address(PLACE.repository_id, PLACE.path, kind)
    relabelled = rehashed(body[:10] + bytes([kind]) + body[11:])

    for candidate, place in ((body, elsewhere), (relabelled, elsewhere), (relabelled, PLACE)):
        with pytest.raises(ObjectCorrupt):
            opened(candidate, place)


def test_wrong_key_does_not_open(body: bytes) -> None:
    """Another key under the same id is corruption, no key of that id is a wrong key."""
    with pytest.raises(ObjectCorrupt):
        opened(body, keys={1: RepositoryKey(1, bytes(32))})
    with pytest.raises(WrongKey):
        opened(body, keys={2: KEY})


def test_every_one_of_several_keys_is_found_by_its_id() -> None:
    """Objects of older keys stay readable beside those of newer ones."""
    newer = RepositoryKey(7, bytes(32))

    assert opened(seal([b"old"], PLACE, key=KEY).body, keys={1: KEY, 7: newer}) == [b"old"]
    assert opened(seal([b"new"], PLACE, key=newer).body, keys={1: KEY, 7: newer}) == [b"new"]


def test_frames_before_a_bad_one_are_given_and_the_bad_one_never(body: bytes) -> None:
    """No byte of a frame leaves before its tag was checked."""
    header, pieces, plain_length = dissect(body)
    bad = bytearray(pieces[2])
    bad[-20] ^= 1
    frames = open_frames(assemble(header, [*pieces[:2], bytes(bad), pieces[3]], plain_length), PLACE, keys=KEYS)

    assert [next(frames), next(frames)] == FRAMES[:2]
    with pytest.raises(ObjectCorrupt):
        next(frames)
    assert list(frames) == []


def test_plaintext_does_not_show() -> None:
    """What was sealed is not to be seen in the object, compressed or not."""
    canary = b"canary-" + random.Random(1).randbytes(64)
    sealed = seal([canary, canary * 50], PLACE, key=KEY)

    assert canary not in sealed.body
    assert canary[:7] not in sealed.body


def test_no_key_and_nonce_is_used_twice() -> None:
    """The data key hangs on the salt alone, nonces count from 0 in each object: so no salt may come twice.

    Also not in a forked child, where a generator seeded before would begin to repeat its parent.
    """
    place = Address(PLACE.repository_id, "x", Kind.WAL)
    bodies = [seal([b"same"], place, key=KEY).body for _ in range(10_000)]
    bodies += [child_seals(place) for _ in range(3)]
    headers = [ObjectHeader.decode(body, where="x") for body in bodies]

    assert len({header.salt for header in headers}) == len(bodies)
    assert len({header.nonce for header in headers}) == len(bodies)
    assert len({body[128:] for body in bodies}) == len(bodies)


def child_seals(place: Address) -> bytes:
    """Return what a forked child sealed."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of threads; the child only seals and leaves
        child = os.fork()
    if child == 0:
        os.write(writing, seal([b"same"], place, key=KEY).body)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        body = pipe.read()
    os.waitpid(child, 0)
    return body


def test_threads_do_not_disturb_each_other() -> None:
    """Many threads seal and open at once, each with compressors of its own."""

    def there_and_back(seed: int) -> bool:
        plain = random.Random(seed).randbytes(1000) * 200
        return b"".join(opened(seal(split(plain), PLACE, key=KEY).body)) == plain

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(64)))


def test_content_hmac_tells_equal_contents_and_nothing_without_the_key() -> None:
    """Equal plaintext has one name in a repository; another key or another repository gives another."""
    digest = hashlib.sha256(b"segment").digest()
    name = content_hmac(KEY, PLACE.repository_id, digest)

    assert name == content_hmac(KEY, PLACE.repository_id, digest)
    assert name != content_hmac(KEY, PLACE.repository_id, hashlib.sha256(b"other").digest())
    assert name != content_hmac(KEY, b"repository id 17", digest)
    assert name != content_hmac(RepositoryKey(1, bytes(32)), PLACE.repository_id, digest)


def test_keys_do_not_print_themselves() -> None:
    """A key in a log or a traceback shows its number only."""
    assert repr(KEY) == "RepositoryKey(id=1)"
