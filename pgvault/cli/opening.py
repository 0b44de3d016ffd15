"""From configuration to an opened repository: the seam between what the operator wrote and the library.

A repository is named either by a configuration file, or, on a machine that has lost everything, by a URL and a
key (`--repository URL --key file:escrow.txt`). A key beside a configuration stands for the one that it names: so a
drill proves an escrow sheet. A `RepositorySource` holds that reference, never a secret, so that a restore can write it
beside the restored directory for `wal fetch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgvault.config import (
    ClusterConfig,
    Config,
    CopyConfig,
    KeyReference,
    KmsKey,
    PassphraseKey,
    Secret,
    absolute_key_reference,
    decode_key,
    find_config,
    is_sheet,
    load_config,
    parse_config,
    parse_key_reference,
)
from pgvault.config.audit import AuditConfig
from pgvault.errors import ConfigInvalid, UsageError
from pgvault.repository.catalog import clusters
from pgvault.repository.copies import Copy
from pgvault.repository.keys import AWS_KMS, PASSPHRASE, RAW, Credential
from pgvault.repository.kms import AwsKms
from pgvault.repository.repository import Repository, open_repository
from pgvault.stores.base import ObjectLock, StoreLocation
from pgvault.stores.open import open_store
from pgvault.stores.retry import Patience


@dataclass(frozen=True, slots=True)
class RepositorySource:
    """A reference to a repository that holds no secret: a configuration file, or a URL, and where the key is."""

    config: Path | None = None  # absolute
    url: str | None = None
    key: str | None = None  # file:PATH, env:NAME, passphrase:… or kms:ARN; None: as in the configuration
    region: str | None = None
    endpoint_url: str | None = None
    more_urls: tuple[str, ...] = ()  # further copies, asked in that order

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, absent fields left out."""
        fields = {
            "config": None if self.config is None else str(self.config),
            "url": self.url,
            "key": self.key,
            "region": self.region,
            "endpoint_url": self.endpoint_url,
            "more_urls": list(self.more_urls) or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RepositorySource:
        """Read the JSON form."""
        config = document.get("config")
        return cls(
            None if config is None else Path(config),
            document.get("url"),
            document.get("key"),
            document.get("region"),
            document.get("endpoint_url"),
            tuple(document.get("more_urls", ())),
        )

    def load(self) -> Config:
        """Return the configuration: the file's, or a minimal one made from URL and key."""
        if self.url is None:
            return _with_key(load_config(find_config(self.config)), self.key)
        if self.key is None:
            raise UsageError("--repository needs --key", hint="Say --key file:PATH or --key env:NAME.")
        copies = {
            "given" if number == 1 else f"given-{number}": {
                "url": url,
                "region": self.region,
                "endpoint_url": self.endpoint_url,
            }
            for number, url in enumerate((self.url, *self.more_urls), 1)
        }
        document = {"repository": {"key": "env:GIVEN", "copies": copies}, "clusters": {}}
        return _with_key(parse_config(json.loads(json.dumps(document)), where="--repository"), self.key)


def _with_key(config: Config, key: str | None) -> Config:
    """Return the configuration with the key that was given in place of its own."""
    if key is None:
        return config
    repository = config.repository.model_copy(update={"key": parse_key_reference(key)})
    return config.model_copy(update={"repository": repository})


def make_source(
    config: Path | None,
    *,
    urls: Sequence[str] = (),
    key: str | None = None,
    region: str | None = None,
    endpoint_url: str | None = None,
) -> RepositorySource:
    """Return the source that the options name; the first of several URLs decides what is absent.

    Relative key files are made absolute, so that it can be kept.
    """
    if key is not None:
        key = absolute_key_reference(key)
    if urls:
        first, *others = urls
        return RepositorySource(None, first, key, region, endpoint_url, tuple(others))
    # A link is followed each time it is read, not now: Kubernetes changes a mounted file by pointing a link elsewhere.
    return RepositorySource(find_config(config).absolute(), key=key)


def open_from(config: Config, *, patience: Patience | None = None, elsewhere: Patience | None = None) -> Repository:
    """Open the repository that a configuration describes; `patience` is how long its stores may take to answer.

    `elsewhere` is that of all copies but the first, where it is another: for whoever can go on without one of them.
    """
    return open_repository(make_copies(config, patience=patience, elsewhere=elsewhere), read_credential(config))


def with_copies_for_wal(config: Config) -> Config:
    """Return the configuration less the copies that no WAL waits for.

    For whoever archives one file: to make a client of S3 takes 0.3 s, and such a copy may cost a push nothing. What
    the first push of a cluster stores beside WAL, `pgvault copy` brings there.
    """
    first, *others = config.repository.copies.items()
    kept = [(name, copy) for name, copy in others if copy.is_sync_for_wal]
    repository = config.repository.model_copy(update={"copies": dict([first, *kept])})
    return config.model_copy(update={"repository": repository})


def make_copies(config: Config, *, patience: Patience | None = None, elsewhere: Patience | None = None) -> list[Copy]:
    """Return the configured copies, in order; nothing is asked of them yet. Patience as in `open_from`."""
    others = elsewhere or patience
    return [
        Copy(
            name,
            open_store(locate(copy), patience=others if number else patience),
            copy.is_sync_for_backups,
            copy.is_sync_for_wal,
            copy.wal_lag,
            copy.backup_lag,
        )
        for number, (name, copy) in enumerate(config.repository.copies.items())
    ]


def locate(copy: CopyConfig) -> StoreLocation:
    """Return where a copy lives, its credentials read."""
    return StoreLocation(
        url=copy.url,
        region=copy.region,
        endpoint_url=copy.endpoint_url,
        profile=copy.profile,
        addressing=copy.addressing,
        credentials=copy.credentials(),
        checksums=copy.checksums,
        encryption=copy.encryption,
        encryption_key=copy.encryption_key,
        storage_class=copy.storage_class,
        lock=None if copy.object_lock is None else ObjectLock(copy.object_lock.mode, copy.object_lock.days),
    )


def read_credential(config: Config) -> Credential:
    """Return the configured key, passphrase or key in KMS. Raises KeyUnusable."""
    return credential_of(config.repository.key)


def credential_of(key: KeyReference) -> Credential:
    """Read the secret that a reference names. Raises KeyUnusable."""
    if isinstance(key, KmsKey):
        return Credential(AWS_KMS, b"", AwsKms(key.kms, key.region, key.endpoint_url, key.profile))
    if isinstance(key, PassphraseKey):
        return Credential(PASSPHRASE, key.passphrase.read())
    assert isinstance(key, Secret)
    content = key.read()
    return Credential(RAW, decode_key(content, where=str(key)), is_escrow=is_sheet(content.decode("ascii", "replace")))


@dataclass(frozen=True, slots=True)
class OpenedCluster:
    """A cluster's name and configuration, and the repository, open."""

    name: str
    config: ClusterConfig
    repository: Repository
    source: RepositorySource
    time_zone: str
    audit: AuditConfig = field(default_factory=AuditConfig)


def open_cluster(source: RepositorySource, name: str | None, *, patience: Patience | None = None) -> OpenedCluster:
    """Open the named cluster, or the only one.

    A source by URL knows no configuration: there the repository says which clusters exist.
    """
    config = source.load()
    return name_cluster(source, config, open_from(config, patience=patience), name)


def name_cluster(source: RepositorySource, config: Config, repository: Repository, name: str | None) -> OpenedCluster:
    """Return the named cluster of an opened repository, or the only one. Raises ConfigInvalid."""
    if source.url is None:
        name, cluster = config.cluster(name)
        return OpenedCluster(name, cluster, repository, source, config.timezone, config.audit)
    names = clusters(repository)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        raise ConfigInvalid(
            f"the repository holds no cluster {name!r}" if name else f"the repository holds {len(names)} clusters",
            hint="Name one with --cluster: " + ", ".join(names),
        )
    return OpenedCluster(name, ClusterConfig(dsn=""), repository, source, config.timezone)
