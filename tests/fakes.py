"""Doubles that work: a store in memory that can be told to fail."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from threading import Lock

from pgvault.errors import ObjectExists, ObjectMissing, StoreUnreachable
from pgvault.stores.base import Names, ObjectEntry
from pgvault.stores.keys import check_key


class MemoryStore:
    """A store whose objects are a dict, so that a test can look at them, damage them and take them away.

    Puts are counted from 1, over the store's life. The n-th put fails and stores nothing for n in `fail_puts`;
    for n in `lose_answers` it stores and then reports ObjectExists, as a store does whose own retry met the
    object of its first try; for n in `die_after_puts` it stores and reports StoreUnreachable, as when no retry
    came through. `calls` lists every verb with its key in the order of arrival. `fail_after_calls` makes the
    store unreachable after so many calls: a crash point.
    """

    def __init__(
        self,
        *,
        fail_puts: Collection[int] = (),
        lose_answers: Collection[int] = (),
        die_after_puts: Collection[int] = (),
        fail_after_calls: int | None = None,
    ) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.puts = 0
        self.fail_puts = fail_puts
        self.lose_answers = lose_answers
        self.die_after_puts = die_after_puts
        self.fail_after_calls = fail_after_calls
        self.at: datetime | None = None  # what its clock shows; None: it does not tell
        self._lock = Lock()

    @property
    def url(self) -> str:
        return "memory://"

    def create_root(self) -> None:
        self._note("create_root", "")

    def answered_at(self) -> datetime | None:
        self._note("answered_at", "")
        return self.at

    def put_if_absent(self, key: str, body: bytes) -> None:
        with self._lock:
            self._note("put", check_key(key))
            self.puts += 1
            if self.puts in self.fail_puts:
                raise StoreUnreachable(f"put {self.puts} of {key!r} was told to fail")
            if key in self.objects:
                raise ObjectExists(f"object {key!r} exists in {self.url}")
            self.objects[key] = bytes(body)
            if self.puts in self.lose_answers:
                raise ObjectExists(f"object {key!r} exists in {self.url}")
            if self.puts in self.die_after_puts:
                raise StoreUnreachable(f"put {self.puts} of {key!r} was told to get no answer")

    def replace(self, key: str, body: bytes) -> None:
        self._note("replace", check_key(key))
        self.objects[key] = bytes(body)

    def get(self, key: str) -> bytes:
        return self._held("get", key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._held("get_range", key)[start : start + length]

    def size(self, key: str) -> int:
        return len(self._held("size", key))

    def children(self, prefix: str) -> Names:
        full = f"{check_key(prefix)}/" if prefix else ""
        self._note("children", prefix)
        below = (key.removeprefix(full) for key in list(self.objects) if key.startswith(full))
        return sorted({rest.partition("/")[0] for rest in below})

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        full = f"{check_key(prefix)}/"
        self._note("list", prefix)
        held = sorted(self.objects.items())
        return iter([ObjectEntry(key, len(body)) for key, body in held if key.startswith(full)])

    def delete(self, key: str) -> None:
        self._note("delete", check_key(key))
        self.objects.pop(key, None)

    def _note(self, verb: str, key: str) -> None:
        self.calls.append((verb, key))
        if self.fail_after_calls is not None and len(self.calls) > self.fail_after_calls:
            raise StoreUnreachable(f"call {len(self.calls)} was told to fail")

    def _held(self, verb: str, key: str) -> bytes:
        self._note(verb, check_key(key))
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(f"object {key!r} is absent in {self.url}") from None
