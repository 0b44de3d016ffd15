"""Put objects into the copies: the deciding one says who has the name, sync copies receive the bytes that won there.

An object's name tells whether it counts as WAL or as part of a backup: copies may be sync for one and async for the
other. What async copies lack, `pgvault copy` brings.
"""

from __future__ import annotations

from pgvault.repository.repository import Repository
from pgvault.stores.commit import Outcome, put_object


def put(repository: Repository, path: str, body: bytes) -> Outcome:
    """Store `body` under `path`, durable in the deciding copy when this returns. Raises ObjectExists."""
    return put_object(repository.deciding.store, path, body)


def delete(repository: Repository, path: str) -> None:
    """Remove an object that has become superfluous; an absent one is fine."""
    repository.deciding.store.delete(path)
