"""Ask a store for the lengths of many objects, by few requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress

from pgvault.errors import ObjectMissing
from pgvault.stores.base import ObjectStore


def lengths_of(store: ObjectStore, paths: Collection[str]) -> dict[str, int]:
    """Return the lengths in bytes of those of the objects that are there.

    By a listing of each place that holds several of them, and one question for each of the others.
    """
    places = Counter(map(_place, paths))
    lone = [path for path in paths if places[_place(path)] == 1]
    wanted = set(paths).difference(lone)
    lengths: dict[str, int] = {}
    for place, count in places.items():
        if count > 1:
            lengths |= {entry.key: entry.size for entry in store.list(place) if entry.key in wanted}
    for path in lone:
        with suppress(ObjectMissing):
            lengths[path] = store.size(path)
    return lengths


def _place(path: str) -> str:
    return path.rpartition("/")[0]
