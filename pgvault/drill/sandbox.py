"""Run a drill's server and its programs inside bubblewrap: a file system, processes, memory and a network of their own.

    /                 empty and read-only, but for
    /usr (and /lib…)  this host's programs and libraries, read-only, without set-user-id; data directories in it hidden
    /etc              ld.so.cache and the like; a passwd with one user; no key, no certificate, no configuration
    PostgreSQL        bin, lib and share, where they are not below /usr
    SCRATCH           the drill's own directory, writable under its own path; its marker, log and conf/ read-only
    tablespaces       a directory of the scratch over each path at which replayed WAL makes one

Not there: /run, /tmp, /home, /root, /sys, and /proc; of /var only the dictionaries of Debian's packages. Sockets of
production can not be connected to, its files not be read; a read-only bind of / would allow both (tried). /proc is
missing for a reason: where pgvault runs as root, the user inside is root to the kernel's tables, without any
capability, and that is enough to write core_pattern below /proc/sys, that is, to run a program as root outside (tried
with bubblewrap 0.8, which covers /proc/sys only where the directory itself is writable). PostgreSQL needs none.

Everything in here ends with pgvault, even when that is killed. What it does not promise: a limit of memory or of
processors, and nothing against a fault of the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pgvault.errors import DrillNotRun, ProgramFailed, ServerUnfit
from pgvault.postgres.launcher import KILL_SECONDS, POLL_SECONDS, Command, Launched, children, is_alive
from pgvault.postgres.owner import change_owner
from pgvault.postgres.programs import Programs
from pgvault.process import Process, attempt, start

NAME = "bwrap"
USER = 1000  # inside
PASSWD = f"postgres:x:{USER}:{USER}::/:/bin/sh\n"
GROUP = f"postgres:x:{USER}:\n"
PROBE_SECONDS = 60.0
FIRST_PROCESS = "2"  # 1 is bubblewrap's own, which reaps orphans as a postmaster would not
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# What dynamic linking and PostgreSQL's own symbolic links need; dictionaries are where Debian's packages put them.
NEEDED = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/var/cache/postgresql/dicts",
)
HIDDEN = ("/usr/local/etc", "/usr/local/pgsql/data")  # of production, below /usr by habit
OWN = ("bin", "lib", "lib64", "share")  # of an installation elsewhere: a data directory may stand beside them
LINKED = ("postgres", "initdb", "psql")  # to whatever programs of an installation are linked to
LIBRARY = re.compile(r" => (/\S.*) \(0x")  # as ldd prints it
KEPT = ("marker", "conf", "log", "walclient.sh")  # of the scratch: what we believe is not written inside


class SandboxLauncher:
    """Runs a scratch's server and its programs in bubblewrap; a Launcher."""

    def __init__(self, bwrap: str, root: Path, programs: Programs) -> None:
        """`root` is the scratch directory, which has a conf/."""
        self._bwrap = bwrap
        self._root = root
        self._programs = programs
        self._bound: dict[Path, Path] = {}  # inside → outside
        (root / "conf" / "passwd").write_text(PASSWD)
        (root / "conf" / "group").write_text(GROUP)

    @property
    def shares_processes(self) -> bool:
        return False

    @property
    def can_bind(self) -> bool:
        return True

    def bind(self, inside: Path, outside: Path) -> None:
        """Show `outside` at `inside`, to what is started from now on. Raises DrillNotRun where that does not work."""
        if inside == Path("/"):
            raise DrillNotRun(f"a tablespace at '{inside}' can not be replayed")
        self._bound[inside] = outside
        self.require_working()

    def start(self, argv: Sequence[str | Path], *, data: Path, env: Mapping[str, str], log: Path) -> Launched:
        """Start the server inside; bubblewrap tells us which process is the first one there."""
        told, tell = os.pipe()
        try:
            words = self._words(argv, "--info-fd", str(tell))
            process = start(words, env=env, log=log, cwd=Path("/"), inherited=(tell,))
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell)
        with open(told, "rb") as answer:
            return _SandboxServer(process, _first_process(answer.read()), data)

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str], data: Path | None = None) -> Command:  # noqa: ARG002
        """Return how to run a program inside; there everybody is the server's user."""
        return Command([*self._words(argv)], env)

    def give(self, path: Path) -> None:
        """Make it ours: the user inside is us outside, and root is no root in there to what is another user's."""
        if os.geteuid() == 0:
            change_owner(path, 0, os.getegid())

    def close(self) -> None:
        """Do nothing: all that ran has ended."""

    def require_working(self) -> None:
        """Raise DrillNotRun, with what was said, unless PostgreSQL runs inside."""
        words = self._words([self._programs.path("postgres"), "--version"])
        probe = attempt(words, timeout=PROBE_SECONDS, env={})
        if probe.status != 0:
            said = probe.errors.strip().splitlines() or ["it said nothing"]
            hint = "Let users make user namespaces (sysctl kernel.unprivileged_userns_clone), or drill in a container."
            raise DrillNotRun(f"bubblewrap does not work here: {said[-1]}", hint=hint)

    def _words(self, argv: Sequence[str | Path], *more: str) -> list[str]:
        words = [self._bwrap, *SEPARATE, *(["--disable-userns"] if _may_disable_userns(self._bwrap) else []), *more]
        words += ["--tmpfs", "/", "--dev", "/dev", *_system(), *_installation(self._programs)]
        conf = self._root / "conf"
        for name in ("passwd", "group"):
            words += ["--ro-bind", str(conf / name), f"/etc/{name}"]
        for inside, outside in self._bound.items():
            words += ["--bind", str(outside), str(inside)]
        words += ["--bind", str(self._root), str(self._root)]
        for name in KEPT:
            words += ["--ro-bind-try", str(self._root / name), str(self._root / name)]
        return [*words, "--remount-ro", "/", "--chdir", "/", "--", *(os.fspath(word) for word in argv)]


