"""Hosts and clocks for leases: time passes when somebody sleeps, and a host sees its own processes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pgvault.repository.leases import Terms
from pgvault.repository.who import Holder, Presence

START = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@dataclass(slots=True)
class Time:
    """A clock that stands still until somebody sleeps; what happens meanwhile is called every second."""

    seconds: float = 0.0
    wall: timedelta = timedelta()  # by how much somebody has set the wall clock
    meanwhile: list[Callable[[float], None]] = field(default_factory=list)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds) + self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for happen in list(self.meanwhile):
            happen(self.seconds)


def elsewhere(host: str, *, ttl_seconds: float) -> Terms:
    """The terms of this process as if it ran on another host, by the real clock."""
    return Terms(ttl_seconds, who=lambda command: Holder(host, f"boot of {host}", 7, 7, 7, command))


def host_terms(time: Time, host: str, pid: int = 7, *, gone: frozenset[int] = frozenset()) -> Terms:
    """The terms of a process on a host of that name, which knows which of its processes are gone."""

    def who(command: str) -> Holder:
        return Holder(host, f"boot of {host}", 4026531836, pid, 1000 + pid, command)

    def look_for(holder: Holder) -> Presence:
        if holder.host != host:
            return Presence.UNKNOWN
        return Presence.GONE if holder.pid in gone else Presence.RUNS

    return Terms(clock=time, sleep=time.sleep, who=who, look_for=look_for)
