"""Look at files and directories of this host, and note what the judgements need; nothing is changed."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pgvault.config import Config, CopyConfig, PassphraseKey, Secret
from pgvault.config.sections import Section
from pgvault.doctor.files import FileFacts, SecretFacts, UserFacts
from pgvault.doctor.places import CopyPlace, Disk, Place

FILE = "file://"


def see_place(path: Path) -> Place | None:
    """Return where a directory lies, or will lie when it is made; None where that can not be seen."""
    resolved = path.absolute().resolve()
    for each in (resolved, *resolved.parents):
        try:
            space = os.statvfs(each)
            # As df counts: what is kept for root is no room for us.
            total = (space.f_blocks - space.f_bfree + space.f_bavail) * space.f_frsize
            return Place(resolved, Disk(each.stat().st_dev, total, space.f_bavail * space.f_frsize))
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def see_chain(path: Path) -> tuple[FileFacts, ...]:
    """Return every directory above a file, from / on, and the file itself. Raises OSError."""
    resolved = path.absolute().resolve(strict=True)
    return tuple(_facts(each) for each in (*reversed(resolved.parents), resolved))


def _facts(path: Path) -> FileFacts:
    found = path.stat()
    return FileFacts(path, found.st_uid, found.st_gid, found.st_mode)


def see_secret(what: str, path: Path) -> SecretFacts:
    """Return who may read a file that holds a secret."""
    try:
        return SecretFacts(what, path, see_chain(path))
    except OSError as error:
        return SecretFacts(what, path, (), error.strerror or str(error))


def see_owner(path: Path) -> UserFacts | None:
    """Return to whom a directory belongs, with all groups; None where there is no such user here."""
    try:
        found = pwd.getpwuid(path.stat().st_uid)
        return UserFacts(found.pw_name, found.pw_uid, os.getgrouplist(found.pw_name, found.pw_gid))
    except (KeyError, OSError):
        return None


def exists(path: Path) -> bool:
    """Tell whether something is there that we may look at."""
    try:
        return path.exists()
    except OSError:
        return False


def key_file(config: Config) -> Path | None:
    """Return the file that the key or its passphrase is in; None: in no file."""
    key = config.repository.key
    inner = key.passphrase if isinstance(key, PassphraseKey) else key
    return Path(inner.name) if isinstance(inner, Secret) and inner.source == "file" else None


def secrets(config: Config) -> Iterator[SecretFacts]:
    """Yield who may read each file that the configuration names for a secret."""
    key = key_file(config)
    if key is not None:
        yield see_secret("key", key)
    of_repository = config.repository.model_copy(update={"key": None})
    for what, secret in _named("", config.model_copy(update={"repository": of_repository})):
        if secret.source == "file":
            yield see_secret(what, Path(secret.name))


def _named(where: str, value: object) -> Iterator[tuple[str, Secret]]:
    """Yield every secret below a value of the configuration, by its path there."""
    below: Iterable[tuple[object, object]] = ()
    if isinstance(value, Secret):
        yield where, value
    elif isinstance(value, Section):
        below = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        below = value.items()
    elif isinstance(value, (tuple, list)):
        below = enumerate(value)
    for name, each in below:
        yield from _named(f"{where}.{name}" if where else str(name), each)


def copy_places(config: Config) -> list[CopyPlace]:
    """Return where the copies lie."""
    return [_copy_place(name, copy) for name, copy in config.repository.copies.items()]


def _copy_place(name: str, copy: CopyConfig) -> CopyPlace:
    if copy.url.startswith(FILE):
        return CopyPlace(name, copy.url, see_place(Path(copy.url.removeprefix(FILE))))
    return CopyPlace(name, copy.url, None, (copy.endpoint_url, urlsplit(copy.url).netloc), copy.region)
