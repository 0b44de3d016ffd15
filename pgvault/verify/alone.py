"""One copy as anybody sees it who has only that one, and no older versions of what lies there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.stores.base import Names, ObjectEntry, ObjectStore


class PresentStore:
    """A store without its older versions: reading would heal from them, and nobody would hear of the damage."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def url(self) -> str:
        return self._store.url

    def create_root(self) -> None:
        """As the store does."""
        self._store.create_root()

    def put_if_absent(self, key: str, body: bytes) -> None:
        """As the store does."""
        self._store.put_if_absent(key, body)

    def get(self, key: str) -> bytes:
        """As the store does."""
        return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As the store does."""
        return self._store.get_range(key, start, length)

    def size(self, key: str) -> int:
        """As the store does."""
        return self._store.size(key)

    def children(self, prefix: str) -> Names:
        """As the store does."""
        return self._store.children(prefix)

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        """As the store does."""
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        """As the store does."""
        self._store.delete(key)


def alone(repository: Repository, copy: Copy) -> Repository:
    """Return the repository as that copy alone shows it at present."""
    return replace(repository, copies=(replace(copy, store=PresentStore(copy.store)),))
