"""Configuration files of a server on another host, read through a session, where its role may.

That takes pg_read_server_files and the functions of grants.py: more than a backup needs, and more than many give.
"""

from __future__ import annotations

import os
from pathlib import Path

from pgvault.errors import ServerUnfit
from pgvault.postgres.conffiles import find_configuration_files
from pgvault.postgres.connection import Connection, read_bytes, read_path
from pgvault.postgres.grants import FILE_FUNCTIONS, FILES_ROLE

FILE_BYTES_MAX = 4 << 20
SETTINGS = ("config_file", "hba_file", "ident_file")


class ServerFiles:
    """Files as the server sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.contents: dict[Path, bytes] = {}  # of what was read

    def read(self, path: Path) -> bytes | None:
        """Read a file through the server."""
        query = "SELECT pg_read_binary_file(%s, 0, %s, true)"
        (found,) = self._connection.row(query, os.fsencode(path).decode("utf-8", "surrogateescape"), FILE_BYTES_MAX)
        if found is None:
            return None
        content = read_bytes(found)
        if len(content) == FILE_BYTES_MAX:
            raise ServerUnfit(f"configuration file '{path}' has {FILE_BYTES_MAX} bytes or more")
        self.contents[path] = content
        return content

    def names(self, directory: Path) -> list[str]:
        """List a directory through the server."""
        return [
            read_path(name) for (name,) in self._connection.rows("SELECT pg_ls_dir(%s, true, false)", str(directory))
        ]


def read_outside_files(connection: Connection) -> dict[Path, bytes]:
    """Return the configuration files, includes too, that lie outside the data directory. Raises ServerUnfit."""
    paths = connection.settings((*SETTINGS, "data_directory"))
    files = ServerFiles(connection)
    found = find_configuration_files(*(Path(paths[name]) for name in SETTINGS), files=files)
    outside = [_plain(file.path) for file in found if not _is_inside(file.path, paths["data_directory"])]
    read = {_plain(path): content for path, content in files.contents.items()}
    return {path: read[path] for path in dict.fromkeys(outside)}


def outside_settings(connection: Connection) -> tuple[str, ...]:
    """Return those of the three files that lie outside the data directory, as the server names them."""
    paths = connection.settings((*SETTINGS, "data_directory"))
    return tuple(paths[name] for name in SETTINGS if not _is_inside(Path(paths[name]), paths["data_directory"]))


def may_read_files(connection: Connection) -> bool:
    """Tell whether our role may read the server's files."""
    (is_member,) = connection.row("SELECT pg_has_role(current_user, %s, 'USAGE')", FILES_ROLE)
    return bool(is_member) and all(
        connection.row("SELECT has_function_privilege(current_user, %s, 'EXECUTE')", f"pg_catalog.{function}")[0]
        for function in FILE_FUNCTIONS
    )


def _is_inside(path: Path, data: str) -> bool:
    return _plain(path).is_relative_to(_plain(Path(data)))


def _plain(path: Path) -> Path:
    """Without '..', which no record may have; links are the other host's."""
    return Path(os.path.normpath(path))
