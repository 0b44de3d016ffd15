"""`pgvault audit`: what was done to the repository, whether that is still all of it, and a copy for the auditor."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.audit.entry import Entry
from pgvault.audit.export import export
from pgvault.audit.facts import gather
from pgvault.audit.newest import Wanted, newest
from pgvault.audit.remark import Remark
from pgvault.audit.signer import PublicKey, SigningKey
from pgvault.audit.trust import Kept, Trust, keep, parse_head, read_receipt
from pgvault.audit.verify import ChainVerdict, Verdict, judge
from pgvault.cli import render
from pgvault.cli.auditing import signing_key
from pgvault.cli.completing import complete_cluster
from pgvault.cli.options import (
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_every_copy, open_to_read
from pgvault.config import Config
from pgvault.config.audit import AuditConfig, default_key_file
from pgvault.errors import KeyUnusable
from pgvault.instants import SystemClock, iso, parse_duration, parse_instant
from pgvault.repository.repository import Repository

audit = typer.Typer(
    name="audit",
    no_args_is_help=True,
    help="What was done to the repository, by whom, signed.\n\nExample: pgvault audit verify",
)

LIMIT = 50  # entries


@audit.command("list")
def list_(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="No older ones.")] = None,
    what: Annotated[str | None, typer.Option("--what", help="Of one command: backup, restore, drill, …")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many.")] = LIMIT,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Of one cluster.", autocompletion=complete_cluster)
    ] = None,
    config: ConfigOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was done, newest first.

    Example: pgvault audit list --since "7 days ago" --what restore
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    loaded = source.load()
    start = None if since is None else parse_instant(since, zone=loaded.timezone, now=SystemClock().now())
    lost: list[str] = []
    found = newest(
        open_to_read(loaded),
        Wanted(limit, start, cluster, what),
        passed_over=lambda signer, number, error: lost.append(f"entry {number} of {signer}: {error}"),
    )
    trust = trust_of(loaded)
    if as_json:
        render.write_json({"entries": [_entry_document(entry, trust) for entry in found], "passed_over": lost})
    else:
        columns = ("at", "what", "cluster", "result", "by", "signed by", "entry", "")
        render.write_table("audit entries", columns, [_row(entry, trust) for entry in found])
    for line in lost:
        render.write_warning(line, "See: pgvault audit verify")


@audit.command()
def verify(
    ctx: typer.Context,
    copy: Annotated[
        str | None, typer.Option("--copy", help="Only this copy; else each, and all against the first.")
    ] = None,
    signers: Annotated[
        list[str] | None, typer.Option("--signer", metavar="ed25519:…", help="A key that counts, beside audit.signers.")
    ] = None,
    heads: Annotated[
        list[str] | None, typer.Option("--head", metavar="SIGNER:NUMBER:SHA256", help="An entry that must be there.")
    ] = None,
    receipts: Annotated[
        list[Path] | None, typer.Option("--receipt", help="The same, from an exported .json, its .sig beside it.")
    ] = None,
    keep_: Annotated[
        str | None, typer.Option("--keep", metavar="DURATION", help="What is younger may not be cut; else audit_keep.")
    ] = None,
    config: ConfigOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read back every chain in every copy: signatures, places, hashes, holes, forks, and whose keys signed.

    Example: pgvault audit verify --receipt /srv/evidence/receipt.json
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    loaded = source.load()
    opened = open_every_copy(loaded)
    kept = [*map(parse_head, heads or ()), *(_kept(path, opened) for path in receipts or ())]
    kept_for = loaded.audit_keep if keep_ is None else parse_duration(keep_)
    trust = replace(trust_of(loaded, also=signers or ()), keep=kept_for)
    verdict = judge(gather(opened, only=copy), trust, now=SystemClock().now(), kept=kept)
    if as_json:
        render.write_json(_verdict_document(verdict))
    else:
        render.write_lines(_verdict_lines(verdict))
    verdict.require_whole()


@audit.command("export")
def export_(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Where to; what is there from another time is compared.")],
    config: ConfigOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every entry, its signature and the public keys, for whoever checks them with openssl alone.

    Example: pgvault audit export /srv/evidence
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    found = export(open_to_read(source.load()), directory)
    heads = [f"{signer}:{head.number}:{head.sha256.hex()}" for signer, head in found.heads.items()]
    if as_json:
        counts = {"directory": str(directory), "written": found.written, "same": found.same}
        render.write_json({**counts, "heads": heads, "problems": found.problems})
    else:
        render.write_lines([f"{found.written} entries written to {directory}, {found.same} were there"])
        render.write_lines([f"end: {head}" for head in heads] + [f"problem: {each}" for each in found.problems])
    found.require_whole()


@audit.command("key")
def key_(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the public key that this host signs with, as audit.signers takes it; make one where there is none.

    Example: pgvault audit key
    """
    public = signing_key(source_of(ctx, config).load().audit).public
    if as_json:
        render.write_json({"public_key": str(public), "signer": public.signer})
    else:
        render.write_lines([str(public)])


