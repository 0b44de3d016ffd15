"""The file as a whole: which repository, which clusters, what was promised.

    repository:
      key: file:/etc/pgvault/key                 # or env:NAME, {passphrase: file:...}, {kms: ARN}
      copies:
        primary: {url: "file:///srv/pgvault"}    # the first decides what exists; or s3://bucket/prefix
    clusters:
      main:
        dsn: "host=/var/run/postgresql dbname=postgres"

Unknown keys are errors, secrets are never written here but referred to (`file:PATH`, `env:NAME`), durations
are `15m`, `4h`, `30d`. This package and cli/ are the only ones that read the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from pgvault.config.alerts import AlertsConfig
from pgvault.config.anomaly import AnomalyConfig
from pgvault.config.audit import AuditConfig
from pgvault.config.checktypes import AnyCheck
from pgvault.config.promises import ClassConfig, Objectives
from pgvault.config.repository import RepositoryConfig
from pgvault.config.retention import RetentionConfig
from pgvault.config.schedule import Schedule
from pgvault.config.sections import Duration, Secret, Section, require_no_password, secret
from pgvault.errors import ConfigInvalid, ConfigUnknownKey, PgvaultError, TargetInvalid, did_you_mean
from pgvault.instants import parse_instant

SEARCH_PATH = (Path("pgvault.yaml"), Path("/etc/pgvault/pgvault.yaml"))
CLUSTER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
TARGETS = ("latest", "random", "oldest", "last-good")  # of a drill, beside times


class DrillConfig(Section):
    """Where and how drills run."""

    targets: tuple[str, ...] = Field(default=("latest",), min_length=1)  # of one command, as its --to: a drill each
    scratch: Path | None = None
    timeout: Duration = timedelta(hours=4)
    isolation: Literal["auto", "sandbox", "process", "container"] = "auto"  # auto: a sandbox where one works
    image: str | None = None  # of a container; None: PostgreSQL's official one of the backup's major
    engine: Literal["docker", "podman"] | None = None  # None: the one that is here
    pull: bool = False  # whether an image that is not here is fetched
    memory: str = Field(default="2g", pattern=r"^[1-9][0-9]*[kmg]$")  # of a container, as the engine writes it
    cpus: float = Field(default=2.0, gt=0)  # of a container
    derived: bool = True  # whether every constraint in the catalog is asked as a query
    amcheck: Literal["heapallindexed", "standard", "off"] = "heapallindexed"  # how thoroughly pg_amcheck looks

    @field_validator("targets")
    @classmethod
    def _targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if text.strip().lower() in TARGETS:
                continue
            try:
                parse_instant(text, zone="UTC", now=datetime.now(UTC))
            except TargetInvalid as error:
                raise ValueError(f"{text!r} is neither one of {', '.join(TARGETS)} nor a time") from error
        return value


class StreamConfig(Section):
    """How `pgvault wal stream` receives WAL; a cluster with this section is streamed, and checked for it."""

    slot: str = Field(default="pgvault", pattern=r"^[a-z0-9_]{1,63}$")
    spool: Path | None = None  # on a disk that survives restarts; None: /var/lib/pgvault/<cluster>/stream
    every: Duration = timedelta(seconds=10)  # how often a tail is stored
    beacon: Duration | None = None  # how often an idle server is made to commit; None: never
    on_gap: Literal["backup", "record"] = "backup"  # a full backup at once, or only the record of the gap


class LogicalConfig(Section):
    """How logical backups are taken: of which databases, and by way of how much room."""

    databases: tuple[str, ...] | None = None  # by name; None: all but `exclude`
    exclude: tuple[str, ...] = ()  # patterns
    spool: Path | None = None  # None: the system's directory for temporary files
    spool_limit: int = Field(default=256 << 20, ge=1 << 20)  # bytes that pg_dump is ahead of us
    jobs: int = Field(default=2, ge=1, le=64)  # connections that read
    lock_wait: Duration = timedelta(minutes=1)
    load_schema: bool = True  # whether a schema backup is loaded into an empty server on this host before it counts


class ClusterConfig(Section):
    """One PostgreSQL cluster."""

    dsn: str
    password: Annotated[Secret, secret("password")] | None = None
    # local: files on this host; stream: files by the replication protocol; logical: no files and no WAL, pg_dump alone
    source: Literal["local", "stream", "logical"] = "local"
    primary_dsn: str | None = None  # where WAL is switched when `dsn` is a standby; None: it is waited for
    primary_password: Annotated[Secret, secret("primary_password")] | None = None
    max_rate: int | None = Field(default=None, ge=32 << 10, le=1 << 30)  # bytes a second of `source: stream`
    data_directory: Path | None = None
    objectives: Objectives = Objectives()
    schedule: Schedule = Schedule()
    checks: tuple[AnyCheck, ...] = ()
    checks_dsn: str | None = None  # where checks run live: better a replica; None: `dsn`
    checks_password: Annotated[Secret, secret("checks_password")] | None = None
    drill: DrillConfig = DrillConfig()
    stream: StreamConfig | None = None
    logical: LogicalConfig = LogicalConfig()
    classes: dict[str, ClassConfig] = Field(default_factory=dict)
    retention: RetentionConfig | None = None
    anomaly: AnomalyConfig = AnomalyConfig()
    archive_wait: Duration = timedelta(minutes=2)
    jobs: int = Field(default=4, ge=1, le=64)

    def of_primary(self) -> ClusterConfig | None:
        """Return the configuration with the way to the primary instead; None where there is none.

        Roles and their passwords are the same on both: without a primary_password, `password` is tried.
        """
        if self.primary_dsn is None:
            return None
        return self.model_copy(
            update={"dsn": self.primary_dsn, "password": self.primary_password or self.password, "primary_dsn": None}
        )

    @field_validator("dsn", "checks_dsn", "primary_dsn")
    @classmethod
    def _dsn(cls, value: str | None) -> str | None:
        return None if value is None else require_no_password(value)

    @field_validator("stream")
    @classmethod
    def _stream(cls, value: StreamConfig | None, info: ValidationInfo) -> StreamConfig | None:
        if value is not None and info.data.get("source") == "logical":
            raise ValueError("a cluster with source: logical has no WAL to stream")
        return value

    @field_validator("checks")
    @classmethod
    def _named_once(cls, value: tuple[AnyCheck, ...]) -> tuple[AnyCheck, ...]:
        """Two results of one name are one to whoever watches them by name: the last would win."""
        names = [check.name for check in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two checks are called {twice[0]!r}")
        return value

    @field_validator("checks", mode="before")
    @classmethod
    def _checks(cls, value: object, info: ValidationInfo) -> object:
        """Accept a list, `{data_validation: {schedule: …, checks: […]}}`, or a path to a file of either shape.

        A relative path begins at the configuration file: cron starts us anywhere. That schedule is the schedule of
        each check that has none of its own.
        """
        if isinstance(value, str):
            value = _load_yaml(Path((info.context or {}).get("directory", ".")) / value)
        if isinstance(value, Mapping) and "data_validation" in value:
            value = value["data_validation"]
        if not isinstance(value, Mapping):
            return value
        if unknown := sorted(set(value) - {"schedule", "checks"}):
            raise ValueError(f"unknown key {unknown[0]!r}")
        schedule, checks = value.get("schedule"), value.get("checks")
        if schedule is None or not isinstance(checks, list):
            return checks
        return [{"schedule": schedule, **each} if isinstance(each, Mapping) else each for each in checks]


class Config(Section):
    """The whole file."""

    repository: RepositoryConfig
    clusters: dict[str, ClusterConfig] = Field(default_factory=dict)
    audit: AuditConfig = AuditConfig()
    audit_keep: Duration | None = None  # of this host's own chain, what is older goes; None: nothing does
    alerts: AlertsConfig | None = None
    timezone: str = "UTC"

    @field_validator("clusters")
    @classmethod
    def _names(cls, value: dict[str, ClusterConfig]) -> dict[str, ClusterConfig]:
        for name in value:
            if not CLUSTER_NAME.fullmatch(name):
                raise ValueError(f"cluster name {name!r} must be lower-case letters, digits, '_' or '-'")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value

    def cluster(self, name: str | None) -> tuple[str, ClusterConfig]:
        """Return the named cluster, or the only one. Raises ConfigInvalid."""
        if name is None:
            if len(self.clusters) != 1:
                raise ConfigInvalid(
                    f"the configuration has {len(self.clusters)} clusters",
                    hint="Name one with --cluster: " + ", ".join(self.clusters),
                )
            name = next(iter(self.clusters))
        if name not in self.clusters:
            known = ", ".join(self.clusters) or "none"
            hint = f"{did_you_mean(name, self.clusters)}Known: {known}"
            raise ConfigInvalid(f"cluster {name!r} is not configured", hint=hint)
        return name, self.clusters[name]


def find_config(explicit: Path | None) -> Path:
    """Return the file to read: `explicit`, else $PGVAULT_CONFIG, else the search path."""
    if explicit is None and os.environ.get("PGVAULT_CONFIG"):
        explicit = Path(os.environ["PGVAULT_CONFIG"])
    if explicit is not None:
        return explicit
    for candidate in SEARCH_PATH:
        if candidate.exists():
            return candidate
    raise ConfigInvalid(
        "no configuration was found",
        hint="Looked for --config, PGVAULT_CONFIG, " + ", ".join(map(str, SEARCH_PATH)) + ".",
    )


def load_config(path: Path) -> Config:
    """Read and check the file at `path`. Raises ConfigInvalid, ConfigUnknownKey, PlainSecret."""
    return parse_config(_load_yaml(path), where=str(path), directory=path.parent)


def parse_config(document: object, *, where: str, directory: Path = Path()) -> Config:
    """Check a parsed document; `where` names it in errors, `directory` is where relative paths in it begin.

    Same errors as `load_config`.
    """
    if not isinstance(document, dict):
        hint = "It begins with `repository:` and `clusters:`; the README has one to start from."
        raise ConfigInvalid(f"configuration {where!r} is empty or not a mapping", hint=hint)
    try:
        return Config.model_validate(document, context={"directory": directory})
    except ValidationError as error:
        raise _explain(error, where) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, where YAML would silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping, looking at its keys first."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _load_yaml(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return yaml.load(file, Loader=_Loader)  # noqa: S506 - a SafeLoader that is stricter still
    except OSError as error:
        hint = "Name another by --config or PGVAULT_CONFIG, or let the user who runs this read it."
        raise ConfigInvalid(f"configuration {str(path)!r} can not be read: {error.strerror}", hint=hint) from error
    except yaml.YAMLError as error:
        hint = "Indent by spaces, never tabs, and quote what holds ': ' or '#'."
        raise ConfigInvalid(f"configuration {str(path)!r} is not YAML: {error}", hint=hint) from error


def _known_keys() -> set[str]:
    """Return every key that any section has."""
    sections = Section.__subclasses__()
    for section in sections:
        sections += section.__subclasses__()  # the list grows while it is walked, until there are no more
    return {field.alias or name for section in sections for name, field in section.model_fields.items()}


def _explain(error: ValidationError, where: str) -> PgvaultError:
    """Turn pydantic's list into one sentence about the first problem; values are never echoed."""
    problems = error.errors(include_url=False, include_input=False)
    unknown = [p for p in problems if p["type"] == "extra_forbidden"]
    first = (unknown or problems)[0]
    # Alternatives (of key:) show in pydantic's path by names that no operator wrote.
    parts = [str(part) for part in first["loc"]]
    place = ".".join(part for part in parts if "[" not in part)
    if unknown:
        hint = did_you_mean(parts[-1], _known_keys()) or "Is it a typo? "
        return ConfigUnknownKey(f"unknown key {place!r} in {where!r}", hint=f"{hint}Nothing was done.")
    message = first["msg"].removeprefix("Value error, ")
    return ConfigInvalid(f"{place or 'configuration'} in {where!r}: {message[:1].lower()}{message[1:]}")
