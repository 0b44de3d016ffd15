"""`wal fetch` of a segment that lies ready in the spool: asked for, compared, renamed. Imports next to nothing.

    fetchprogram.py, main.py ──► deliver(arguments) ──► True     delivered and durable: end with 0
                                                   └──► False    the whole of `wal fetch` is needed

A server waits for this once per 16 MiB of WAL, and Python's own start is most of it: so no pathlib, no json, no
socket.py. The plan's one field is looked for in its bytes, and who looks ahead has read the same (their BLAKE3 says).
The file must be what that process holds in memory: its length and BLAKE3, and a header that fits name and system.
Whatever is not so is left to the whole command, which asks nobody but the repository.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing has it, which takes longer to import than the fetch has
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from blake3 import blake3

OPTIONS = ("--plan", "--retry-for", "--ahead")  # with a value; anything else is for the whole command
SEGMENT_DIGITS = frozenset("0123456789ABCDEF")
ANSWER_SECONDS = 45.0  # longer than who looks ahead makes anybody wait
START_SECONDS = 10.0  # for who looks ahead to get ready
BLOCK_BYTES = 256 * 1024  # stays in the processor's cache
REPLY_BYTES = 64 * 1024
HEADER_BYTES = 40
EXDEV = 18


def deliver(arguments: Sequence[str]) -> bool:
    """Deliver what the arguments (without the program) ask for, if it is a segment that waits in a spool."""
    wanted = parse(arguments)
    if wanted is None:
        return False
    try:
        return take(*wanted)
    except (OSError, ValueError, ImportError, IndexError):
        return False


def parse(arguments: Sequence[str]) -> tuple[str, str, str] | None:
    """Return plan, name and destination of a segment's `wal fetch` as restore_command says it; None for any other."""
    if list(arguments[:2]) != ["wal", "fetch"]:
        return None
    rest = list(arguments[2:])
    options = {}
    while len(rest) > 1 and rest[0] in OPTIONS:
        options[rest[0]] = rest[1]
        rest = rest[2:]
    if "--plan" not in options or len(rest) != 2 or options.get("--ahead", "1").strip("0") == "":
        return None
    name, destination = rest
    if len(name) != 24 or not SEGMENT_DIGITS.issuperset(name) or destination.startswith("-"):
        return None
    return options["--plan"], name, destination


def take(plan: str, name: str, destination: str) -> bool:
    """Ask for a segment and put it in its place. Raises OSError, ValueError; then nothing is there."""
    from blake3 import blake3

    with open(plan, "rb", buffering=0) as file:
        raw = file.read()
    begin = raw.index(b'"restore_id": "') + 15
    restore_id = raw[begin : raw.index(b'"', begin)].decode("ascii")
    if "/" in restore_id:
        return False
    spool = os.path.join(os.path.dirname(plan), f"ahead-{restore_id}")  # noqa: PTH118, PTH120  pathlib takes 10 ms
    directory = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return False
        request = f"{blake3(raw).hexdigest()} {name}\n".encode()
        return exchange(request, name, destination, f"/proc/self/fd/{directory}")
    finally:
        os.close(directory)


def exchange(request: bytes, name: str, destination: str, spool: str) -> bool:
    """Ask, compare and take, while the connection tells who looks ahead that we are at it. Raises as `take`."""
    from _socket import AF_UNIX, SOCK_STREAM, socket

    from blake3 import blake3

    asking = socket(AF_UNIX, SOCK_STREAM)
    try:
        asking.settimeout(ANSWER_SECONDS)
        connect(asking.connect, spool)
        asking.sendall(request)
        words = read_reply(asking.recv)
        if len(words) != 4 or words[0] != b"ready":
            return False  # also where it creates a tablespace: that is looked into with care
        wanted, length, system = words[1].decode("ascii"), int(words[2]), int(words[3])
        path = f"{spool}/{name}"
        header, digest = read_file(path, blake3())
        if digest != (wanted, length) or not fits(header, name, system, length):
            told = f"{name} did not lie in the spool as it was put there; it is fetched again"
            if os.environ.get("PGVAULT_LOG_FORMAT") == "json":
                from pgvault.cli.logs import json_line  # the whole command, which comes now, imports it too

                told = json_line("warning", told)
            else:
                told = f"pgvault wal: {told}"
            sys.stderr.write(f"{told}\n")
            return False
        return move(path, destination, digest)
    except TimeoutError:
        abandon(spool)
        raise
    finally:
        asking.close()


