"""Settings ready to paste: postgresql.conf, a standby's restore_command, a systemd unit for `pgvault wal stream`.

    archive_command = '/opt/pgvault/bin/python -S -P …/pushprogram.py --config /etc/pgvault.yaml wal push "%p"'

Every path is absolute, since a server and systemd start programs from anywhere with any PATH. Three quotings lie over
each other: the shell's (archive_command, restore_command), PostgreSQL's `%` in a command, and that of its file; a unit
has its own. Nothing here asks a server; what is said of it is passed in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pgvault.config import ClusterConfig, StreamConfig
from pgvault.errors import UsageError
from pgvault.monitor.streamcheck import KEEP_SETTING, free_bytes, suggested_keep_mib
from pgvault.restore.guard import restore_command
from pgvault.restore.settings import assignment

USUAL_TIMEOUT = timedelta(seconds=60)
LONGEST_TIMEOUT = timedelta(hours=1)
PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=@+,-]+", re.ASCII)
# Tried: systemd-analyze verify (of the hardening, only that it parses). PrivateTmp would hide sockets in /tmp, and what
# ProtectSystem may make read-only depends on where repository and spool are.
UNIT = """\
[Unit]
Description=pgvault: WAL stream of cluster {cluster}
Wants=network-online.target
After=network-online.target postgresql.service
StartLimitIntervalSec=0

[Service]
Type=exec
User={user}
{state}# For secrets that the configuration refers to as env:NAME, and for the credentials of a store.
EnvironmentFile=-/etc/pgvault/environment
ExecStart={command}
Restart=always
RestartSec=5
# The stream ends its receiver itself and stores what it has; SIGKILL takes what is left of both.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=90
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""
# Of the whole repository, once, on whichever host: it needs the configuration and the stores' credentials, no key.
COPY_UNIT_NAME = "pgvault-copy.service"
COPY_UNIT = """\
[Unit]
Description=pgvault: bring the further copies of the repository up to date
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={user}
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
class Invocation:
    """How this very pgvault is called from anywhere, for one cluster."""

    program: tuple[str, ...]  # an absolute path, and what makes it pgvault
    fetch_program: tuple[str, ...]  # the same, as restore_command begins
    push_program: tuple[str, ...]  # and archive_command
    config: Path  # absolute
    cluster: str | None  # None: the configuration has only one

    def words(self, *command: str) -> tuple[str, ...]:
        """Return the words that run a command."""
        return (*self.program, *self._options(), *command)

    def fetch_words(self) -> tuple[str, ...]:
        """Return the words before a WAL file's name and destination."""
        return (*self.fetch_program, *self._options(), "wal", "fetch")

    def push_words(self) -> tuple[str, ...]:
        """Return the words before a WAL file's path."""
        return (*self.push_program, *self._options(), "wal", "push")

    def _options(self) -> tuple[str, ...]:
        chosen = () if self.cluster is None else ("--cluster", self.cluster)
        return ("--config", str(self.config), *chosen)


@dataclass(frozen=True, slots=True)
class Host:
    """What is known of where the server runs."""

    user: str  # whom its files belong to
    data: Path | None  # its data directory, where it can be looked at


