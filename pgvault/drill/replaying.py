"""Let a scratch server replay WAL to its target, also where that makes tablespaces at paths of this host.

    start ─► replay ─► the WAL service finds CREATE TABLESPACE ─► recovery stops ─► a directory of the scratch is bound
      ▲                                                                             over the path in the sandbox
      └─────────────────────────────────────────────────────────────────────────────────────────────┘

A server whose restore_command failed goes on at its last restart point when it is started again, in the same directory
(tried). In the sandbox the path is then the scratch's own; a replayed DROP TABLESPACE empties nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pgvault.drill.scratch import Scratch
from pgvault.drill.walservice import WalService
from pgvault.errors import DrillNotRun, RecoveryFailed
from pgvault.postgres.instance import Instance, ServerState


def replay(
    instance: Instance, settings: Mapping[str, str], service: WalService, scratch: Scratch, *, timeout: timedelta
) -> list[str]:
    """Start the server and wait until recovery is over; return the paths of tablespaces that were bound for it.

    Raises RecoveryFailed, or what kept the service from serving.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    bound: list[str] = []
    while True:
        try:
            instance.start(settings)
            instance.wait_ready(max(0.0, deadline - time.monotonic()))
            return bound
        except RecoveryFailed as error:
            if service.failure is not None:
                raise service.failure from error
            if not service.wanted or instance.state() is not ServerState.STOPPED:
                raise
        for path in service.wanted:
            bind_tablespace(scratch, path, number=len(bound) + 1)
            bound.append(path)
        service.bound()


def bind_tablespace(scratch: Scratch, path: str, *, number: int) -> None:
    """Show a directory of the scratch where replayed WAL makes a tablespace. Raises DrillNotRun where none can be."""
    if not path.startswith("/"):
        raise DrillNotRun(f"a tablespace at {path!r} can not be replayed")
    directory = scratch.tablespaces / f"made-{number}"
    directory.mkdir(mode=0o700)
    scratch.give(directory)
    scratch.launcher.bind(Path(path), directory)
