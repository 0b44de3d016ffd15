"""Which commands a job of `schedule:` is made of, and when it runs where nobody said: one table for every scheduler.

    schedule:  name      commands, each with --cluster NAME behind it                  unless said otherwise
               backup    backup                                                        daily
               logical   backup --type logical, then drill --logical latest            weekly
               …

`pgvault schedule` prints it for systemd and cron, and the Helm chart writes the same commands out in its templates: a
test holds the two together, and runs every one of them. A job's commands run one after the other; the first one that
fails ends it, and its exit status is the job's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pgvault.config.config import ClusterConfig


@dataclass(frozen=True, slots=True)
class Job:
    """One job of one cluster."""

    name: str  # as `schedule:` calls it
    commands: tuple[tuple[str, ...], ...]  # words behind `pgvault`
    cron: str  # five fields; when it runs where `schedule:` says nothing, in the configuration's time zone
    needs_files: bool  # of backups that hold files: nothing for a cluster of which there are logical ones alone
    deadline_seconds: int  # after which something is wrong with it, and it is ended

    def lines(self, cluster: str) -> tuple[tuple[str, ...], ...]:
        """Return the words behind `pgvault` of every command, for one cluster."""
        return tuple((*command, "--cluster", cluster) for command in self.commands)


HOUR = 3600  # seconds

JOBS: Mapping[str, Job] = MappingProxyType(
    {
        job.name: job
        for job in (
            Job("backup", (("backup",),), "0 1 * * *", True, 12 * HOUR),
            Job(
                "logical",
                (("backup", "--type", "logical"), ("drill", "--logical", "latest")),
                "0 2 * * 0",
                False,
                12 * HOUR,
            ),
            Job("schema", (("backup", "--type", "schema"),), "0 * * * *", False, HOUR),
            Job("drill", (("drill", "--random"),), "0 5 * * 6", True, 12 * HOUR),
            Job("verify", (("verify", "--sample", "5%"),), "0 4 * * *", False, 12 * HOUR),
            Job("expire", (("expire",),), "0 3 * * *", False, 4 * HOUR),
            Job("copy", (("copy",),), "*/15 * * * *", False, 12 * HOUR),
            Job("checks", (("checks", "run", "--live"),), "*/30 * * * *", False, HOUR),
        )
    }
)


def jobs_of(cluster: ClusterConfig, *, has_copies: bool) -> tuple[Job, ...]:
    """Return the jobs that make sense for a cluster, in the order of the table.

    Without further copies there is nothing to copy; without checks there is nothing to ask; of a cluster with
    `source: logical` there are no files to back up, and no moment to drill.
    """
    is_logical = cluster.source == "logical"
    return tuple(
        job
        for job in JOBS.values()
        if not (job.needs_files and is_logical)
        and not (job.name == "copy" and not has_copies)
        and not (job.name == "checks" and not cluster.checks)
    )
