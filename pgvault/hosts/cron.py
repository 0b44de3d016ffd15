r"""Lines for /etc/cron.d: one for every job of every cluster.

    PGVAULT_CONFIG=/etc/pgvault/pgvault.yaml
    7 1 * * *  postgres  /opt/pgvault/bin/pgvault backup --cluster main

Three readers lie over each other: cron ends a command at `%` unless a backslash stands before it, and some crons take
that backslash away while others leave it; then comes the shell. So `%` stands outside of all quotes as `\%`, which is
right either way, and a path with a backslash is refused. An assignment is no shell's: quotes around it, and no more.

cron has no jitter. A job at a usual time is moved by some minutes, always the same for a host and a cluster; a time
that somebody said is kept. cron can neither mend what was missed nor keep a service up: see hosts/systemd.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.config import Config
from pgvault.errors import UsageError
from pgvault.hosts.cronfields import in_zone, plain_fields, shifted
from pgvault.hosts.entries import Entry, entries_of, spread
from pgvault.hosts.host import HostFile, ScheduleOrder

DIRECTORY = "/etc/cron.d"
NAME = "pgvault"  # cron passes over files with a dot in their name
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USUAL_JITTER = timedelta(minutes=15)
USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?", re.ASCII)
ALERTS_EVERY = "*/5 * * * *"
HEAD = """\
# Written by: pgvault schedule cron. What a run prints, cron mails to its user (MAILTO is not set): a run that went well
# prints nothing. A run that finds another of its kind at work ends with status 40 and one line.
SHELL=/bin/sh
PATH={path}
{config}
"""


def cron_file(config: Config, order: ScheduleOrder, *, now: datetime) -> HostFile:
    """Return the file for a configuration. Raises UsageError for a schedule or a path that cron can not hold."""
    for user in order.users.values():
        if USER.fullmatch(user) is None:
            raise UsageError(f"user {user!r} can not stand in a line of cron")
    slots = [slot for name in order.users for entry in entries_of(config, name) for slot in [_slot(entry, order)]]
    times = {slot.fields: in_zone(slot.fields, config.timezone, order.zone, now=now) for slot in slots}
    is_zoned = None in times.values()
    lines = [HEAD.format(path=SEARCHED, config=_assignment("PGVAULT_CONFIG", str(order.config))).rstrip("\n")]
    if is_zoned:
        lines += ["#", *(f"# {line}" for line in zone_warning(config.timezone, order.zone))]
        lines += [f"CRON_TZ={config.timezone}"]
    for name, user in order.users.items():
        lines += ["", f"# cluster {name}"]
        for slot in (each for each in slots if each.entry.cluster == name):
            said = (slot.fields,) if is_zoned else times[slot.fields] or ()
            lines += [*_comments(slot, said, config, order), *(f"{each} {user} {_job(slot, order)}" for each in said)]
        if config.clusters[name].stream is not None:
            lines.append("# WAL is streamed by a service, which cron can not keep up: pgvault schedule systemd")
    if config.alerts is not None:
        user = next(iter(order.users.values()))
        lines += ["", f"{ALERTS_EVERY} {user} {_command((*order.program, 'alert', 'run'))}"]
    return HostFile(NAME, "\n".join(lines) + "\n", zone_warning(config.timezone, order.zone) if is_zoned else None)


def zone_warning(zone: str, host_zone: str) -> tuple[str, str]:
    """Return what is wrong where times can only be said by CRON_TZ, and what can be done."""
    return (
        f"the times are of {zone}, which only some crons know by CRON_TZ: Debian's reads them in {host_zone}.",
        "Give host and configuration one zone, or use timers: pgvault schedule systemd",
    )


@dataclass(frozen=True, slots=True)
class _Slot:
    """When an entry runs."""

    entry: Entry
    fields: str  # plain, in the configuration's zone


def _slot(entry: Entry, order: ScheduleOrder) -> _Slot:
    if entry.is_said:
        return _Slot(entry, plain_fields(entry.cron))
    most = USUAL_JITTER if order.jitter is None else order.jitter
    minutes = spread(f"{order.host}/{entry.cluster}", 1 + most // timedelta(minutes=1))
    return _Slot(entry, shifted(entry.cron, minutes))


def _comments(slot: _Slot, said: tuple[str, ...], config: Config, order: ScheduleOrder) -> Iterator[str]:
    if not slot.entry.is_said:
        yield order.unsaid(slot.entry.name, slot.fields)
    if said != (slot.fields,):
        yield f"# {slot.fields} in {config.timezone}, said in {order.zone}"


def _job(slot: _Slot, order: ScheduleOrder) -> str:
    """Return the commands of a job: the first that fails ends it, and its status is the job's."""
    return " && ".join(_command((*order.program, *words)) for words in slot.entry.commands)


def _command(words: tuple[str, ...]) -> str:
    return " ".join(map(cron_word, words))


def cron_word(word: str) -> str:
    """Return one word of a command, quoted for cron and then the shell. Raises UsageError."""
    if any(char in word for char in "\0\n\\"):
        raise UsageError(f"a line of cron can not hold {word!r}", hint="Move it to a path with plainer characters.")
    return r"\%".join(shlex.quote(part) if part else "" for part in word.split("%")) or "''"


def _assignment(name: str, value: str) -> str:
    """Return a line that sets a variable: cron takes the rest of the line, less quotes around it."""
    if any(char in value for char in "\0\n\\"):
        raise UsageError(f"a line of cron can not hold {value!r}", hint="Move it to a path with plainer characters.")
    if re.fullmatch(r"[A-Za-z0-9_./:=@+,%-]+", value, re.ASCII):
        return f"{name}={value}"
    quote = next((each for each in "\"'" if each not in value), None)
    if quote is None:
        raise UsageError(f"a line of cron can not hold {value!r}: it has quotes of both kinds")
    return f"{name}={quote}{value}{quote}"
