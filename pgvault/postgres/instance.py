"""A PostgreSQL server of our own: for drills, for `--finish`, for the demo and for tests.

It listens on a unix socket in a directory of ours and nowhere else. `postgres` is started by a launcher (beside us, in
a sandbox), detached, its log in a file; we know it by its process and by what it writes into postmaster.pid:

    line 1  process id          line 5  socket directory
    line 2  data directory      line 6  listen address
    line 3  start, unix time    line 7  shared memory
    line 4  port                line 8  starting | ready | standby | stopping

"ready" says that connections are taken, also by a hot standby in recovery; "standby", that none are (hot_standby =
off). Only the log tells when recovery is over: "database system is ready to accept connections".
Nothing here talks SQL; a Session (server.py) takes the `dsn`. Servers that we did not start are left alone.
"""

from __future__ import annotations

import enum
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.errors import ClusterRunning, ProgramFailed, RecoveryFailed, ServerUnfit, SourceUnreadable
from pgvault.postgres.launcher import HOST, Launched, Launcher, is_alive, pid_file_lines
from pgvault.postgres.programs import Programs
from pgvault.process import run

SUPERUSER = "postgres"
SERVER_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SOCKET_PATH_LIMIT = 107  # bytes of a unix socket's path that Linux takes
PID_FILE = "postmaster.pid"
POLL_SECONDS = 0.05
FAILURE = re.compile(r" (?:FATAL|PANIC):  (.*)(?:\n.* DETAIL:  (.*))?")
CONFIGURATION_ERROR = re.compile(r" LOG:  (.*(?:parameter|syntax error|could not).*)")
RECOVERY_OVER = "database system is ready to accept connections"  # "… read-only connections" is another line
PROGRESS = re.compile(r"(redo in progress.*|consistent recovery state reached.*|restored log file.*)")


class ShutdownMode(enum.Enum):
    """How a server is told to stop; the values are what the postmaster listens to."""

    SMART = signal.SIGTERM  # when the last client has left
    FAST = signal.SIGINT  # now, with a checkpoint
    IMMEDIATE = signal.SIGQUIT  # now, recovery at the next start


class ServerState(enum.Enum):
    """What the process, postmaster.pid and the log say together."""

    STOPPED = "stopped"
    STARTING = "starting"  # or in recovery without answering
    STANDBY = "standby"  # in recovery, answers read-only
    READY = "ready"  # recovery is over, answers
    STOPPING = "stopping"


