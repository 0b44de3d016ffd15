"""Put objects into the copies: the deciding one says who has the name, sync copies receive the bytes that won there.

    put         deciding copy ─► each sync copy           what is put again is brought to sync copies that lack it
    put_last    each sync copy ─► deciding copy           the root of a backup, whose being there is the commit

An object's name tells whether it counts as WAL or as part of a backup: copies may be sync for one and async for the
other. What async copies lack, `pgvault copy` brings. A sync copy that fails fails whoever writes: that is what sync
says. What was put into the deciding copy by then stays there, and the next try begins with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pgvault.errors import ObjectCorrupt, ObjectExists, ObjectMissing, PgvaultError
from pgvault.repository.copies import Copy
from pgvault.repository.names import is_local, is_wal
from pgvault.repository.repository import Repository, require_begun
from pgvault.repository.whole import check_whole
from pgvault.stores.commit import Outcome, put_object

logger = logging.getLogger(__name__)


def put(repository: Repository, path: str, body: bytes) -> Outcome:
    """Store `body` under `path`, durable in the deciding copy and in each sync copy when this returns.

    Raises ObjectExists when the deciding copy holds something else under that name; then no other is asked.
    """
    outcome = put_object(repository.deciding.store, path, body)
    for copy in sync_copies(repository, path):
        with blaming(copy, path):
            _put_same(repository, copy, path, body)
    return outcome


def put_last(repository: Repository, path: str, body: bytes) -> Outcome:
    """As `put`, the deciding copy last: what is there is in the others already. Raises ObjectExists."""
    if sync_copies(repository, path) and repository.deciding.has(path):
        raise ObjectExists(f"object {path!r} exists in {repository.deciding.store.url}")
    for copy in sync_copies(repository, path):
        with blaming(copy, path):
            _put_same(repository, copy, path, body)
    return put_object(repository.deciding.store, path, body)


def put_decision(repository: Repository, path: str, body: bytes) -> Outcome:
    """As `put`, for what counts by being in the deciding copy: another copy that does not take it stops nobody."""
    outcome = put_object(repository.deciding.store, path, body)
    for copy in sync_copies(repository, path):
        try:
            _put_same(repository, copy, path, body)
        except PgvaultError as error:
            logger.warning("sync copy %r did not take %s, `pgvault copy` brings it: %s", copy.name, path, error)
    return outcome


def bring(repository: Repository, path: str) -> None:
    """See that each sync copy holds what the deciding one holds under `path`; what is there is told by its length.

    Raises ObjectMissing when the deciding copy has nothing there, ObjectCorrupt when its bytes are not whole.
    """
    for copy in sync_copies(repository, path):
        bring_to(repository, copy, path)


def bring_to(repository: Repository, copy: Copy, path: str) -> None:
    """See that one copy holds what the deciding one holds under `path`. As `bring`."""
    length = repository.deciding.store.size(path)
    with blaming(copy, path):
        try:
            held = copy.store.size(path)
        except ObjectMissing:
            held = None
        if held is not None and held != length:
            raise _damaged(copy, path)
    if held is None:
        body = repository.deciding.store.get(path)
        check_whole(path, body)
        with blaming(copy, path):
            _put_same(repository, copy, path, body)


def delete(repository: Repository, path: str) -> None:
    """Remove an object that has become superfluous; an absent one is fine."""
    repository.deciding.store.delete(path)
    for copy in sync_copies(repository, path):
        with blaming(copy, path):
            copy.store.delete(path)


def sync_copies(repository: Repository, path: str) -> tuple[Copy, ...]:
    """Return the copies besides the deciding one that a write of this name waits for."""
    if is_local(path):
        return ()
    if is_wal(path):
        return tuple(copy for copy in repository.copies[1:] if copy.is_sync_for_wal)
    return tuple(copy for copy in repository.copies[1:] if copy.is_sync_for_backups)


def decided(repository: Repository) -> Repository:
    """Return the repository as the deciding copy alone shows it: what whoever writes goes by.

    A region that does not answer must cost the archiver nothing, not even the time to find that out.
    """
    return replace(repository, copies=repository.copies[:1])


@contextmanager
def blaming(copy: Copy, path: str) -> Iterator[None]:
    """Name the sync copy in whatever goes wrong with it, and how to go on without it."""
    try:
        yield
    except PgvaultError as error:
        setting = "wal" if is_wal(path) else "backups"
        way = f"To go on without it: copies.{copy.name}.{setting}: async, and pgvault copy brings it up to date."
        hint = f"{error.hint} {way}" if error.hint else way
        raise type(error)(f"sync copy {copy.name!r} did not take {path!r}: {error}", hint=hint) from error


def _put_same(repository: Repository, copy: Copy, path: str, body: bytes) -> None:
    require_begun(repository, copy)
    try:
        put_object(copy.store, path, body)
    except ObjectExists as error:
        raise _damaged(copy, path) from error


def _damaged(copy: Copy, path: str) -> ObjectCorrupt:
    return ObjectCorrupt(
        f"object {path!r} is not what the deciding copy holds", hint=f"See: pgvault verify --copy {copy.name} --repair."
    )
