"""What each cluster is configured to have, so that a metric that is gone can be told from one that does not apply.

It is exported from the configuration alone, whatever could be looked at: the twins of the alert rules rest on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgvault.config import Config


def watched(config: Config, clusters: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield cluster and what it has, of the clusters named."""
    for name in clusters:
        yield from ((name, what) for what, has in _parts(config, name).items() if has)


def _parts(config: Config, name: str) -> dict[str, bool]:
    cluster = config.clusters[name]
    copies = config.repository.copies.values()
    is_physical = cluster.source != "logical"
    return {
        "backup": True,
        "verify": True,
        "drill": True,
        "escrow": True,
        "wal": is_physical,
        "pg_wal": is_physical,
        "slot": cluster.stream is not None,
        "schedule": cluster.schedule.backup is not None or cluster.schedule.logical is not None,
        "checks": bool(cluster.checks),
        "copy": len(copies) > 1,
        "locks": any(copy.object_lock is not None for copy in copies),
        "notifier": config.alerts is not None,
    }
