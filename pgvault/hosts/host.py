"""What is known of the host for which a scheduler's files are written, and what such a file is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgvault.monitor.settings import Invocation


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file to be put into a scheduler's directory."""

    name: str
    content: str
    warning: tuple[str, str] | None = None  # what is wrong with it all the same, and what can be done


@dataclass(frozen=True, slots=True)
class ScheduleOrder:
    """How this very pgvault is started, for which clusters, and by whom."""

    program: tuple[str, ...]  # an absolute path, and what makes it pgvault
    config: Path  # absolute
    users: Mapping[str, str]  # clusters that are asked for, and who runs what is done for each
    host: str  # its name: what spreads a fleet
    zone: str = "UTC"  # in which its cron reads times
    jitter: timedelta | None = None  # the most by which a run may be late; None: as suits the job

    def invocation(self, cluster: str | None) -> Invocation:
        """Return how it is called for one cluster, or for all."""
        return Invocation(self.program, self.program, self.program, self.config, cluster)

    def unsaid(self, job: str, cron: str) -> str:
        """Return the comment above what runs at a usual time."""
        return f'# Nobody said when: write   schedule: {{{job}: "{cron}"}}   into {self.config}; `status` counts by it.'
