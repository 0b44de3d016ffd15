"""Who holds a lease, as another process of this host sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

from pgvault.repository.who import Holder, Presence, look_for, this_process


def holder_of(pid: int) -> Holder:
    """A process of ours as it would describe itself."""
    with open(f"/proc/{pid}/stat") as stat:
        started = int(stat.read().rpartition(")")[2].split()[19])
    return replace(this_process("test"), pid=pid, started=started)


def test_process_is_seen_until_it_ends() -> None:
    """Running, stopped (nobody knows: only heartbeats tell), a zombie, gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        holder = holder_of(child.pid)
        assert look_for(holder) is Presence.RUNS
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert look_for(holder) is Presence.UNKNOWN
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert look_for(holder) is Presence.GONE
    assert look_for(holder) is Presence.GONE


def test_process_id_that_was_used_again_is_somebody_else() -> None:
    """It started at another moment."""
    me = this_process("test")

    assert look_for(me) is Presence.RUNS
    assert look_for(replace(me, started=me.started + 1)) is Presence.GONE


def test_nothing_is_known_of_other_hosts_boots_and_namespaces() -> None:
    """Nor of a process that could not say who it was."""
    dead = replace(this_process("test"), pid=2**22 + 7)
    assert look_for(dead) is Presence.GONE

    for elsewhere in (
        replace(dead, host="other"),
        replace(dead, boot_id="other"),
        replace(dead, pid_namespace=1),
        replace(dead, boot_id=""),
        replace(dead, pid_namespace=0),
        replace(dead, started=0),
    ):
        assert look_for(elsewhere) is Presence.UNKNOWN


def test_holder_reads_back_and_says_who_it_is() -> None:
    """No argument of the command line is in it."""
    me = this_process("backup")

    assert Holder.from_json(me.to_json()) == me
    assert str(me) == f"backup on host {os.uname().nodename!r}, pid {os.getpid()}"