def abandon(spool: str) -> None:
    """Take a spool from a process that was stopped or hangs, or every segment would wait for it as long as this one.

    Without its lock's name it is nobody's: another process takes it over, and that one, should it go on, sees it.
    """
    for name in ("lock", "socket"):
        os.unlink(f"{spool}/{name}")  # noqa: PTH108


def connect(to: Callable[[str], None], spool: str) -> None:
    """Connect to who fills a spool, also to one that is only just starting. Raises OSError when there is nobody."""
    try:
        to(f"{spool}/socket")
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    else:
        return
    import time
    from fcntl import LOCK_NB, LOCK_SH, flock

    deadline = time.monotonic() + START_SECONDS
    with open(f"{spool}/lock", "rb", buffering=0) as lock:
        while time.monotonic() < deadline:
            try:
                flock(lock, LOCK_SH | LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            else:
                break
            try:
                to(f"{spool}/socket")
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            return
    raise ConnectionRefusedError(f"nobody fills {spool}")


def read_reply(receive: Callable[[int], bytes]) -> list[bytes]:
    """Read one line from a socket's recv, as words."""
    line = b""
    while not line.endswith(b"\n") and len(line) < REPLY_BYTES:
        more = receive(4096)
        if not more:
            break
        line += more
    return line.split() if line.endswith(b"\n") else []


def read_file(path: str, digest: blake3) -> tuple[bytes, tuple[str, int]]:
    """Return a file's first bytes, and its BLAKE3 and length."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    header = b""
    length = 0
    try:
        while count := os.readv(descriptor, [block]):
            header = header or bytes(view[:HEADER_BYTES])
            digest.update(view[:count])
            length += count
    finally:
        os.close(descriptor)
    return header, (digest.hexdigest(), length)


def fits(header: bytes, name: str, system: int, length: int) -> bool:
    """Tell whether a segment's long header (postgres/walheader.py) is that of the segment `name` of a system."""

    def number(begin: int, end: int) -> int:
        return int.from_bytes(header[begin:end], "little")

    timeline, start = int(name[:8], 16), (int(name[8:16], 16) << 32) + int(name[16:], 16) * length
    return (
        len(header) == HEADER_BYTES
        and header[1] == 0xD1
        and number(2, 4) & 0xFFF2 == 2
        and 1 <= number(4, 8) <= timeline
        and number(8, 16) == start
        and number(24, 32) == system
        and number(32, 36) == length
    )


def move(path: str, destination: str, expected: tuple[str, int]) -> bool:
    """Give a durable file its final name, durably; False where a copy to another file system is not what it was."""
    parent = os.path.dirname(destination) or "."  # noqa: PTH120  pathlib takes 10 ms
    try:
        os.rename(path, destination)  # noqa: PTH104
    except OSError as error:
        if error.errno != EXDEV:
            raise
        if not copy(path, destination, expected):
            return False
        os.unlink(path)  # noqa: PTH108
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def copy(path: str, destination: str, expected: tuple[str, int]) -> bool:
    """Copy a file to another file system, compared on the way; it takes its name when it is durable there."""
    from blake3 import blake3

    with open(path, "rb", buffering=0) as file:
        content = file.read()
    if (blake3(content).hexdigest(), len(content)) != expected:
        return False
    temporary = f"{destination}.pgvault-{os.urandom(4).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(descriptor)
        os.rename(temporary, destination)  # noqa: PTH104
    except BaseException:
        if os.path.exists(temporary):  # noqa: PTH110
            os.unlink(temporary)  # noqa: PTH108
        raise
    return True
