"""`pgvault init` and `pgvault check`: make the repository, and see whether a cluster can archive into it now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.auditing import Book, audit_finding, recording
from pgvault.cli.opening import make_copies, open_from, read_credential
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.printing import write_settings
from pgvault.cli.reading import impatient
from pgvault.cli.sessions import admitting_line, connect, role_of
from pgvault.config import ClusterConfig, Config, Secret, find_config
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.keyring.listing import list_keys
from pgvault.logical.request import LogicalRequest
from pgvault.monitor.check import check_cluster
from pgvault.monitor.keycheck import KeyFacts, check_keys
from pgvault.monitor.logicalcheck import LogicalCluster, check_logical
from pgvault.monitor.notifier import ROUTES, judge_routes
from pgvault.monitor.tried import Finding
from pgvault.postgres.grants import grants_for, replication_grant
from pgvault.repository import layout
from pgvault.repository.keyfile import generate_key_file
from pgvault.repository.repository import InitOutcome, init_repository
from pgvault.stores.probe import probe_put_if_absent

ESCROW = (
    "Keep a copy of this key outside this machine and outside the bucket, now: without it no backup opens.",
    "Try it some day: pgvault list --repository URL --key file:COPY",
)


def init(
    ctx: typer.Context,
    config: ConfigOption = None,
    generate_key: Annotated[
        Path | None, typer.Option("--generate-key", help="Make a new key file first (0400, never overwrites).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create the repository in every configured copy; again is a no-op.

    Example: pgvault init --generate-key /etc/pgvault/key
    """
    loaded = source_of(ctx, config).load()
    if generate_key is not None:
        require_configured_key(loaded, generate_key)
        generate_key_file(generate_key)
    copies = make_copies(loaded)
    repository, outcomes = init_repository(copies, read_credential(loaded), now=SystemClock().now())
    probe_put_if_absent(repository.deciding.store, layout.PROBES)
    if InitOutcome.CREATED in outcomes.values():
        made = {name: str(outcome) for name, outcome in outcomes.items()}
        with recording(Book(repository, loaded.audit), "init", asked={"copies": made}):
            pass  # a repository is made before anything can be recorded in it
    if as_json:
        copies_json = [{"name": c.name, "url": c.store.url, "outcome": outcomes[c.name]} for c in copies]
        render.write_json({"repository_id": repository.id.hex(), "copies": copies_json})
        return
    render.write_lines([f"{copy.name}: {outcomes[copy.name]} ({copy.store.url})" for copy in copies])
    if generate_key is not None:
        render.write_lines([f"key: {generate_key}", *ESCROW])


def require_configured_key(config: Config, path: Path) -> None:
    """Refuse to make a key that nothing will be sealed with: it would be the wrong one in the safe."""
    key = config.repository.key
    if not isinstance(key, Secret) or key.source != "file" or Path(key.name).resolve() != path.resolve():
        raise UsageError(
            f"--generate-key names {str(path)!r}, and the configuration takes its key from {str(key)!r}",
            hint=f"Write key: file:{path.absolute()} into the configuration, or name the file that it names.",
        )


def check(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    print_grants: Annotated[
        bool, typer.Option("--print-grants", help="Print the grants that the role of the dsn needs, and do no more.")
    ] = False,
    print_settings: Annotated[
        bool,
        typer.Option(
            "--print-settings",
            help="Print lines for postgresql.conf, a standby and systemd to paste, and do no more.",
        ),
    ] = False,
    role: Annotated[str | None, typer.Option("--role", help="With --print-grants: for this role instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """See whether this cluster can archive now: settings, grants, and a real segment through the server's own command.

    Example: pgvault check --cluster main
    """
    if print_grants and role is not None:
        _write_grants(role, None, as_json=as_json)
        return
    source = source_of(ctx, config)
    loaded = source.load()
    name, chosen = loaded.cluster(cluster)
    if print_grants:
        _write_grants(role_of(chosen), chosen, as_json=as_json)
        return
    if print_settings:
        write_settings(loaded, find_config(source.config), name, as_json=as_json)
        return
    findings = [*_look_at(loaded, name, chosen), *_key_findings(loaded, chosen), *_route_findings(loaded, chosen)]
    findings.append(audit_finding(loaded.audit))
    failed = [finding.error for finding in findings if finding.error is not None]
    if as_json:
        render.write_json({"cluster": name, "passed": not failed, "checks": [f.to_json() for f in findings]})
    else:
        render.write_lines([finding.line() for finding in findings])
    if failed:
        raise failed[0]


def _look_at(loaded: Config, name: str, chosen: ClusterConfig) -> list[Finding]:
    """Try what this cluster's backups need: WAL and files, or pg_dump alone."""
    if chosen.source == "logical":
        logical = LogicalCluster(request_of(name, chosen), chosen.schedule.backup, chosen.objectives.rpo)
        return check_logical(logical, open_repository=lambda: open_from(loaded))
    return check_cluster(
        name,
        chosen,
        open_repository=lambda: open_from(loaded, elsewhere=impatient(None)),
        connect=connect,
        clock=SystemClock(),
    )


def _key_findings(loaded: Config, chosen: ClusterConfig) -> list[Finding]:
    """Look at the keys, where the repository opens; where it does not, that is a finding already."""
    try:
        credential = read_credential(loaded)
        listing = list_keys(open_from(loaded), credential)
    except PgvaultError:
        return []
    is_pushed = chosen.source != "logical" and chosen.stream is None
    regions = {copy_name: copy.region for copy_name, copy in loaded.repository.copies.items()}
    return list(check_keys(KeyFacts(credential.kind, is_pushed, listing.slots, listing.active, regions)))


def _route_findings(loaded: Config, chosen: ClusterConfig) -> list[Finding]:
    """See whether the actions of the checks lead somewhere, where alerts are configured."""
    if loaded.alerts is None:
        return []
    found = list(judge_routes(chosen.checks, loaded.alerts))
    if not found:
        return [Finding(ROUTES, "every action of a check has one")]
    return [Finding(each.name, each.detail, None, each.hint) for each in found]


def request_of(name: str, chosen: ClusterConfig) -> LogicalRequest:
    """Return what would be dumped, and how. Raises KeyUnusable."""
    return LogicalRequest(
        cluster=name,
        dsn=chosen.dsn,
        password=None if chosen.password is None else chosen.password.read().decode(),
        databases=chosen.logical.databases,
        exclude=chosen.logical.exclude,
        spool=chosen.logical.spool,
        spool_limit=chosen.logical.spool_limit,
        lock_wait=chosen.logical.lock_wait,
    )


def _write_grants(role: str, chosen: ClusterConfig | None, *, as_json: bool) -> None:
    is_remote = chosen is not None and chosen.source == "stream"
    is_streamed = is_remote or (chosen is not None and chosen.stream is not None)
    statements = [*grants_for(role, is_remote=is_remote), *([replication_grant(role)] if is_streamed else [])]
    hba_line = admitting_line(chosen, role) if chosen is not None and is_streamed else None
    if as_json:
        render.write_json({"role": role, "grants": statements, "pg_hba": hba_line})
        return
    render.write_lines([f"{statement};" for statement in statements])
    if hba_line is not None:
        render.write_lines(
            [f"-- pg_hba.conf, where nothing admits it yet (ADDRESS is the host that pgvault runs on): {hba_line}"]
        )
