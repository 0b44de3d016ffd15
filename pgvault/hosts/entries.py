"""What a host's scheduler is to start, and when: the jobs of every cluster of a configuration.

A job that `schedule:` names runs when it says so, one that is `off` does not run, and all others at their usual times.
Classes of data and checks that have a schedule of their own are entries too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgvault.config import ClusterConfig, Config
from pgvault.hosts.jobs import HOUR, JOBS, Job, jobs_of
from pgvault.schedule import read_cron

NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")  # what has no place in the name of a unit


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is started at its times."""

    cluster: str
    name: str  # of the job, or what else tells it from others of the cluster
    commands: tuple[tuple[str, ...], ...]  # words behind `pgvault`, one after the other
    cron: str
    is_said: bool  # by the configuration; False: a usual time
    deadline_seconds: int


def entries_of(config: Config, name: str) -> tuple[Entry, ...]:
    """Return what is to run for one cluster, in the order of the table of jobs."""
    cluster = config.clusters[name]
    jobs = jobs_of(cluster, has_copies=len(config.repository.copies) > 1)
    plain = [entry for job in jobs if (entry := _entry(name, cluster, job)) is not None]
    return (*plain, *_classes(name, cluster), *_checks(name, cluster))


def is_copied_by_the_clock(config: Config) -> bool:
    """Tell whether any cluster has a schedule for its copies: whoever wrote one wants no service for it."""
    return any(cluster.schedule.copies is not None for cluster in config.clusters.values())


def spread(seed: str, below: int) -> int:
    """Return a number from 0 to below `below`, always the same for one seed: so a fleet does not start at once."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big") % max(1, below)


def _entry(name: str, cluster: ClusterConfig, job: Job) -> Entry | None:
    said = _said(cluster)
    wanted = job.name
    if wanted == "logical" and cluster.source == "logical" and "logical" not in said and "backup" in said:
        wanted = "backup"  # as `status` reads it: there is but one kind of backup
    cron = said.get(wanted, job.cron)
    if cron is None:
        return None
    return Entry(name, job.name, job.lines(name), cron, wanted in said, job.deadline_seconds)


def _said(cluster: ClusterConfig) -> Mapping[str, str | None]:
    """What the file says of jobs: None is `off`."""
    schedule = cluster.schedule
    fields = type(schedule).model_fields
    return {fields[field].alias or field: getattr(schedule, field) for field in schedule.model_fields_set}


def _classes(name: str, cluster: ClusterConfig) -> Iterator[Entry]:
    for class_name, rules in cluster.classes.items():
        if rules.backup is not None:
            command = ("backup", "--type", "logical", "--class", class_name, "--cluster", name)
            unit = f"class-{NO_NAME.sub('-', class_name)}"
            yield Entry(name, unit, (command,), rules.backup, True, JOBS["logical"].deadline_seconds)


def _checks(name: str, cluster: ClusterConfig) -> Iterator[Entry]:
    """Checks by their own schedules: those of one are asked together."""
    by_cron: dict[str, list[str]] = {}
    for check in cluster.checks:
        if check.schedule is not None:
            by_cron.setdefault(read_cron(check.schedule), []).append(check.name)
    for number, (cron, names) in enumerate(by_cron.items(), 1):
        chosen = [word for each in names for word in ("--check", each)]
        command = ("checks", "run", "--live", *chosen, "--cluster", name)
        yield Entry(name, f"checks-{number}", (command,), cron, True, HOUR)
