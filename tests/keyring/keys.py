"""Repositories of several copies to change keys in, and a process that dies after any store operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from pgvault.pipeline.header import Kind
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain, read_plain
from pgvault.repository.repository import Repository, init_repository, open_repository
from pgvault.stores.base import ObjectEntry, ObjectStore
from tests.fakes import MemoryStore

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
RAW = Credential("raw", bytes(range(32)))
OTHER = Credential("raw", bytes(32))
THIRD = Credential("raw", b"3" * 32)


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Mortal:
    """A store whose user dies right after the operation that uses up `lives`, shared by all copies."""

    def __init__(self, store: ObjectStore, lives: Callable[[], None]) -> None:
        self._store = store
        self._lives = lives

    @property
    def url(self) -> str:
        return self._store.url

    def create_root(self) -> None:
        self._store.create_root()
        self._lives()

    def put_if_absent(self, key: str, body: bytes) -> None:
        self._store.put_if_absent(key, body)
        self._lives()

    def get(self, key: str) -> bytes:
        found = self._store.get(key)
        self._lives()
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        found = self._store.get_range(key, start, length)
        self._lives()
        return found

    def size(self, key: str) -> int:
        found = self._store.size(key)
        self._lives()
        return found

    def children(self, prefix: str) -> list[str]:
        found = self._store.children(prefix)
        self._lives()
        return found

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        found = self._store.list(prefix)
        self._lives()
        return found

    def delete(self, key: str) -> None:
        self._store.delete(key)
        self._lives()


def countdown(count: int) -> Callable[[], None]:
    """Return what dies when it is called for the `count`-th time."""
    left = [count]

    def live() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    return live


class Vault:
    """A repository with one object sealed at its beginning, in several memory copies."""

    def __init__(self, count: int = 2, credential: Credential = RAW) -> None:
        self.stores = [MemoryStore() for _ in range(count)]
        self.credential = credential
        self.repository, _ = init_repository(self.copies(), credential, now=NOW)
        self.sealed: list[str] = []
        self.seal()

    def copies(self, lives: Callable[[], None] | None = None) -> list[Copy]:
        return [
            Copy(f"copy{number}", store if lives is None else Mortal(store, lives))
            for number, store in enumerate(self.stores)
        ]

    def open(self, credential: Credential | None = None, *, copy: int | None = None) -> Repository:
        """Open all copies, or one alone."""
        chosen = self.copies() if copy is None else [self.copies()[copy]]
        return open_repository(chosen, credential or self.credential)

    def seal(self, credential: Credential | None = None) -> int:
        """Put an object into every copy as a backup would; returns the id of the key that sealed it."""
        repository = self.open(credential)
        path = f"clusters/main/drills/{len(self.sealed)}"
        put_plain(replace(repository, copies=repository.copies[:1]), path, Kind.DRILL, plain=path.encode())
        for store in self.stores[1:]:
            store.objects[path] = self.stores[0].objects[path]
        self.sealed.append(path)
        return repository.keys.active.id

    def require_readable(self, *credentials: Credential) -> None:
        """See that each copy by itself opens with each credential and gives every object."""
        for number in range(len(self.stores)):
            for credential in credentials or (self.credential,):
                repository = self.open(credential, copy=number)
                for path in self.sealed:
                    assert read_plain(repository, path, Kind.DRILL) == path.encode()
