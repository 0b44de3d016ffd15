"""Leave metrics where others fetch them: a file for node-exporter's textfile collector, or a Pushgateway."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from prometheus_client import push_to_gateway

from pgvault.errors import DiskFull, PlainSecret, StoreUnreachable, UsageError
from pgvault.metrics.exposition import Collected, expose, make_registry

MODE = 0o644  # node-exporter is another user, whatever our umask is
JOB = "pgvault"
PUSH_SECONDS = 30.0


def write_textfile(path: Path, collected: Collected) -> None:
    """Write the exposition to `path` by a rename: whoever reads sees the old file or the new one.

    The file under way has no name that the textfile collector reads. Raises DiskFull, UsageError.
    """
    if not path.name:
        raise UsageError(f"metrics can not be written to {str(path)!r}: it names no file")
    under_way = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with under_way.open("wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(expose(collected))
            file.flush()
            os.fsync(file.fileno())
        under_way.replace(path)
    except OSError as error:
        with suppress(OSError):
            under_way.unlink()
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else UsageError
        raise kind(f"metrics can not be written to {str(path)!r}: {error.strerror}") from error


def check_gateway(url: str) -> None:
    """See that `url` is one to push to. Raises UsageError, and PlainSecret for one that holds a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise PlainSecret("the gateway's URL holds a password", hint="Let a proxy on this host add it.")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{url!r} is not a gateway's URL", hint="Write http://pushgateway:9091.")


def push(url: str, cluster: str, collected: Collected, *, timeout_seconds: float = PUSH_SECONDS) -> None:
    """Replace what the gateway holds of a cluster: what is not known any more is gone there, too.

    Raises StoreUnreachable.
    """
    registry = make_registry(collected)
    try:
        push_to_gateway(url, JOB, registry, grouping_key={"cluster": cluster}, timeout=timeout_seconds)
    except HTTPError as error:
        raise StoreUnreachable(f"the gateway {url!r} refused the metrics: {error.code} {error.reason}") from error
    except (URLError, OSError) as error:
        why = error.reason if isinstance(error, URLError) else error
        raise StoreUnreachable(f"the gateway {url!r} did not take the metrics: {why}") from error
