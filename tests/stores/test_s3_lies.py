"""Every verb against every way in which stores and networks lie: it succeeds, or fails clearly and in time.

Never is a wrong byte served, a conflict hidden, an object taken for absent that is there, or a listing cut short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pgvault.errors import ObjectMissing, PgvaultError, StoreUnfit
from pgvault.stores.base import ObjectStore
from pgvault.stores.commit import Outcome, put_object
from pgvault.stores.probe import probe_put_if_absent
from pgvault.stores.s3 import S3Store
from tests.stores.conftest import HURRIED
from tests.stores.faults import BODY, Answer, Change, Fault, FaultyServer, Request, Reset, Silence, error

LONGEST_SECONDS = 4 * HURRIED.answer_seconds + 6  # of an attempt or two, and the listing that should confirm
HELD, NEW = "wal/held", "wal/new"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb, and what it must come to where it succeeds."""

    name: str
    act: Callable[[ObjectStore], object]
    expected: object


VERBS = [
    Verb("get", lambda store: store.get(HELD), BODY),
    Verb("range", lambda store: store.get_range(HELD, 7, 300), BODY[7:307]),
    Verb("size", lambda store: store.size(HELD), len(BODY)),
    Verb("list", lambda store: [entry.key for entry in store.list("wal")], [HELD]),
    Verb("children", lambda store: store.children("wal"), ["held"]),
    Verb("versions", lambda store: [v.key for v in store.versions("wal")], [HELD]),  # type: ignore[attr-defined]
    Verb("put", lambda store: put_object(store, NEW, BODY) in Outcome, True),
]
FAULTS: dict[str, Fault] = {
    "reset": Reset(),
    "lost answer": Change(is_lost=True),
    "end at 40 %": Change(cut_body_to=len(BODY) * 2 // 5),
    "clean end at 40 %": Change(cut_body_to=len(BODY) * 2 // 5, says_length=False),
    "listing cut": Change(cut_body_to=200, says_length=False),
    "error in a success": error(200, "InternalError"),
    "empty success": Answer(200),
    "a login page": Answer(200, b"<html><body>Please log in</body></html>"),
    "denied": error(403, "AccessDenied"),
    "absent": error(404, "NoSuchKey"),
    "absent, somebody says": Answer(404, b"<html>not found</html>"),
    "conflict": error(409, "ConditionalRequestConflict"),
    "too many": error(429, "TooManyRequests"),
    "internal": error(500, "InternalError"),
    "slow down": error(503, "SlowDown"),
    "drip": Silence(seconds_per_byte=0.05),
    "silence": Silence(),
}


QUICK = {"end at 40 %", "error in a success", "absent"}  # the others take long: in .ci/run


@pytest.mark.parametrize(
    "fault", [fault if fault in QUICK else pytest.param(fault, marks=pytest.mark.endurance) for fault in FAULTS]
)
def test_no_verb_is_deceived(
    faulty_server: FaultyServer, faulty_store: S3Store, hurried_store: S3Store, fault: str
) -> None:
    """Met by the fault at each request, a verb comes to what is true, or to an error of ours, in bounded time."""
    faulty_store.put_if_absent(HELD, BODY)
    for verb in VERBS:
        faulty_server.plan = lambda request: FAULTS[fault]
        begun = time.monotonic()

        try:
            came_to = verb.act(hurried_store)
        except ObjectMissing:
            # Only the store's own word, and then nobody could know better.
            assert fault == "absent"
        except PgvaultError:
            pass
        else:
            assert came_to == verb.expected, verb.name
        assert time.monotonic() - begun < LONGEST_SECONDS, verb.name

    faulty_server.reset()
    assert faulty_store.get(HELD) == BODY
    if NEW.rpartition("/")[2] in faulty_store.children("wal"):  # the fault was that nobody heard of it
        assert faulty_store.get(NEW) == BODY


def test_a_ghost_in_a_listing_is_no_object(faulty_server: FaultyServer, faulty_store: S3Store) -> None:
    """A key that is listed and that nobody can read is an absence by the store's word, never bytes."""
    prefix = faulty_store.url.split("/", 3)[3]
    ghost = f"<Contents><Key>{prefix}/wal/ghost</Key><Size>5</Size></Contents><IsTruncated>false</IsTruncated>"
    page = Answer(200, f"<ListBucketResult>{ghost}</ListBucketResult>".encode())
    faulty_server.plan = lambda request: page if request.is_listing else None

    assert [entry.key for entry in faulty_store.list("wal")] == ["wal/ghost"]
    for read in (faulty_store.get, faulty_store.size):
        with pytest.raises(PgvaultError):
            read("wal/ghost")


def test_an_object_that_becomes_visible_late_is_no_second_one(
    faulty_server: FaultyServer, faulty_store: S3Store
) -> None:
    """A put that meets what it can not see yet looks again, and finds its own object."""
    faulty_store.put_if_absent(NEW, BODY)
    hidden = [error(404, "NoSuchKey")]

    def plan(request: Request) -> Fault:
        return hidden.pop() if request.method in ("GET", "HEAD") and hidden and not request.is_listing else None

    faulty_server.plan = plan
    assert put_object(faulty_store, NEW, BODY) is Outcome.OURS
    assert faulty_store.get(NEW) == BODY


def test_a_store_that_ignores_the_condition_can_not_decide(faulty_server: FaultyServer, faulty_store: S3Store) -> None:
    """Nothing in a put tells it; so it is tried before such a store is ever the first copy."""
    faulty_server.plan = lambda request: Change(drop_request_headers=frozenset({"if-none-match"}))

    with pytest.raises(StoreUnfit):
        probe_put_if_absent(faulty_store, "probes")
