"""A program on a real terminal: stderr and stdin are one, stdout is a pipe, as in `pgvault … | less`."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROWS = 24
DEADLINE = 120.0
SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"  # the cursor


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it."""

    status: int
    output: str  # stdout
    screen: str  # everything that went to the terminal, with what moves the cursor
    is_sane: bool  # the terminal's settings are what they were

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is to be seen in the end."""
        return self.screen.rfind(SHOWN.decode()) >= self.screen.rfind(HIDDEN.decode())


def on_a_terminal(
    argv: Sequence[str | Path], *, env: Mapping[str, str], columns: int = 120, interrupt_at: str | None = None
) -> Seen:
    """Run a program to its end; press Ctrl-C once the terminal has shown `interrupt_at`."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        ["setsid", "--ctty", *map(str, argv)],  # so that Ctrl-C comes from it
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={"TERM": "xterm-256color", **env},
    )
    try:
        output, screen = _read(process, controller, interrupt_at)
        return Seen(process.wait(DEADLINE), output.decode(), screen.decode(), termios.tcgetattr(terminal) == before)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(controller)


def _read(process: subprocess.Popen[bytes], controller: int, interrupt_at: str | None) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    found = {pipe: b"", controller: b""}
    deadline = time.monotonic() + DEADLINE
    is_open = True
    while True:
        assert time.monotonic() < deadline, found
        ready, _, _ = select.select([controller, *([pipe] if is_open else [])], [], [], 0.1)
        for each in ready:
            chunk = os.read(each, 65536)
            found[each] += chunk
            is_open = is_open and (each != pipe or bool(chunk))
        if interrupt_at is not None and interrupt_at.encode() in found[controller]:
            os.write(controller, b"\x03")
            interrupt_at = None
        if not ready and not is_open and process.poll() is not None:
            process.stdout.close()
            return found[pipe], found[controller]