SEPARATE = (
    *("--unshare-user", "--uid", str(USER), "--gid", str(USER)),
    *("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    *("--hostname", "scratch", "--new-session", "--die-with-parent"),
)


def find_sandbox(root: Path, programs: Programs) -> SandboxLauncher:
    """Return the launcher of a scratch directory. Raises DrillNotRun, saying why, where bubblewrap does not work."""
    bwrap = shutil.which(NAME)
    if bwrap is None:
        raise DrillNotRun("bubblewrap (bwrap) is not installed", hint="Install bubblewrap.")
    launcher = SandboxLauncher(bwrap, root, programs)
    launcher.require_working()
    return launcher


class _SandboxServer:
    """A postmaster behind two processes of bubblewrap: one outside, our child, and the first one inside."""

    def __init__(self, process: Process, first: int | None, data: Path) -> None:
        self._process = process
        self._data = data
        self._first = first  # its process id out here
        self._pidfd: int | None = None
        if first is not None:
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(first)

    def __del__(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        """See Launched; before the postmaster is there, wait for it."""
        deadline = time.monotonic() + KILL_SECONDS
        while self.poll() is None and not self._signal_postmaster(number):
            if time.monotonic() > deadline:
                raise ProgramFailed(f"the sandbox of the server on '{self._data}' takes no signal")
            time.sleep(POLL_SECONDS)

    def wait(self, timeout: float) -> int:
        """See Launched; the last process inside is gone then, too."""
        status = self._process.wait(timeout)
        if self._pidfd is not None and not select.select([self._pidfd], [], [], KILL_SECONDS)[0]:
            raise ProgramFailed(f"processes of the server on '{self._data}' survived its sandbox")
        return status

    def is_server(self, pid: int) -> bool:
        return str(pid) == FIRST_PROCESS

    def kill(self) -> None:
        """End the first process inside: the kernel then ends all the others before it lets that one go."""
        if self.poll() is not None:
            return
        if self._pidfd is None:
            self._process.signal(signal.SIGKILL)
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.wait(KILL_SECONDS)

    def _signal_postmaster(self, number: int) -> bool:
        if self._first is None:
            return False
        for pid in children(self._first):
            with contextlib.suppress(ProcessLookupError):
                process = os.pidfd_open(pid)
                try:
                    if _inner_id(pid) == FIRST_PROCESS and is_alive(pid):
                        signal.pidfd_send_signal(process, number)
                        return True
                finally:
                    os.close(process)
        return False


def _first_process(answer: bytes) -> int | None:
    """Read what bubblewrap told; nothing when it failed before."""
    try:
        return int(json.loads(answer)["child-pid"])
    except (ValueError, KeyError):
        return None


def _inner_id(pid: int) -> str | None:
    """The process id that a process has in its own namespace."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((line.split()[-1] for line in lines if line.startswith("NSpid:")), None)


@cache
def _may_disable_userns(bwrap: str) -> bool:
    """Whether this bubblewrap can keep those inside from making namespaces of their own: since 0.8."""
    return "--disable-userns" in attempt([bwrap, "--help"], timeout=PROBE_SECONDS, env={}).output


@cache
def _system() -> tuple[str, ...]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    for name in NEEDED:
        words += ["--ro-bind-try", name, name]
    for name in HIDDEN:
        words += ["--tmpfs", name] if Path(name).is_dir() else []
    return tuple(words)


def _installation(programs: Programs) -> Iterator[str]:
    """Bind PostgreSQL's own directories, under the path by which it is called and under the real one."""
    for tree in dict.fromkeys((programs.bin.parent, programs.bin.resolve().parent)):
        if _is_system(tree):
            if tree != Path("/usr") and (tree / "data").is_dir():
                yield from ("--tmpfs", str(tree / "data"))
            continue
        yield from _parts(tree, (programs.bin.name, *OWN))
    if libraries := _libraries(programs):
        for library in libraries:
            yield from ("--ro-bind", library, library)
        # They are linked to relative to the program ($ORIGIN), whose place the loader learns from /proc.
        places = dict.fromkeys(str(Path(library).parent) for library in libraries)
        yield from ("--setenv", "LD_LIBRARY_PATH", ":".join(places))


@cache
def _libraries(programs: Programs) -> tuple[str, ...]:
    """Return the libraries that do not lie below /usr: wheels have them in the installation, or beside it."""
    known = {Path("/usr"), *map(Path, SYSTEM)}
    if _is_system(programs.bin.resolve().parent):
        return ()
    asked = [programs.bin / name for name in LINKED if (programs.bin / name).is_file()]
    found = LIBRARY.findall(attempt(["ldd", *asked], timeout=PROBE_SECONDS, env={"PATH": "/usr/bin:/bin"}).output)
    paths = dict.fromkeys(os.path.normpath(path) for path in found)
    return tuple(path for path in paths if not any(Path(path).is_relative_to(tree) for tree in known))


def _parts(tree: Path, names: Sequence[str]) -> Iterator[str]:
    if len(tree.parts) < 2:
        raise ServerUnfit(f"programs in '{tree}' can not be shown to a sandbox alone")
    for name in dict.fromkeys(names):
        if (tree / name).is_dir():
            yield from ("--ro-bind", str(tree / name), str(tree / name))


def _is_system(path: Path) -> bool:
    return path == Path("/") or path.is_relative_to("/usr")