def init_cluster(
    programs: Programs,
    data: Path,
    *,
    wal_segsize_mib: int = 16,
    options: Sequence[str] = (),
    launcher: Launcher = HOST,
) -> None:
    """Make a new, empty cluster in `data`: UTF-8, C locale, page checksums, superuser `postgres` without password.

    `options` go to initdb as they are. Raises ProgramFailed with what initdb said.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    launcher.give(data)
    argv: list[str | Path] = [
        programs.path("initdb"),
        "-D",
        data,
        "-U",
        SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    argv += ["--data-checksums", f"--wal-segsize={wal_segsize_mib}", *options]
    command = launcher.command(argv, env=SERVER_ENVIRONMENT, data=data)
    run(command.argv, timeout=300, env=command.env, cwd=Path("/"))


def postmaster_pid(data: Path) -> int | None:
    """Return the process id of the server that runs on `data`, or None when none does.

    A postmaster.pid left by a crash may name a process id that something else has by now, so the process must
    also work in `data`; where its working directory may not be read, it is taken for the server. A server in
    another container or pid namespace is not seen: ask `has_pid_file` before doing what would hurt it.
    """
    lines = pid_file_lines(data)
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return None
    pid = abs(int(lines[0]))  # negative: a standalone backend (`postgres --single`)
    try:
        working_directory = Path(f"/proc/{pid}/cwd").readlink()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        return pid
    return pid if working_directory == data.resolve() and is_alive(pid) else None


def has_pid_file(data: Path) -> bool:
    """Tell whether a server runs on `data`, here or where we do not see it, or crashed there.

    Raises SourceUnreadable where that can not be seen.
    """
    try:
        (data / PID_FILE).lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SourceUnreadable(f"'{data / PID_FILE}' can not be looked at: {error.strerror}") from error
    return True


@dataclass(slots=True)
class Instance:
    """One server on `data`, ours from start to stop."""

    programs: Programs
    data: Path
    socket_dir: Path  # exists, is private, and its path is short
    log: Path
    port: int = 5432  # only the number in the socket's name
    config_file: Path | None = None  # instead of PGDATA/postgresql.conf
    hba_file: Path | None = None
    ident_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: SERVER_ENVIRONMENT)
    launcher: Launcher = HOST
    _process: Launched | None = field(default=None, init=False)
    _stale: tuple[int, int] | None = field(default=None, init=False)  # the postmaster.pid that was there before
    _log_offset: int = field(default=0, init=False)  # where this start's messages begin

    @property
    def dsn(self) -> str:
        """Connection string of the superuser, to database postgres."""
        host = str(self.socket_dir).replace("\\", "\\\\").replace("'", "\\'")
        return f"host='{host}' port={self.port} user={SUPERUSER} dbname=postgres"

    @property
    def pid(self) -> int | None:
        """The process that we started while the server runs: the postmaster, or what it runs in."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the server and return at once; `wait_ready` tells when it answers.

        `settings` win over every configuration file and over what is set here. Raises ClusterRunning when a
        server runs on this data directory, ServerUnfit when the socket's path is too long.
        """
        if self.launcher.shares_processes and (running := postmaster_pid(self.data)) is not None:
            raise ClusterRunning(f"a server with process id {running} runs on '{self.data}'")
        self._check_socket_path()
        self.log.touch(mode=0o600)
        self._log_offset = self.log.stat().st_size
        argv: list[str | Path] = [self.programs.path("postgres"), "-D", self.data]
        for name, value in {**self._own_settings(), **(settings or {})}.items():
            argv += ["-c", f"{name}={value}"]
        self.launcher.give(self.socket_dir)
        self._stale = self._pid_file_identity()
        self._process = self.launcher.start(argv, data=self.data, env=self.environment, log=self.log)

    def state(self) -> ServerState:
        """Say what the server is doing now."""
        if self._process is None or self._process.poll() is not None:
            return ServerState.STOPPED
        lines = self._own_pid_file()
        if len(lines) < 8 or not self._process.is_server(int(lines[0])):
            return ServerState.STARTING  # a file of an earlier life, or not yet written to the end
        match lines[7].strip():
            case "ready":
                return ServerState.READY if RECOVERY_OVER in self.log_text() else ServerState.STANDBY
            case "stopping":
                return ServerState.STOPPING
            case _:
                return ServerState.STARTING

    def wait_ready(
        self, timeout: float, *, accept_standby: bool = False, watch: Callable[[], None] = lambda: None
    ) -> ServerState:
        """Wait until the server answers and recovery is over; with `accept_standby`, until it answers.

        `watch` is called again and again meanwhile, and a last time in the end.
        Raises RecoveryFailed with the log's FATAL lines when it goes down, or after `timeout` seconds.
        """
        wanted = {ServerState.READY, ServerState.STANDBY} if accept_standby else {ServerState.READY}
        deadline = time.monotonic() + timeout
        while True:
            state = self.state()
            watch()
            if state in wanted:
                return state
            if state is ServerState.STOPPED:
                raise RecoveryFailed(f"the server on '{self.data}' went down: {self.failure()}", hint=self._see_log())
            if time.monotonic() > deadline:
                raise RecoveryFailed(
                    f"the server on '{self.data}' is not ready after {timeout:g} s, {self._progress(state)}",
                    hint=self._see_log(),
                )
            time.sleep(POLL_SECONDS)

    def wait_exit(self, timeout: float) -> int:
        """Wait for the server to end by itself (recovery_target_action = shutdown) and return its exit status.

        Raises RecoveryFailed after `timeout` seconds.
        """
        if self._process is None:
            raise ServerUnfit(f"no server was started on '{self.data}'")
        try:
            return self._process.wait(timeout)
        except ProgramFailed as error:
            raise RecoveryFailed(
                f"the server on '{self.data}' still runs after {timeout:g} s, {self._progress(self.state())}",
                hint=self._see_log(),
            ) from error

    def stop(self, mode: ShutdownMode = ShutdownMode.FAST, *, timeout: float = 60) -> None:
        """Stop the server and wait for its end; a stopped one is fine.

        Raises ProgramFailed when it does not end within `timeout` seconds; it is left running then.
        """
        if self._process is not None:
            self._process.signal(mode.value)
            self._process.wait(timeout)

    def kill(self) -> None:
        """End the server like a power cut (SIGKILL to every process of it), and wait until all are gone."""
        if self._process is not None:
            self._process.kill()

    def log_text(self) -> str:
        """Return what the server logged since the last start."""
        with self.log.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode("utf-8", "replace")

    def failure(self) -> str:
        """Return the FATAL and PANIC messages since the last start as one clause, or the log's last line."""
        text = self.log_text()
        messages = list(dict.fromkeys(": ".join(filter(None, found)) for found in FAILURE.findall(text)))
        if any("contains errors" in message or "could not load" in message for message in messages):
            messages += CONFIGURATION_ERROR.findall(text)  # PostgreSQL says which errors at level LOG
        if not messages:
            messages = [line.strip() for line in text.splitlines() if line.strip()][-1:]
        return "; ".join(messages) or "it logged nothing"

    def _own_pid_file(self) -> list[str]:
        """The lines of postmaster.pid, unless it is still the one that was there before this start."""
        return pid_file_lines(self.data) if self._pid_file_identity() != self._stale else []

    def _pid_file_identity(self) -> tuple[int, int] | None:
        """Which postmaster.pid there is: the same process id may stand in another one, in a sandbox always."""
        try:
            status = (self.data / PID_FILE).lstat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _progress(self, state: ServerState) -> str:
        if state is ServerState.READY:
            return "it is ready"
        where = PROGRESS.findall(self.log_text())
        return f"still in recovery: {where[-1]}" if where else f"its state is {state.value}"

    def _see_log(self) -> str:
        return f"The server's log is '{self.log}'."

    def _check_socket_path(self) -> None:
        length = len(str(self.socket_dir / f".s.PGSQL.{self.port}").encode())
        if length > SOCKET_PATH_LIMIT:
            raise ServerUnfit(
                f"the socket directory '{self.socket_dir}' is too long a path: "
                f"{length} bytes with the socket's name, {SOCKET_PATH_LIMIT} are allowed"
            )

    def _own_settings(self) -> dict[str, str]:
        """What makes it ours, whatever the cluster's configuration says."""
        socket_dir = str(self.socket_dir).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{socket_dir}"',
            "unix_socket_permissions": "0700",
            "unix_socket_group": "",
            "port": str(self.port),
            "external_pid_file": "",
            # Messages must arrive in our file, in English, whole and with times that can be read.
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] ",
            "log_timezone": "UTC",
            "lc_messages": "C",
        }
        files = {"config_file": self.config_file, "hba_file": self.hba_file, "ident_file": self.ident_file}
        return settings | {name: str(path) for name, path in files.items() if path is not None}
