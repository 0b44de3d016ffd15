"""Would a server on this directory archive? The settings as PostgreSQL itself reads them, before it is started.

`postgres -C name` reads configuration files and command line, and nothing else; it gets our postgresql.auto.conf from a
directory of its own, so that the answer is known before anything is written. Where a server runs, its command line
counts (postmaster.opts: what `pg_ctl restart` takes), and where postgresql.conf lies elsewhere, as on Debian, that
says where. Without PostgreSQL's programs the files are read here: the last line of a name counts, includes last.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import ProgramFailed, ProgramMissing, ServerUnfit
from pgvault.postgres.conffiles import find_configuration_files
from pgvault.postgres.instance import SERVER_ENVIRONMENT, has_pid_file
from pgvault.postgres.owner import as_server_user, hand_over
from pgvault.postgres.programs import Programs, find_programs
from pgvault.process import run
from pgvault.restore.durable import write_file
from pgvault.restore.files import AUTO_CONF

CONFIG_NAME = "postgresql.conf"
NAMES = ("archive_mode", "archive_command", "archive_library")
OFF = frozenset({"", "off", "false", "no", "0"})
LINE = re.compile(
    rf"[ \t]*({'|'.join(NAMES)})(?:[ \t]*=[ \t]*|[ \t]+)(?:'((?:[^'\\]|''|\\.)*)'|([^\s#']+))", re.IGNORECASE
)
READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What decides whether a server archives."""

    mode: str
    command: str
    library: str

    @property
    def is_on(self) -> bool:
        """Whether the archiver runs at all."""
        return self.mode.lower() not in OFF

    @property
    def has_means(self) -> bool:
        """Whether the archiver knows what to do."""
        return bool(self.command or self.library)


def archive_settings(data: Path, auto_conf: bytes, *, major: int) -> ArchiveSettings:
    """Return the settings of a server started on `data` with that postgresql.auto.conf. Raises ServerUnfit."""
    line = _command_line(data)
    config = Path(line.pop("config_file", str(data / CONFIG_NAME)))
    try:
        programs = find_programs(major)
    except ProgramMissing:
        found = _parse(config, auto_conf) | line
    else:
        found = _ask(programs, data, config, auto_conf=auto_conf, line=line)
    return ArchiveSettings(*(found.get(name, "") for name in NAMES))


def _ask(programs: Programs, data: Path, config: Path, *, auto_conf: bytes, line: Mapping[str, str]) -> dict[str, str]:
    found = {}
    with tempfile.TemporaryDirectory(prefix="pgv-") as name:
        beside = Path(name)
        write_file(beside / os.fsdecode(AUTO_CONF), auto_conf)
        options = {"config_file": str(config), "data_directory": name, **line}
        words = [word for option, value in options.items() for word in ("-c", f"{option}={value}")]
        _give_like(data, beside)
        for each in NAMES:
            argv: list[str | Path] = [programs.path("postgres"), "-C", each, "-D", beside, *words]
            try:
                said = run(as_server_user(argv, data=data), timeout=READ_SECONDS, env=SERVER_ENVIRONMENT, cwd=Path("/"))
            except ProgramFailed as error:
                raise ServerUnfit(
                    f"the configuration of '{data}' can not be read: {error}",
                    hint="A server would not start with it either. If it lies elsewhere, adopt while the server runs.",
                ) from error
            found[each] = said.removesuffix("\n")
    return found


def _give_like(data: Path, beside: Path) -> None:
    hand_over(beside)
    status = data.stat()
    if os.geteuid() == 0 and status.st_uid != 0:
        for path in (beside, *beside.iterdir()):
            os.chown(path, status.st_uid, status.st_gid)


def _parse(config: Path, auto_conf: bytes) -> dict[str, str]:
    files = find_configuration_files(config, config, config)
    texts = [file.path.read_bytes() for file in files]
    found: dict[str, str] = {}
    for text in (*texts, auto_conf):
        for line in text.decode("utf-8", "surrogateescape").splitlines():
            if match := LINE.match(line):
                name, quoted, plain = match.groups()
                found[name.lower()] = plain if quoted is None else quoted
    return found


def _command_line(data: Path) -> dict[str, str]:
    """Return what of the server's command line matters, where it counts."""
    if (data / CONFIG_NAME).exists() and not has_pid_file(data):
        return {}
    try:
        words = (data / "postmaster.opts").read_text(errors="surrogateescape").strip().removesuffix('"').split(' "')
    except FileNotFoundError:
        return {}
    settings = (word.partition("=") for word in _settings([word.removesuffix('"') for word in words[1:]]))
    named = {name.replace("-", "_"): value for name, _, value in settings}
    return {name: named[name] for name in ("config_file", *NAMES) if name in named}


def _settings(words: list[str]) -> Iterator[str]:
    for before, word in zip(["", *words], words, strict=False):
        if before == "-c":
            yield word
        elif word.startswith("--"):
            yield word.removeprefix("--")
