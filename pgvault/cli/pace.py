"""How far a phase is, how fast it goes, and how long it will take: for a bar on a terminal and for a line in a log.

    advance ─► Pace (a sum, under a lock) ◄── look, a few times a second ─► Look ─► 45 %, 1.2 GiB of 2.7 GiB, …

The rate is that of the last half minute, so that a store that got slower, or stopped, is seen; what is left is told by
it. A total is an estimate where a server grows meanwhile: more than all is never shown.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Lock

from pgvault.amounts import say_bytes
from pgvault.instants import say_seconds

WINDOW_SECONDS = 30.0
SAMPLE_SECONDS = 1.0
EXACT_SECONDS = 120  # below that a second counts


@dataclass(frozen=True, slots=True)
class Look:
    """A phase at one moment."""

    name: str
    done_bytes: int
    total_bytes: int | None  # None: not known
    seconds: float  # since it began
    bytes_per_second: float | None  # None: nothing was done yet

    @property
    def share(self) -> float | None:
        """How much of all is done, 0 to 1; None where that is not known."""
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None where that is not known."""
        if not self.total_bytes or not self.bytes_per_second:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.bytes_per_second

    @property
    def percentage(self) -> str | None:
        """How much of all is done: 45 %."""
        return None if self.share is None else f"{int(self.share * 100)} %"

    @property
    def amount(self) -> str | None:
        """How much is done, and of how much: 1.2 GiB of 2.7 GiB."""
        if self.total_bytes:
            return f"{say_bytes(min(self.done_bytes, self.total_bytes))} of {say_bytes(self.total_bytes)}"
        return say_bytes(self.done_bytes) if self.done_bytes else None

    @property
    def rate(self) -> str | None:
        """How fast it goes: 110.0 MiB/s."""
        return None if self.bytes_per_second is None else f"{say_bytes(int(self.bytes_per_second))}/s"

    @property
    def left(self) -> str | None:
        """How long it will take: 14 s left."""
        seconds = self.seconds_left
        if seconds is None:
            return None
        return f"{seconds:.0f} s left" if seconds < EXACT_SECONDS else f"{say_seconds(seconds)} left"

    @property
    def line(self) -> str:
        """All of it in one line of a log."""
        said = [each for each in (self.percentage, self.amount, self.rate, self.left) if each is not None]
        return f"{self.name}: {', '.join(said)}" if said else self.name


@dataclass(slots=True)
class Pace:
    """One phase under way; from any thread, and adding costs next to nothing."""

    name: str
    total_bytes: int | None
    began: float  # on a clock that is never set back, seconds
    _done: int = 0
    _lock: Lock = field(default_factory=Lock)
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """What comes is measured from here on."""
        self._samples.append((self.began, 0))

    def add(self, done_bytes: int) -> None:
        """That many more bytes are done."""
        with self._lock:
            self._done += done_bytes

    def look(self, now: float) -> Look:
        """See how it is at a moment."""
        with self._lock:
            done, samples = self._done, self._samples
            while len(samples) > 1 and now - samples[1][0] >= WINDOW_SECONDS:
                samples.popleft()
            since, before = samples[0]
            if now - samples[-1][0] >= SAMPLE_SECONDS:
                samples.append((now, done))
        rate = (done - before) / (now - since) if done and now > since else None
        return Look(self.name, done, self.total_bytes, now - self.began, rate)
