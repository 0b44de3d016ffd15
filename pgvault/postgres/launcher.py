"""How a server of ours, and the programs that work with it, are run.

    HostLauncher        beside us: the same process ids, the same files, as a user whom PostgreSQL accepts (owner.py)
    others (drill/)     in a sandbox, in a container: what is restored reaches nothing of this host

Every launcher shows the server's directories at the paths they have here, so a socket, a data directory and a file in
it have one name on both sides. What a launcher starts is known by the process that we started; the process id that
PostgreSQL writes into postmaster.pid means something here only where `Launched.is_server` says so.
"""

from __future__ import annotations

import ctypes
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pgvault.errors import ProgramFailed, ServerUnfit
from pgvault.postgres.owner import as_server_user, hand_over
from pgvault.process import Process, start

IPC_RMID = 0  # linux/ipc.h
KILL_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Command:
    """What pgvault.process is given so that a program runs where the server does."""

    argv: list[str | Path]
    env: Mapping[str, str] | None  # whole; None: ours


class Launched(Protocol):
    """A server under way."""

    @property
    def pid(self) -> int:
        """The process that we started; it lives as long as the server."""
        ...

    def poll(self) -> int | None:
        """Return the server's exit status, or None while it runs."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the postmaster; one that has ended is left alone."""
        ...

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit status. Raises ProgramFailed after `timeout` seconds."""
        ...

    def kill(self) -> None:
        """End every process of the server at once, like a power cut, and wait until all are gone."""
        ...

    def is_server(self, pid: int) -> bool:
        """Tell whether `pid`, from a postmaster.pid that was written after the start, may be this server's."""
        ...


class Launcher(Protocol):
    """Starts a server, and runs the programs that work with it."""

    @property
    def shares_processes(self) -> bool:
        """Whether the process id in postmaster.pid means the same to us as to the server."""
        ...

    @property
    def can_bind(self) -> bool:
        """Whether `bind` can be used: whether paths inside are not those of this host."""
        ...

    def bind(self, inside: Path, outside: Path) -> None:
        """Show the directory `outside` at the path `inside`, to what is started from now on."""
        ...

    def start(self, argv: Sequence[str | Path], *, data: Path, env: Mapping[str, str], log: Path) -> Launched:
        """Start a server on `data`, its output appended to `log`, and return at once. Raises ProgramMissing."""
        ...

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str], data: Path | None = None) -> Command:
        """Return how to run a program that works with the server: pg_amcheck, psql, pg_dump.

        With `data`, one that works on the data directory itself and refuses root: initdb, pg_checksums, pg_controldata.
        Standard streams are ours; of files it sees those of the scratch.
        """
        ...

    def give(self, path: Path) -> None:
        """Give `path`, and all below it, to the user whom the server runs as."""
        ...

    def close(self) -> None:
        """End what is left of all that was run; called once, when the scratch goes."""
        ...


class HostLauncher:
    """Runs everything beside us."""

    @property
    def shares_processes(self) -> bool:
        return True

    @property
    def can_bind(self) -> bool:
        return False

    def bind(self, inside: Path, outside: Path) -> None:
        """Not here: paths are those of this host."""
        raise ServerUnfit(f"'{outside}' can not be shown at '{inside}' without a sandbox")

    def start(self, argv: Sequence[str | Path], *, data: Path, env: Mapping[str, str], log: Path) -> Launched:
        """Start it directly: the process that we started is the postmaster."""
        process = start(self.words(argv, data), env=env, log=log, cwd=Path("/"))
        return _HostServer(process, data)

    def words(self, argv: Sequence[str | Path], data: Path) -> list[str]:
        """Return what starts a server on `data`."""
        return as_server_user(argv, data=data)

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str], data: Path | None = None) -> Command:
        """Return the program itself, as ourselves; one that works on `data` as the server's user."""
        return Command([*argv] if data is None else [*as_server_user(argv, data=data)], env)

    def give(self, path: Path) -> None:
        """Change the owner where the server's user is another."""
        hand_over(path)

    def close(self) -> None:
        """Do nothing: whoever starts a server beside us ends it."""


HOST = HostLauncher()


class _HostServer:
    """A postmaster that is our child."""

    def __init__(self, process: Process, data: Path) -> None:
        self._process = process
        self._data = data

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.signal(number)

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def is_server(self, pid: int) -> bool:
        return pid == self.pid

    def kill(self) -> None:
        if self.poll() is not None:
            return
        family = children(self.pid)
        segment = _shared_memory(self._data, self.pid)
        files = {file for process in (self.pid, *family) for file in _mapped_memory(process)}
        self.signal(signal.SIGKILL)
        self.wait(KILL_SECONDS)
        deadline = time.monotonic() + KILL_SECONDS  # children notice the postmaster's death by themselves, and at once
        while any(is_alive(child) for child in family):
            if time.monotonic() > deadline:
                raise ProgramFailed(f"processes of the server on '{self._data}' survived its postmaster")
            time.sleep(POLL_SECONDS)
        # A power cut leaves neither, and nobody else removes them: of the one the kernel has 4096, the other is memory.
        if segment is not None:
            ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)
        for file in files:
            file.unlink(missing_ok=True)


def pid_file_lines(data: Path) -> list[str]:
    """Return the lines of postmaster.pid; none when there is no such file."""
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    return _stat_fields(pid)[:1] not in ([], ["Z"], ["X"])


def _shared_memory(data: Path, pid: int) -> int | None:
    """Return the id of the System V segment of the server on `data`, if that is process `pid` and says so."""
    lines = pid_file_lines(data)
    if len(lines) < 7 or lines[0].strip() != str(pid):  # the seventh line: "key id"
        return None
    words = lines[6].split()
    return int(words[1]) if len(words) == 2 and words[1].isdigit() else None


def _mapped_memory(pid: int) -> set[Path]:
    """Return the files of POSIX shared memory that a process of a server has mapped."""
    try:
        text = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:  # gone; or not ours to look at, and so not ours to remove
        return set()
    return {Path(file) for file in re.findall(r" (/dev/shm/PostgreSQL\.\d+)$", text, re.MULTILINE)}


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name: state, parent, …; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that still are its own."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [number for number in numbers if _stat_fields(number)[1:2] == [str(pid)]]
