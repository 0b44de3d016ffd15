"""The configuration files of a server, with everything they include.

    postgresql.conf     include 'f' · include_if_exists 'f' · include_dir 'd'       = is optional, quotes too
    pg_hba.conf         include f · include_if_exists f · include_dir d (16+) · @f  in a list of databases or users
    pg_ident.conf       as pg_hba.conf

Read file by file, from disk or through a session, not asked from the server's views: pg_file_settings and
pg_hba_file_rules need grants of their own, name no file that sets nothing (its absence is an error at the next start
all the same), and no @file at all.
Relative names are relative to the file that includes them. What is in the files is not understood here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pgvault.errors import SourceUnreadable

DEPTH_LIMIT = 10  # PostgreSQL's own

GUC_INCLUDE = re.compile(
    r"[ \t]*(include|include_if_exists|include_dir)(?=[\s='])[ \t]*=?[ \t]*(?:'((?:[^'\\]|''|\\.)*)'|([^\s#']+))",
    re.IGNORECASE,
)
ACCESS_INCLUDE = re.compile(r'\s*(include|include_if_exists|include_dir)\s+(?:"([^"]+)"|([^\s"#,]+))')
ACCESS_LIST_FILE = re.compile(r'(?:^|[\s,])@(?:"([^"]+)"|([^\s",#]+))')
ACCESS_COMMENT = re.compile(r'((?:"[^"]*"|[^"#])*)')  # everything before the first # that no quotes hold


class FileRole(enum.StrEnum):
    """Why the server reads a file; the first three are the names of settings."""

    CONFIG = "config_file"
    HBA = "hba_file"
    IDENT = "ident_file"
    INCLUDED = "included"


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file the server reads at its start."""

    role: FileRole
    path: Path  # absolute, as the server names it; symbolic links are not resolved


class Files(Protocol):
    """Where the files lie."""

    def read(self, path: Path) -> bytes | None:
        """Return a file's content, None where there is none. Raises SourceUnreadable, ServerUnfit."""

    def names(self, directory: Path) -> list[str]:
        """Return the names in a directory, none where there is none. Raises SourceUnreadable, ServerUnfit."""


class HereFiles:
    """Files on this host."""

    def read(self, path: Path) -> bytes | None:
        """Read a file."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnreadable(f"configuration file '{path}' can not be read: {error.strerror}") from error

    def names(self, directory: Path) -> list[str]:
        """List a directory."""
        try:
            return [entry.name for entry in directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SourceUnreadable(
                f"configuration directory '{directory}' can not be read: {error.strerror}"
            ) from error


HERE = HereFiles()


def find_configuration_files(
    config_file: Path, hba_file: Path, ident_file: Path, *, files: Files = HERE
) -> tuple[ConfigurationFile, ...]:
    """Return the three files and what they include, each once, in the order the server meets them.

    A file that does not exist is left out. Raises what `files` raises for one that may not be read.
    """
    found: dict[Path, FileRole] = {}
    for role, path in ((FileRole.CONFIG, config_file), (FileRole.HBA, hba_file), (FileRole.IDENT, ident_file)):
        _Following(files, role is FileRole.CONFIG, found).follow(path, role, 0)
    return tuple(ConfigurationFile(role, path) for path, role in found.items())


@dataclass(frozen=True, slots=True)
class _Following:
    """One of the three files, and what it includes."""

    files: Files
    is_settings: bool
    found: dict[Path, FileRole]

    def follow(self, path: Path, role: FileRole, depth: int) -> None:
        if path in self.found or depth > DEPTH_LIMIT:
            return
        content = self.files.read(path)
        if content is None:
            return
        # Latin-1 reads any byte, and names survive by the way back in _target.
        text = content.decode("latin-1")
        self.found[path] = role
        included = _settings_includes if self.is_settings else _access_includes
        for target in included(text, path.parent, self.files):
            self.follow(target, FileRole.INCLUDED, depth + 1)


def _settings_includes(text: str, directory: Path, files: Files) -> Iterator[Path]:
    for line in text.splitlines():
        if match := GUC_INCLUDE.match(line):
            keyword, quoted, plain = match.groups()
            name = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted.replace("''", "'"))
            yield from _targets(keyword.lower(), name, directory, files)


def _access_includes(text: str, directory: Path, files: Files) -> Iterator[Path]:
    for line in text.replace("\\\n", " ").splitlines():
        comment = ACCESS_COMMENT.match(line)
        statement = comment[1] if comment is not None else ""
        if match := ACCESS_INCLUDE.match(statement):
            keyword, quoted, plain = match.groups()
            yield from _targets(keyword, quoted or plain, directory, files)
        else:
            for quoted, plain in ACCESS_LIST_FILE.findall(statement):
                yield from _targets("include", quoted or plain, directory, files)


def _targets(keyword: str, name: str, directory: Path, files: Files) -> Iterator[Path]:
    target = directory / name.encode("latin-1").decode("utf-8", "surrogateescape")
    if keyword != "include_dir":
        yield target
        return
    names = sorted(files.names(target))
    yield from (target / each for each in names if each.endswith(".conf") and not each.startswith("."))
