"""Write what holds a key to a file: readable by its owner alone, durable, never over an existing one."""

from __future__ import annotations

import os
from pathlib import Path

from pgvault.errors import KeyUnusable, Refused

KEY_MODE = 0o400


def generate_key_file(path: Path) -> None:
    """Create `path` (mode 0400) with a new random key, durably. Raises Refused when it exists."""
    write_key_file(path, os.urandom(32).hex() + "\n", hint="Leave out --generate-key to use it.")


def write_key_file(path: Path, content: str, *, hint: str) -> None:
    """Create `path` (mode 0400) with `content`, durably. Raises Refused with that hint when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
    except FileExistsError as error:
        raise Refused(f"key file {str(path)!r} exists and is never overwritten", hint=hint) from error
    except OSError as error:
        hint = "Make its directory first, for the user that runs pgvault: install -d -m 0700 -o USER DIR."
        raise KeyUnusable(f"key file {str(path)!r} can not be made: {error.strerror}", hint=hint) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyUnusable(f"key file {str(path)!r} can not be written: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make the directory entry of `path` durable."""
    directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
