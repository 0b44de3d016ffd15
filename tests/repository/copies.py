"""Stores that go silent, forget and are overwritten, and a reader over some of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnreachable
from pgvault.repository.copies import Copy
from pgvault.repository.reader import Reader
from pgvault.stores.base import ObjectEntry, ObjectVersion
from tests.fakes import MemoryStore

PATH = "clusters/main/backups/20260115T103000Z-f7c2/packs/0"
GOOD = b"good bytes"
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


class Clock:
    """A monotonic clock that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Flaky(MemoryStore):
    """A store that can go silent, after a wait; `calls` counts what was asked all the same."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.error: PgvaultError | None = None
        self.wait_seconds = 20.0
        self.silent_after: int | None = None  # entries of a listing
        self._clock = clock

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        for number, entry in enumerate(super().list(prefix)):
            if number == self.silent_after:
                raise StoreUnreachable("the listing was cut")
            yield entry

    def _note(self, verb: str, key: str) -> None:
        super()._note(verb, key)
        if self.error is not None:
            if self._clock is not None:
                self._clock.seconds += self.wait_seconds
            raise self.error.__class__(str(self.error))


class Versioned(Flaky):
    """A store that keeps every version; the newest is what readers see, unless it is a delete marker (None)."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[bytes | None]] = {}
        self.version_error: PgvaultError | None = None

    def overwrite(self, key: str, body: bytes | None) -> None:
        self.kept.setdefault(key, [] if key not in self.objects else [self.objects[key]]).append(body)
        self.objects.pop(key, None)
        if body is not None:
            self.objects[key] = body

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self.calls.append(("versions", prefix))
        if self.version_error is not None:
            raise self.version_error
        for key, bodies in sorted(self.kept.items()):
            if key == prefix or key.startswith(f"{prefix}/"):
                for number, body in enumerate(bodies):
                    is_latest = number == len(bodies) - 1
                    yield ObjectVersion(key, str(number), body is None, is_latest, len(body or b""), AT)

    def get_version(self, key: str, version: str) -> bytes:
        body = self.kept[key][int(version)]
        if body is None:
            raise ObjectMissing(f"version {version} of {key!r} is a delete marker")
        return body

    def delete_version(self, key: str, version: str) -> None:
        raise AssertionError("a reader removes nothing")

    def locked_until(self, key: str, version: str) -> datetime | None:
        return None


def check(body: bytes) -> bytes:
    if body != GOOD:
        raise ObjectCorrupt(f"these are {len(body)} wrong bytes")
    return body


def reader_of(*stores: MemoryStore, clock: Clock | None = None) -> Reader:
    names = ("primary", "dr", "vault")
    copies = [Copy(name, store) for name, store in zip(names, stores, strict=False)]
    return Reader(copies, monotonic=clock or Clock())


def holding(*bodies: bytes | None) -> list[Flaky]:
    """Stores that hold each of these under PATH; None: nothing."""
    stores = []
    for body in bodies:
        store = Flaky()
        if body is not None:
            store.objects[PATH] = body
        stores.append(store)
    return stores
