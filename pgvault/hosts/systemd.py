"""Units for systemd: a service and a timer for every job of every cluster, and the services that never end.

    pgvault-backup-main.timer      OnCalendar=*-*-* 01:00:00 Europe/Berlin
    pgvault-backup-main.service    ExecStart=/opt/pgvault/bin/pgvault backup --cluster main
    pgvault-stream-main.service    pgvault wal stream, where the cluster has `stream:`
    pgvault-copy.service           pgvault copy --watch, where there are copies and no schedule for them
    pgvault-alert.service          pgvault alert watch, where the configuration has `alerts:`
    pgvault-metrics.service        pgvault metrics serve

A oneshot service that still runs is not started again by its timer, so no run meets its predecessor. Of a job with two
commands systemd runs the second only after the first went well. What fails is a failed unit with pgvault's status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from pgvault.config import Config
from pgvault.errors import UsageError
from pgvault.hosts.calendar import calendar_lines
from pgvault.hosts.entries import Entry, entries_of, is_copied_by_the_clock
from pgvault.hosts.host import HostFile, ScheduleOrder
from pgvault.monitor.settings import COPY_UNIT_NAME, PLAIN_WORD, command_line, copy_unit, stream_unit
from pgvault.schedule import CronSchedule

DIRECTORY = "/etc/systemd/system"
MOST_LATE = timedelta(minutes=15)
SHARE_LATE = 10  # a run is late by at most this part of the time between two
SLOTS_LOOKED_AT = 50
LOOKED_AHEAD = timedelta(days=400)
TIMES_CHANGED = 3  # lines of OnCalendar= from which on they are told to be dates
# ProtectProc, ProtectKernelTunables and the like cover parts of /proc, RestrictNamespaces denies others: drills in a
# sandbox of their own could not be. PrivateTmp hides a server's socket in /tmp. Tried: systemd-analyze verify.
SERVICE = """\
[Unit]
Description=pgvault: {what} of cluster {cluster}
Wants=network-online.target
After=network-online.target postgresql.service

[Service]
Type=oneshot
User={user}
Environment={environment}
# For secrets that the configuration refers to as env:NAME, and for the credentials of a store.
EnvironmentFile=-/etc/pgvault/environment
{commands}
TimeoutStartSec={deadline}
# A backup that is told to end leaves nothing half done, if it has the time.
KillMode=mixed
TimeoutStopSec=90
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
"""
TIMER = """\
[Unit]
Description=pgvault: when {what} of cluster {cluster} runs: {cron} ({zone})

[Timer]
{calendar}
# What was due while the host was off is made up for, once.
Persistent=true
RandomizedDelaySec={delay}
FixedRandomDelay=true

[Install]
WantedBy=timers.target
"""
# Beside the two that `check --print-settings` prints as well.
ENDLESS = """\
[Unit]
Description=pgvault: {what}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={user}
Environment={environment}
EnvironmentFile=-/etc/pgvault/environment
ExecStart={command}
Restart=always
RestartSec=5
TimeoutStopSec=30
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Endless:
    """A service that runs until it is stopped."""

    name: str
    what: str
    command: tuple[str, ...]


METRICS = Endless("pgvault-metrics.service", "metrics for Prometheus, on 127.0.0.1:9187", ("metrics", "serve"))
ALERTS = Endless("pgvault-alert.service", "tell what status finds", ("alert", "watch"))


def unit_files(config: Config, order: ScheduleOrder, *, now: datetime) -> tuple[HostFile, ...]:
    """Return every unit for a configuration. Raises UsageError for a schedule or a path that a unit can not hold."""
    files = [file for name in order.users for file in _of_cluster(config, name, order, now=now)]
    return (*files, *_of_all(config, order))


def _of_cluster(config: Config, name: str, order: ScheduleOrder, *, now: datetime) -> Iterator[HostFile]:
    cluster, user = config.clusters[name], order.users[name]
    by_service = len(config.repository.copies) > 1 and not is_copied_by_the_clock(config)
    for entry in entries_of(config, name):
        if entry.name == "copy" and by_service and not entry.is_said:
            continue
        unit = f"pgvault-{entry.name}-{name}"
        yield HostFile(f"{unit}.service", _service(entry, order, user))
        yield HostFile(f"{unit}.timer", _timer(entry, config.timezone, order, now=now))
    if cluster.stream is not None:
        invocation = order.invocation(name)
        yield HostFile(f"pgvault-stream-{name}.service", stream_unit(name, cluster.stream, invocation, user=user))


def _of_all(config: Config, order: ScheduleOrder) -> Iterator[HostFile]:
    """Of the whole repository, once on whichever host."""
    user = next(iter(order.users.values()))
    if len(config.repository.copies) > 1 and not is_copied_by_the_clock(config):
        yield HostFile(COPY_UNIT_NAME, copy_unit(order.invocation(None), user=user))
    for each in (METRICS, *((ALERTS,) if config.alerts is not None else ())):
        command = command_line((*order.program, *each.command))
        content = ENDLESS.format(what=each.what, user=user, environment=_environment(order), command=command)
        yield HostFile(each.name, content)


def _service(entry: Entry, order: ScheduleOrder, user: str) -> str:
    commands = [f"ExecStart={command_line((*order.program, *words))}" for words in entry.commands]
    return SERVICE.format(
        what=entry.name,
        cluster=entry.cluster,
        user=user,
        environment=_environment(order),
        commands="\n".join(commands),
        deadline=entry.deadline_seconds,
    )


def _timer(entry: Entry, zone: str, order: ScheduleOrder, *, now: datetime) -> str:
    lines = [f"OnCalendar={line}" for line in calendar_lines(entry.cron, zone, now=now)]
    if len(lines) > TIMES_CHANGED:
        lines.insert(0, "# With the dates on which the clocks are changed, for ten years: systemd would skip those.")
    content = TIMER.format(
        what=entry.name,
        cluster=entry.cluster,
        cron=entry.cron,
        zone=zone,
        calendar="\n".join(lines),
        delay=f"{_delay(entry.cron, order.jitter, now=now).total_seconds():.0f}s",
    )
    return content if entry.is_said else f"{order.unsaid(entry.name, entry.cron)}\n{content}"


def _delay(cron: str, most: timedelta | None, *, now: datetime) -> timedelta:
    """Return by how much a run may be late: by less than comes before the next one, as `status` counts them."""
    slots = islice(CronSchedule(cron).slots(now, now + LOOKED_AHEAD), SLOTS_LOOKED_AT)
    shortest = min((later - slot for slot, later in pairwise(slots)), default=LOOKED_AHEAD)
    return min(MOST_LATE if most is None else most, shortest / SHARE_LATE)


def _environment(order: ScheduleOrder) -> str:
    """Return the assignment quoted for Environment=, where `$` means itself and `%` does not."""
    word = f"PGVAULT_CONFIG={order.config}"
    if any(char in word for char in "\0\n"):
        raise UsageError(f"a unit can not hold the path {str(order.config)!r}")
    if PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
