"""Judge who may read and write the files that pgvault is trusted with: the configuration, the key, other secrets.

By their modes alone: an access list that gives more, or less, is not seen.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.monitor.finding import Finding, ok, red, warn

OTHERS_READ = stat.S_IROTH
OTHERS_WRITE = stat.S_IWOTH
GROUP_WRITE = stat.S_IWGRP
ROOT = 0


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file or directory, resolved, and who may do what with it."""

    path: Path
    uid: int
    gid: int
    mode: int  # st_mode


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """A file that holds a secret."""

    what: str  # key, clusters.main.password, …
    path: Path  # as the configuration has it
    chain: Sequence[FileFacts]  # every directory above it from / on, and the file itself; empty: it can not be seen
    why: str = ""  # it can not


@dataclass(frozen=True, slots=True)
class UserFacts:
    """A user of this host."""

    name: str
    uid: int
    gids: Collection[int]


def judge_secret(facts: SecretFacts) -> Finding:
    """Judge who else may read a secret, or put another in its place."""
    name = f"{facts.what} file"
    if not facts.chain:
        hint = "Is the path right, and does this user own it? Mode 0400."
        return red(name, f"'{facts.path}' can not be seen: {facts.why}", hint=hint)
    found = facts.chain[-1]
    if found.mode & OTHERS_READ and not is_shut(facts.chain):
        said = f"'{facts.path}' (mode {stat.S_IMODE(found.mode):04o}) can be read by every user of this host"
        return red(name, said, hint=f"chmod 0400 {facts.path}")
    if found.mode & (OTHERS_WRITE | GROUP_WRITE):
        said = f"'{facts.path}' (mode {stat.S_IMODE(found.mode):04o}) can be written by others"
        return red(name, said, hint=f"chmod 0400 {facts.path}")
    return ok(name, f"'{facts.path}', mode {stat.S_IMODE(found.mode):04o}")


def judge_key_place(key: Path, *, data: Path | None, copies: Sequence[Path]) -> Iterator[Finding]:
    """Yield what is wrong with where a key lies: in what it seals, or beside what it opens."""
    if data is not None and key.is_relative_to(data):
        yield red(
            "key place",
            f"the key '{key}' lies in the data directory: it goes with the disk, and into every backup",
            hint="Move it, e.g. to /etc/pgvault/key, and keep a copy elsewhere: pgvault key export.",
        )
    for copy in copies:
        if key.is_relative_to(copy):
            yield red(
                "key place",
                f"the key '{key}' lies in the repository '{copy}', which it opens: whoever has one has both",
                hint="Move it, e.g. to /etc/pgvault/key, and keep a copy elsewhere: pgvault key export.",
            )


def judge_config_rights(found: FileFacts) -> Finding:
    """Judge who may change the configuration: it names programs that are run."""
    said = f"'{found.path}', mode {stat.S_IMODE(found.mode):04o}"
    if found.mode & OTHERS_WRITE:
        return red(
            "configuration file",
            f"{said}, can be written by every user of this host, and it names programs that are run",
            hint=f"chmod go-w {found.path}",
        )
    if found.mode & GROUP_WRITE:
        return warn("configuration file", f"{said}, can be written by its whole group", hint=f"chmod g-w {found.path}")
    return ok("configuration file", said)


def judge_reading(name: str, chain: Sequence[FileFacts], user: UserFacts) -> Finding | None:
    """Return what keeps the user that archives from reading a file; None: nothing does."""
    stop = next((each for each in chain if not may_read(each, user)), None)
    if stop is None:
        return None
    what = "enter" if stat.S_ISDIR(stop.mode) else "read"
    return red(
        name,
        f"user {user.name}, whose server archives, may not {what} '{stop.path}'",
        hint=f"Give it to the user: chown or chgrp {user.name} {stop.path}, or test: runuser -u {user.name} -- "
        f"cat {chain[-1].path}",
    )


def may_read(found: FileFacts, user: UserFacts) -> bool:
    """Tell whether a user may read a file, or pass through a directory, by its mode."""
    if user.uid == ROOT:
        return True
    bit = stat.S_IXUSR if stat.S_ISDIR(found.mode) else stat.S_IRUSR
    if found.uid != user.uid:
        bit >>= 3 if found.gid in user.gids else 6
    return bool(found.mode & bit)


def is_shut(chain: Sequence[FileFacts]) -> bool:
    """Tell whether a directory above keeps all others out."""
    return any(stat.S_ISDIR(each.mode) and not each.mode & stat.S_IXOTH for each in chain[:-1])
