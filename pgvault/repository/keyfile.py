"""Make a key file: 32 random bytes as hex, readable by its owner alone, never over an existing one."""

from __future__ import annotations

import os
from pathlib import Path

from pgvault.errors import KeyUnusable, Refused

KEY_MODE = 0o400


def generate_key_file(path: Path) -> None:
    """Create `path` (mode 0400) with a new random key, durably. Raises Refused when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
    except FileExistsError as error:
        raise Refused(
            f"key file {str(path)!r} exists and is never overwritten", hint="Leave out --generate-key to use it."
        ) from error
    except OSError as error:
        raise KeyUnusable(f"key file {str(path)!r} can not be made: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
