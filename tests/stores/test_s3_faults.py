"""The S3 store against a server and a network that fail: what is overcome, what ends in time."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from pgvault.errors import (
    DiskFull,
    ObjectExists,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
)
from pgvault.stores.base import ObjectStore
from pgvault.stores.commit import Outcome, put_object
from pgvault.stores.open import open_store
from tests.stores.conftest import HURRIED, STEADY, s3_location
from tests.stores.faults import (
    BODY,
    Answer,
    Change,
    Fault,
    FaultyServer,
    Reset,
    Silence,
    error,
    get,
    list_all,
    name_of,
    put,
    size,
)

LONGEST_SECONDS = 2 * HURRIED.answer_seconds + 4  # for two attempts, on a loaded machine

TRANSIENT = [
    error(408, "RequestTimeout"),
    error(409, "ConditionalRequestConflict"),
    error(429, "TooManyRequests"),
    error(499, "ClientClosedRequest"),
    error(500, "InternalError"),
    error(502, "BadGateway"),
    error(503, "SlowDown"),
    error(504, "GatewayTimeout"),
    error(400, "BadDigest"),
    error(400, "RequestTimeout"),
    Answer(503),
    Answer(502, b"<html>bad gateway", {"Content-Type": "text/html"}),
    Silence(),
    Reset(),
]
FOR_EVER: list[tuple[Fault, type[PgvaultError]]] = [
    (error(409, "ConditionalRequestConflict"), StoreUnreachable),
    (error(429, "TooManyRequests"), StoreUnreachable),
    (error(500, "InternalError"), StoreUnreachable),
    (error(503, "SlowDown"), StoreUnreachable),
    (Answer(500), StoreUnreachable),
    (Silence(), StoreUnreachable),
    (Reset(), StoreUnreachable),
    (Silence(seconds_per_byte=0.1), StoreUnreachable),
]
PERMANENT: list[tuple[Fault, type[PgvaultError]]] = [
    (error(400, "InvalidRequest"), StoreUnreachable),
    (error(400, "ExpiredToken"), StoreDenied),
    (error(401, "Unauthorized"), StoreDenied),
    (error(403, "AccessDenied"), StoreDenied),
    (error(403, "SignatureDoesNotMatch"), StoreDenied),
    (error(404, "NoSuchBucket"), StoreUnreachable),
    (error(501, "NotImplemented"), StoreUnfit),
    (error(507, "InsufficientStorage"), DiskFull),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=name_of)
def test_a_passing_fault_is_overcome(faulty_server: FaultyServer, faulty_store: ObjectStore, fault: Fault) -> None:
    """One refused put, get or listing is tried again, with the whole body."""
    faulty_server.once(fault, method="PUT")
    assert put_object(faulty_store, "wal/a", BODY) is Outcome.CREATED

    faulty_server.once(fault, method="GET")
    assert faulty_store.get("wal/a") == BODY
    faulty_server.once(fault, method="GET")
    assert faulty_store.get_range("wal/a", 3, 5) == BODY[3:8]
    faulty_server.once(fault, method="GET")
    assert [entry.size for entry in faulty_store.list("wal")] == [len(BODY)]
    faulty_server.once(fault, method="HEAD")
    assert faulty_store.size("wal/a") == len(BODY)
    faulty_server.once(fault, method="DELETE")
    faulty_store.delete("wal/a")
    assert faulty_store.children("") == []


@pytest.mark.parametrize(("fault", "expected"), FOR_EVER, ids=name_of)
def test_a_lasting_fault_ends_within_the_deadline(
    faulty_server: FaultyServer, hurried_store: ObjectStore, fault: Fault, expected: type[PgvaultError]
) -> None:
    """A store that does not recover is tried at least twice and given up in time, never taken for an empty one."""
    for method, verb in (("PUT", put), ("GET", get), ("GET", list_all), ("HEAD", size)):
        faulty_server.always(fault, method=method)
        faulty_server.requests.clear()
        begun = time.monotonic()

        with pytest.raises(expected) as caught:
            verb(hurried_store)

        assert type(caught.value) is expected
        assert len(faulty_server.requests) >= 2
        assert time.monotonic() - begun < LONGEST_SECONDS


@pytest.mark.parametrize(("fault", "expected"), PERMANENT, ids=name_of)
def test_a_refusal_is_not_repeated(
    faulty_server: FaultyServer, faulty_store: ObjectStore, fault: Fault, expected: type[PgvaultError]
) -> None:
    """What will not change within seconds is reported at once."""
    faulty_server.plan = lambda request: fault
    for verb in (put, list_all):
        faulty_server.requests.clear()

        with pytest.raises(expected):
            verb(faulty_store)

        assert len(faulty_server.requests) == 1


def test_a_wrong_clock_is_tried_again_and_named(
    faulty_server: FaultyServer, faulty_store: ObjectStore, hurried_store: ObjectStore
) -> None:
    """RequestTimeTooSkewed is a 403, yet no refusal of rights; lasting, it says what to look at."""
    skewed = error(403, "RequestTimeTooSkewed")
    faulty_server.once(skewed, method="PUT")
    put(faulty_store)
    faulty_server.once(skewed, method="GET")
    get(faulty_store)

    faulty_server.plan = lambda request: skewed
    for verb in (put, get, list_all):
        with pytest.raises(StoreDenied) as caught:
            verb(hurried_store)
        assert "clock" in (caught.value.hint or "")


def test_each_attempt_is_logged(
    faulty_server: FaultyServer, faulty_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry leaves a line that names the cause and no secret."""
    faulty_server.once(error(503, "SlowDown"), method="PUT")

    with caplog.at_level(logging.INFO, logger="pgvault"):
        put(faulty_store)

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pgvault")]
    assert len(lines) == 1
    assert "SlowDown" in lines[0]