def trust_of(loaded: Config, *, also: list[str] | tuple[str, ...] = ()) -> Trust:
    """Return whose signatures count here: the configured keys, those given, and this host's own if it has one."""
    config = loaded.audit
    given = {text if text not in config.signers else f"{text} (given)": text for text in also}
    return Trust.of({**config.signers, **given}, own_public_key(config), keep=loaded.audit_keep)


def own_public_key(config: AuditConfig) -> PublicKey | None:
    """Return the public half of this host's key; None where it has none, or we may not read it. None is made."""
    with suppress(KeyUnusable, OSError):
        if config.key is not None:
            return SigningKey.decode(config.key.read(), where=str(config.key)).public
        path = default_key_file()
        return SigningKey.decode(path.read_bytes(), where=str(path)).public
    return None


def _kept(path: Path, repository: Repository) -> Kept:
    return keep(read_receipt(path), repository_id=repository.id, source=f"receipt {str(path)!r}")


def _entry_document(entry: Entry, trust: Trust) -> dict[str, Any]:
    place = entry.place
    return {
        "at": iso(entry.at),
        "store_at": None if place.store_at is None else iso(place.store_at),
        "signer": entry.signer,
        "signed_by": trust.name(entry.signer),
        "believed": trust.believes(entry.key),
        "number": place.number,
        "sha256": entry.head.sha256.hex(),
        "event": dict(entry.event),
    }


def _row(entry: Entry, trust: Trust) -> tuple[str, ...]:
    event = entry.event
    by = event.get("by")
    origin = by if isinstance(by, dict) else {}
    who = f"{origin.get('user', '?')}@{origin.get('host', '?')} ({origin.get('from', '?')})"
    name = trust.name(entry.signer) if trust.believes(entry.key) else f"? {entry.signer}"
    fields = (event.get("what"), event.get("cluster") or "-", event.get("result"), who, name)
    said = [render.printable(str(field)) for field in fields]
    return (render.instant(entry.at), *said, str(entry.place.number), render.printable(str(event.get("error") or "")))


def _verdict_lines(verdict: Verdict) -> list[str]:
    lines = [_chain_line(chain) for chain in verdict.chains]
    lines += [f"{remark.weight}: {render.printable(str(remark))}" for remark in verdict.remarks]
    state = "whole" if verdict.is_proven else "whole, and not proven" if verdict.is_whole else "BROKEN"
    return [*lines, f"audit: {state}; {verdict.entries} entries read back, {len(verdict.chains)} chains"]


def _chain_line(chain: ChainVerdict) -> str:
    until = "" if chain.last_at is None else f", the last of {render.instant(chain.last_at)}"
    end = "" if chain.last_sha256 is None else f"; end {_end(chain)}"
    return f"{render.printable(chain.name)}: entries {chain.first} to {chain.last}{until}{end}"


def _end(chain: ChainVerdict) -> str | None:
    return None if chain.last_sha256 is None else f"{chain.signer}:{chain.last}:{chain.last_sha256.hex()}"


def _verdict_document(verdict: Verdict) -> dict[str, Any]:
    return {
        "passed": verdict.is_whole,
        "proven": verdict.is_proven,
        "entries": verdict.entries,
        "chains": [
            {
                "signer": chain.signer,
                "name": chain.name,
                "public_key": chain.public_key,
                "believed": chain.is_believed,
                "first": chain.first,
                "last": chain.last,
                "last_at": None if chain.last_at is None else iso(chain.last_at),
                "head": _end(chain),
                "proven_to": chain.proven_to,
            }
            for chain in verdict.chains
        ],
        "findings": [_remark_document(remark) for remark in verdict.remarks],
    }


def _remark_document(remark: Remark) -> dict[str, Any]:
    return {
        "weight": remark.weight.value,
        "kind": remark.kind,
        "copy": remark.copy,
        "signer": remark.signer,
        "text": remark.text,
    }