@dataclass(frozen=True, slots=True)
class PrintedSettings:
    """All that there is to paste."""

    cluster: str
    server: Mapping[str, str]  # for postgresql.conf, as PostgreSQL shall read them
    follower: Mapping[str, str]  # for a standby
    optional: Mapping[str, str] = field(default_factory=dict)  # for postgresql.conf, not needed
    unit_name: str | None = None  # None: the cluster is not streamed
    unit: str | None = None
    notes: tuple[str, ...] = ()  # what to think of before pasting
    copy_unit: str | None = None  # None: the repository has one copy only

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        unit = None if self.unit is None else {"name": self.unit_name, "content": self.unit}
        return {
            "cluster": self.cluster,
            "settings": dict(self.server),
            "optional": dict(self.optional),
            "standby": dict(self.follower),
            "systemd_unit": unit,
            "copy_unit": None if self.copy_unit is None else {"name": COPY_UNIT_NAME, "content": self.copy_unit},
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return it for people: each part is a file's content, and what is not is a comment."""
        lines = [f"# postgresql.conf of cluster {self.cluster}: archive_mode and wal_level want a restart"]
        lines += [f"# {note}" for note in self.notes]
        lines += [assignment(name, value) for name, value in self.server.items()]
        if self.optional:
            lines += ["", "# not needed beside the stream; both together do no harm"]
            lines += [f"# {assignment(name, value)}" for name, value in self.optional.items()]
        lines += [
            "",
            "# postgresql.conf of a standby, which waits for WAL when this one is gone (with paths of its host)",
        ]
        lines += [assignment(name, value) for name, value in self.follower.items()]
        if self.unit is not None:
            lines += ["", f"# /etc/systemd/system/{self.unit_name}", *self.unit.splitlines()]
        if self.copy_unit is not None:
            lines += ["", f"# /etc/systemd/system/{COPY_UNIT_NAME}", *self.copy_unit.splitlines()]
        return lines


def suggest(cluster: str, config: ClusterConfig, invocation: Invocation, *, host: Host) -> PrintedSettings:
    """Return the settings with which a cluster archives as it is configured. Raises UsageError for a path with NUL."""
    archiving = {"archive_mode": "on", "archive_command": archive_command(invocation)}
    follower = {"restore_command": restore_command(invocation.fetch_words(), follows=True)}
    if config.stream is None:
        timeout = archive_timeout(config.objectives.rpo)
        server = {"wal_level": "replica", **archiving, "archive_timeout": f"{timeout.total_seconds():.0f}s"}
        return PrintedSettings(cluster, server, follower)
    free = None if host.data is None else free_bytes(host.data)
    note = f"{KEEP_SETTING}: half of what is free beside pg_wal"
    return PrintedSettings(
        cluster,
        # 0, since a stream needs no finished segments; where WAL was archived before, another value is there.
        {"wal_level": "replica", "archive_timeout": "0", KEEP_SETTING: f"{suggested_keep_mib(host.data)}MB"},
        follower,
        optional=archiving,
        unit_name=f"pgvault-stream-{cluster}.service",
        unit=stream_unit(cluster, config.stream, invocation, user=host.user),
        notes=(note if free is not None else f"{note} would be right, and that is not known here",),
    )


def archive_command(invocation: Invocation) -> str:
    """Return the value of archive_command that pushes to this cluster."""
    return f'{shlex.join(invocation.push_words()).replace("%", "%%")} "%p"'


def archive_timeout(rpo: timedelta | None) -> timedelta:
    """Return half of the RPO, so that the other half is left for the upload; a minute where nothing was promised."""
    if rpo is None:
        return USUAL_TIMEOUT
    return timedelta(seconds=max(1, min(rpo, 2 * LONGEST_TIMEOUT).total_seconds() // 2))


def stream_unit(cluster: str, stream: StreamConfig, invocation: Invocation, *, user: str) -> str:
    """Return the unit that streams a cluster."""
    # A spool of its own path is the operator's to make; the usual one lies in what systemd makes.
    state = f"StateDirectory=pgvault/{cluster}\nStateDirectoryMode=0700\n" if stream.spool is None else ""
    command = command_line(invocation.words("wal", "stream"))
    return UNIT.format(cluster=cluster, user=user, state=state, command=command)


def copy_unit(invocation: Invocation, *, user: str) -> str:
    """Return the unit that keeps the further copies of the repository up to date, of all its clusters."""
    everything = replace(invocation, cluster=None)
    return COPY_UNIT.format(user=user, command=command_line(everything.words("copy", "--watch")))


def command_line(words: tuple[str, ...]) -> str:
    """Return what ExecStart= is to say. Raises UsageError."""
    if PLAIN_WORD.fullmatch(words[0]) is None:
        words = ("/usr/bin/env", *words)  # systemd takes no program with quotes in its path
    return " ".join(map(unit_word, words))


def unit_word(word: str) -> str:
    """Return one word of ExecStart, quoted so that systemd reads it back to the letter. Raises UsageError."""
    if "\0" in word:
        raise UsageError("a unit can not hold a NUL byte")
    if PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