def test_a_put_whose_answer_was_lost_is_ours(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """The retry meets our own object: no conflict, and the object is there once."""
    faulty_server.once(Change(is_lost=True), method="PUT")

    assert put_object(faulty_store, "wal/a", BODY) is Outcome.OURS

    assert faulty_store.get("wal/a") == BODY


def test_a_lost_answer_does_not_hide_a_conflict(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """Other content under the name stays a conflict, whatever happened on the way."""
    faulty_store.put_if_absent("wal/a", b"other" + BODY[5:])
    faulty_server.once(Change(is_lost=True), method="PUT")

    with pytest.raises(ObjectExists):
        put_object(faulty_store, "wal/a", BODY)


@pytest.mark.parametrize("body", [error(200, "InternalError").body, b""])
def test_a_success_with_an_error_inside_is_no_acknowledgement(
    faulty_server: FaultyServer, faulty_store: ObjectStore, body: bytes
) -> None:
    """200 with an <Error> document, or without an ETag, is not believed: the put is made again."""
    faulty_server.once(Answer(200, body), method="PUT")

    put_object(faulty_store, "wal/a", BODY)

    assert [request.method for request in faulty_server.requests].count("PUT") == 2
    assert faulty_store.get("wal/a") == BODY


def test_a_success_with_an_error_inside_is_no_object(
    faulty_server: FaultyServer, faulty_store: ObjectStore, hurried_store: ObjectStore
) -> None:
    """200 with an <Error> document is neither the object's bytes nor its length nor an empty listing."""
    put(faulty_store)
    for method, verb in (("GET", get), ("HEAD", size), ("GET", list_all)):
        faulty_server.always(Answer(200, error(200, "InternalError").body), method=method)

        with pytest.raises(StoreUnreachable):
            verb(hurried_store)


def test_a_page_of_a_proxy_is_no_listing(faulty_server: FaultyServer, hurried_store: ObjectStore) -> None:
    """Well-formed XML that is not a listing does not make the store empty."""
    faulty_server.always(Answer(200, b"<html><body>Please log in</body></html>"), method="GET")

    with pytest.raises(StoreUnreachable):
        list_all(hurried_store)
    with pytest.raises(StoreUnreachable):
        hurried_store.children("")


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("kept", [0, 1, len(BODY) * 2 // 5, len(BODY) - 1])
def test_a_cut_download_is_never_an_object(
    faulty_server: FaultyServer,
    faulty_store: ObjectStore,
    hurried_store: ObjectStore,
    kept: int,
    says_length: bool,
) -> None:
    """A body that ends early, also cleanly, is fetched again and else refused."""
    put(faulty_store)
    cut = Change(cut_body_to=kept, says_length=says_length)

    faulty_server.once(cut, method="GET")
    assert faulty_store.get("wal/a") == BODY
    faulty_server.once(cut, method="GET")
    assert faulty_store.get_range("wal/a", 0, len(BODY)) == BODY
    faulty_server.always(cut, method="GET")
    with pytest.raises(StoreUnreachable):
        hurried_store.get("wal/a")
    with pytest.raises(StoreUnreachable):
        hurried_store.get_range("wal/a", 0, len(BODY))


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An endpoint that accepts connections and never says a word."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_black_hole_ends_within_the_deadline(black_hole: str) -> None:
    """An endpoint that swallows everything fails every verb within seconds."""
    store = open_store(s3_location(black_hole, "bucket", "copy"), patience=HURRIED)
    for verb in (put, get, size, list_all):
        begun = time.monotonic()

        with pytest.raises(StoreUnreachable):
            verb(store)

        assert time.monotonic() - begun < LONGEST_SECONDS


def test_a_region_that_was_away_is_used_again(faulty_server: FaultyServer, hurried_store: ObjectStore) -> None:
    """While everything is swallowed each verb fails in time; afterwards the same store works on."""
    with faulty_server.black_hole():
        for verb in (put, get, size, list_all):
            with pytest.raises(StoreUnreachable):
                verb(hurried_store)

    put(hurried_store)
    assert hurried_store.get("wal/a") == BODY


def test_nobody_listens() -> None:
    """A refused connection is tried until the deadline, then named with its endpoint."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        store = open_store(
            s3_location(f"http://127.0.0.1:{unused.getsockname()[1]}", "bucket", "copy"), patience=HURRIED
        )

        with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1"):
            get(store)


def test_a_slow_line_is_no_dead_line() -> None:
    """An upload that takes longer than every timeout of the socket goes through while bytes move."""
    body = bytes(24 * 1024 * 1024)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        server = Thread(target=read_slowly, args=(listener, len(body)), daemon=True)
        server.start()
        store = open_store(
            s3_location(f"http://127.0.0.1:{listener.getsockname()[1]}", "bucket", "copy"), patience=STEADY
        )
        begun = time.monotonic()

        store.put_if_absent("packs/1", body)

        assert time.monotonic() - begun > 2 * STEADY.connect_seconds
        server.join()


def read_slowly(listener: socket.socket, length: int) -> None:
    """Take one PUT at some 10 MB a second and acknowledge it."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        while stream.readline().strip():
            pass
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while length > 0:
            length -= len(stream.read(min(length, 1024 * 1024)))
            time.sleep(0.1)
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')
