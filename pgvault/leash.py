"""Run a program that ends when whoever started it ends, and that can be stopped and continued as a group.

    python -I -S leash.py OUTPUT PROGRAM ARGUMENT…         OUTPUT: a file for its stdout; empty: that of stderr

    stdin    s: SIGSTOP to the program's group · c: SIGCONT · end of file: SIGKILL
    stdout   the program's process id, a line; then closed
    status   the program's own; killed by a signal: by that signal, too

The starter holds the other end of stdin, and the kernel closes it however the starter dies. Without a leash a pg_dump
that was stopped would hold its snapshot on the production server for ever. And when the leash itself is killed: the
kernel kills the program (PR_SET_PDEATHSIG), pg_dump's workers end without their leader, and a stopped group that
nobody can continue any more gets SIGHUP and SIGCONT from the kernel: hence a group of its own, not a session.

A program by itself, standard library only: nothing of pgvault is imported.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_RUN = 127


def main() -> None:
    """Start the program, obey stdin, and end as it ends."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # our starter decides, and tells us by stdin
    program = start(sys.argv[1], sys.argv[2:])
    os.write(1, b"%d\n" % program)
    os.close(1)
    status = watch(program, woken)
    end_group(program)
    end_as(status)


def start(output: str, argv: list[str]) -> int:
    """Fork and run `argv` in a group of its own; return its process id when it is another program already."""
    libc = ctypes.CDLL(None)  # before the fork
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what outlives the program is ours to wait for
    leash = os.getpid()
    ran, begun = os.pipe()
    program = os.fork()
    if program:
        os.close(begun)
        os.read(ran, 1)  # until exec closes it: until then the child is not on the leash
        os.close(ran)
        with contextlib.suppress(OSError):  # it did so itself, and runs
            os.setpgid(program, program)
        return program
    try:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != leash:  # too late for that signal
            os._exit(NOT_RUN)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if output else 2
        os.dup2(sink, 1)
        os.execv(argv[0], argv)  # noqa: S606  the point of it
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
    os._exit(NOT_RUN)


def watch(program: int, woken: int) -> int:
    """Obey until the program has ended; return its wait status."""
    sources = [0, woken]
    while True:
        ended, status = os.waitpid(program, os.WNOHANG)
        if ended:
            return status
        ready, _, _ = select.select(sources, [], [])
        if woken in ready:
            os.read(woken, 512)
        if 0 in ready:
            orders = os.read(0, 64)
            if not orders:
                kill_group(program, signal.SIGKILL)
                sources.remove(0)
            elif orders.endswith(b"s"):
                kill_group(program, signal.SIGSTOP)
            else:
                kill_group(program, signal.SIGCONT)


def kill_group(program: int, number: signal.Signals) -> None:
    """Signal the whole group; it may be gone."""
    with contextlib.suppress(OSError):
        os.killpg(program, number)


def end_group(program: int) -> None:
    """Kill what the program left behind, and wait until it is gone: a killed process may still be writing."""
    kill_group(program, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-program, 0)


def end_as(status: int) -> None:
    """Exit as the program did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
