"""Run other programs; the only module that imports `subprocess`.

    run       argv → text                     waits, raises when the program fails
    attempt   argv → Finished                 waits, for programs whose status is part of the answer
    start     argv → Process                  returns at once; the child outlives this process
    leashed   argv → Leashed                  returns at once; the child ends with this process, however it ends

Never a shell, always a deadline. `env` is the *whole* environment of the program; without one the program
inherits ours. Secrets go there (or to a file), never in `argv`, which every user of the machine can read.
What a program prints is decoded as UTF-8; bytes that are none survive as surrogate escapes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pgvault
from pgvault.errors import ProgramFailed, ProgramMissing

# What sh, env, setpriv, podman and docker end with when they, or what is between, could not run the program at all.
CAN_NOT_RUN = (125, 126, 127)
QUOTED_LINES = 6  # of a failed program's stderr: enough for an error with its DETAIL and HINT
LEASH = Path(pgvault.__file__).with_name("leash.py")
QUOTED_BYTES = 16 << 10
END_SECONDS = 30.0  # a killed program may wait for its disk


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended by itself."""

    status: int  # exit status; negative: killed by that signal
    output: str  # everything it printed on stdout
    errors: str  # everything it printed on stderr


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,  # noqa: A002  as subprocess names it
) -> str:
    """Run `argv` and return what it printed on stdout.

    `timeout` is in seconds. Raises ProgramMissing when it can not be run, also by what runs it elsewhere, ProgramFailed
    when it exits non-zero, is killed or runs past `timeout`; the message carries the last lines of its stderr.
    """
    finished = attempt(argv, timeout=timeout, env=env, cwd=cwd, input=input)
    if finished.status in CAN_NOT_RUN:
        raise ProgramMissing(f"{_name(argv)} can not be run, status {finished.status}{_quoted(finished.errors)}")
    if finished.status != 0:
        raise ProgramFailed(f"{_name(argv)} {_ending(finished.status)}{_quoted(finished.errors or finished.output)}")
    return finished.output


