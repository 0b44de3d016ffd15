"""Notes of what `wal push` has stored ahead of its turn, so that the segment's own call returns at once.

    <state>/pushed/<place>/<segment>        place = BLAKE3 of configuration file, cluster and what else picks a store
        pgvault pushed 2
        name 0000000100000000000000A7
        config <device> <inode> <size> <mtime ns> <ctime ns>
        place <hex>
        blake3 <hex>                        of the segment's whole content
        length <bytes>
        made <seconds since 1970>

A note claims: a file of this name and content is durable in the deciding copy of what that configuration names. It is
written only after that is true, so a crash leaves a true note or none. It is believed only for a file that hashes to
its digest, under the very configuration file, for MAX_AGE_SECONDS: torn, foreign, old or changed, it is as good as
none, and the segment goes the ordinary way, which finds it stored. So notes are never synced, and losing them all
costs time alone. Another cluster's segment has another content, since its first page names its system.
BLAKE3, since it is loaded and has hashed 16 MiB in half the time of OpenSSL's SHA-256 (2026-11-21).

They are kept only where nobody else can write. What this does not promise: that the repository still holds tomorrow
what it held when the note was made; that is the store's promise, as for every segment acknowledged before.

This module is on the way of a call that may take 50 ms of CPU: no dataclasses, logging, threading or
pathlib (17 ms to import).
"""

from __future__ import annotations

import os
import stat
import time

from blake3 import blake3

VERSION = "pgvault pushed 2"
MAX_AGE_SECONDS = 600  # a batch's notes are used up within seconds; what the server is slow to ask for is asked anew
NOTE_BYTES_MAX = 1024
FOLDER = "pushed"
SYSTEM_STATE = "/var/lib/pgvault"
READ_BYTES = 256 * 1024  # at a time: stays in the processor's cache between read and hash
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Notes:
    """The notes of one configuration and cluster."""

    __slots__ = ("_config", "_directory", "_place")

    def __init__(self, state: str, place: str, config: str) -> None:
        self._place = place
        self._config = config
        self._directory = f"{state}/{FOLDER}/{place}"

    def vouch_for(self, path: str) -> bool:
        """Tell whether a valid note covers the file at `path`, every byte of it."""
        claim = self._read(os.path.basename(path))
        return claim is not None and _hash_file(path, length=claim[1]) == claim[0]

    def cover(self, name: str) -> bool:
        """Tell whether there is a valid note under that name, whatever the content."""
        return self._read(name) is not None

    def leave(self, name: str, *, digest: bytes, length: int) -> None:
        """Note a file, by its BLAKE3, that is durable in the deciding copy. Raises OSError."""
        for directory in (os.path.dirname(self._directory), self._directory):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                continue
        head = "\n".join(self._head(name))
        text = f"{head}\nblake3 {digest.hex()}\nlength {length}\nmade {int(time.time())}\n".encode()
        temporary = f"{self._directory}/.{name}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text)  # cut short by a full disk, it is not valid
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{self._directory}/{name}")

    def drop(self, name: str) -> None:
        """Remove a note that has been used, or is of no use."""
        try:
            os.unlink(f"{self._directory}/{name}")
        except OSError:
            return  # another call took it, or it stays and grows old

    def sweep(self) -> None:
        """Remove what has grown old, of every configuration: notes never asked for, and what a crash left."""
        oldest = time.time() - MAX_AGE_SECONDS
        parent = os.path.dirname(self._directory)
        for place in _listed(parent):
            directory = f"{parent}/{place}"
            for name in _listed(directory):
                try:
                    if os.lstat(f"{directory}/{name}").st_mtime < oldest:
                        os.unlink(f"{directory}/{name}")
                except OSError:
                    continue
            try:
                if os.lstat(directory).st_mtime < oldest:
                    os.rmdir(directory)
            except OSError:
                continue

    def _read(self, name: str) -> tuple[str, int] | None:
        """Return digest and length from a valid note."""
        try:
            descriptor = os.open(f"{self._directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                lines = os.read(descriptor, NOTE_BYTES_MAX).decode("ascii").split("\n")
            finally:
                os.close(descriptor)
        except (OSError, UnicodeDecodeError):
            return None
        if lines[:4] != self._head(name) or len(lines) != 8 or lines[7]:
            return None
        keys, values = zip(*(line.partition(" ")[::2] for line in lines[4:7]), strict=True)
        if keys != ("blake3", "length", "made") or not (values[1].isdecimal() and values[2].isdecimal()):
            return None
        if not 0 <= time.time() - int(values[2]) <= MAX_AGE_SECONDS:
            return None
        return values[0], int(values[1])

    def _head(self, name: str) -> list[str]:
        return [VERSION, f"name {name}", f"config {self._config}", f"place {self._place}"]


def open_notes(state: str | None, config: str, *, picks: tuple[str, ...]) -> Notes | None:
    """Return the notes for the configuration file at `config`, None where none can be kept.

    Its identity is taken now: open them before the file is read. `picks` is what else chooses the store: the
    cluster, and settings from outside the file.
    """
    if state is None:
        return None
    try:
        path = os.path.realpath(config)
        found = os.stat(path)
    except OSError:
        return None
    picked = "\0".join((path, *picks)).encode(errors="surrogateescape")
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Notes(state, blake3(picked).hexdigest(), " ".join(map(str, identity)))


def find_state(wanted: str | None) -> str | None:
    """Return the directory for notes and the like: `wanted`, else the system's, else one under /var/tmp.

    None unless it is this user's own directory and no other may write there. `wanted` and the one under /var/tmp
    are made when they are missing.
    """
    if wanted is None and _is_own(SYSTEM_STATE):
        return SYSTEM_STATE
    state = wanted or f"/var/tmp/pgvault-{os.geteuid()}"  # noqa: S108  looked at below before it is trusted
    try:
        state = os.path.abspath(state)
        os.mkdir(state, 0o700)
    except FileExistsError:
        pass
    except OSError:
        return None
    return state if _is_own(state) else None


def _is_own(directory: str) -> bool:
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & OTHERS_MAY_WRITE


def _hash_file(path: str, *, length: int) -> str | None:
    """Return the BLAKE3 of a file of exactly that length; None for any other, or one that can't be read."""
    digest = blake3()
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size != length:
            return None
        while count := os.readv(descriptor, [buffer]):
            digest.update(view[:count])
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
