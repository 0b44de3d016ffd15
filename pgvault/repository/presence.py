"""In which copies a backup is: where its root is, since a root enters a copy only behind everything it needs.

By a question for each root and copy, none opened: whether a copy's bytes are whole is for `verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pgvault.errors import StoreDenied, StoreUnreachable
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository

ASKERS = 8  # a question takes its round trip


def copies_holding(repository: Repository, cluster: str, labels: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the names of the copies that hold the root, by label. A copy that does not answer is none of them."""
    wanted = list(labels)
    held: dict[str, list[str]] = {label: [] for label in wanted}
    for copy in repository.copies:
        if copy.name not in repository.unread:
            for label in _held(copy, cluster, wanted):
                held[label].append(copy.name)
    return {label: tuple(names) for label, names in held.items()}


def _held(copy: Copy, cluster: str, labels: list[str]) -> list[str]:
    def has(label: str) -> bool:
        return copy.has(layout.manifest(cluster, label))

    try:
        with ThreadPoolExecutor(ASKERS, thread_name_prefix="ask") as pool:
            return [label for label, is_held in zip(labels, pool.map(has, labels), strict=True) if is_held]
    except (StoreDenied, StoreUnreachable):
        return []