def attempt(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,  # noqa: A002  as subprocess names it
) -> Finished:
    """Run `argv` to its end, whatever its exit status.

    Raises ProgramMissing when there is no such program, ProgramFailed when it runs past `timeout` seconds.
    However this call ends, by Ctrl-C too, the program and what it started in its process group are gone.
    """
    child = _popen(argv, env=env, cwd=cwd, pipes=_Pipes(subprocess.PIPE if input is not None else subprocess.DEVNULL))
    with child:
        try:
            output, errors = child.communicate(
                None if input is None else input.encode("utf-8", "surrogateescape"), timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            _kill_group(child)
            seen = (error.stderr or b"").decode("utf-8", "replace")
            raise ProgramFailed(f"{_name(argv)} did not finish within {timeout:g} s{_quoted(seen)}") from None
        except BaseException:
            _kill_group(child)
            raise
    return Finished(
        child.returncode, output.decode("utf-8", "surrogateescape"), errors.decode("utf-8", "surrogateescape")
    )


def start(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None,
    log: Path,
    cwd: Path | None = None,
    inherited: Sequence[int] = (),
) -> Process:
    """Start `argv` in a session of its own, stdout and stderr appended to `log`, and return at once.

    It has the descriptors `inherited` open, too, under their numbers. The child survives Ctrl-C and our own end;
    whoever starts it stops it. Raises ProgramMissing.
    """
    with log.open("ab") as sink:
        pipes = _Pipes(subprocess.DEVNULL, sink.fileno(), sink.fileno(), inherited=tuple(inherited))
        child = _popen(argv, env=env, cwd=cwd, pipes=pipes)
    return Process(child)


class Process:
    """A child that runs beside us, known by its process id."""

    def __init__(self, child: _Child) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        """Return the exit status (negative: a signal), or None while it runs."""
        return self._child.poll()

    def signal(self, number: int) -> None:
        """Send a signal; a child that has ended is left alone, its process id may be somebody else's by now."""
        self._child.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit status. Raises ProgramFailed after `timeout` seconds."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"process {self.pid} did not end within {timeout:g} s") from None


def leashed(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    output: Path | None = None,
    inherited: Sequence[int] = (),
) -> Leashed:
    """Start `argv` so that it ends when this process does, even by SIGKILL, and return at once.

    stderr is appended to `log`, stdout too unless `output` names a file for it. `argv[0]` is an absolute path. The
    program has the descriptors `inherited` open, too, under their numbers. Raises ProgramMissing.
    """
    words = [sys.executable, "-I", "-S", LEASH, "" if output is None else output, *argv]
    with log.open("ab") as sink:
        pipes = _Pipes(subprocess.PIPE, errors=sink.fileno(), inherited=tuple(inherited))
        child = _popen(words, env=env, cwd=None, pipes=pipes)
    return Leashed(child, _name(argv), log)


class Leashed:
    """A program on a leash (leash.py). At the end of a `with` it is gone, with all processes of its group."""

    def __init__(self, child: _Child, name: str, log: Path) -> None:
        assert child.stdout is not None
        self._child = child
        self._name = name
        self._log = log
        with child.stdout as told:
            self.pid = int(told.readline() or 0)  # of the program, which leads its group
        self.is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def stop(self) -> None:
        """Let the whole group stand still."""
        self.is_stopped = True
        self._order(b"s")

    def go_on(self) -> None:
        """Let it run again."""
        self.is_stopped = False
        self._order(b"c")

    def poll(self) -> int | None:
        """Return the exit status (negative: a signal), or None while it runs."""
        return self._child.poll()

    def end(self) -> None:
        """Kill the group, stopped or not, and wait until it is gone. Raises ProgramFailed when it does not go."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"{self._name}, process {self.pid}, can not be ended") from None

    def finish(self, timeout: float) -> None:
        """Wait for the end, good or not. Raises ProgramFailed after `timeout` seconds."""
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise ProgramFailed(f"{self._name} did not finish within {timeout:g} s{self.words()}") from None

    def check(self) -> None:
        """Raise ProgramFailed, with the last lines of its log, unless it has ended with status 0."""
        status = self.poll()
        if status is None:
            raise ProgramFailed(f"{self._name} still runs")
        if status != 0:
            raise ProgramFailed(f"{self._name} {_ending(status)}{self.words()}")

    def words(self) -> str:
        """The last lines of its log, as one clause."""
        return _quoted(self._log.read_bytes()[-QUOTED_BYTES:].decode("utf-8", "replace"))

    def _order(self, letter: bytes) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: poll() tells
            self._child.stdin.write(letter)
            self._child.stdin.flush()


class _Child(subprocess.Popen[bytes]):
    """A Popen that may outlive its object: that is the point of `start`, not a leak to warn of."""

    def __del__(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Pipes:
    """Where a child reads from and writes to: descriptors, or subprocess.PIPE."""

    stdin: int
    output: int = subprocess.PIPE
    errors: int = subprocess.PIPE
    inherited: tuple[int, ...] = ()  # besides those


def _popen(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    pipes: _Pipes,
) -> _Child:
    try:
        return _Child(
            [os.fspath(word) for word in argv],
            stdin=pipes.stdin,
            stdout=pipes.output,
            stderr=pipes.errors,
            pass_fds=pipes.inherited,
            env=env,
            cwd=cwd,
            # A group of its own, so that a timeout takes the program's children along: one of them left alive
            # with our pipe open would keep us waiting for ever.
            start_new_session=True,
        )
    except OSError as error:
        if cwd is not None and not cwd.is_dir():
            raise ProgramFailed(f"{_name(argv)} can not run in '{cwd}': {error.strerror}") from error
        raise ProgramMissing(f"program '{os.fspath(argv[0])}' can not be run: {error.strerror}") from error


def _kill_group(child: _Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _name(argv: Sequence[str | Path]) -> str:
    """The program an operator would recognise: what runs it as another user is not the one that failed."""
    words = [os.fspath(word) for word in argv]
    if "--" in words[:-1] and Path(words[0]).name in {"bwrap", "setpriv", "unshare"}:
        words = words[words.index("--") + 1 :]
    if Path(words[0]).name in {"podman", "docker"}:
        inside = [word.removeprefix("--entrypoint=") for word in words if word.startswith("--entrypoint=")]
        words = inside or words
    return Path(words[0]).name


def _ending(status: int) -> str:
    if status >= 0:
        return f"failed with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _quoted(text: str) -> str:
    """The last lines as one clause, printable: `: line; line`."""
    printable = text.encode("utf-8", "replace").decode("utf-8")
    lines = [line.strip() for line in printable.splitlines() if line.strip()]
    return f": {'; '.join(lines[-QUOTED_LINES:])}" if lines else ""
