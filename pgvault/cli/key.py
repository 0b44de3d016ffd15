"""`pgvault key`: which keys open the repository, who holds them, and the sheet in the safe."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.auditing import Book, Event, Need, recording
from pgvault.cli.opening import credential_of, open_from, read_credential
from pgvault.cli.options import ConfigOption, JsonOption, source_of
from pgvault.cli.reading import impatient, open_every_copy
from pgvault.config import Config, KmsKey, PassphraseKey, Secret, absolute_key_reference, parse_key_reference
from pgvault.errors import UsageError
from pgvault.instants import SystemClock
from pgvault.keyring.change import RotationOrder, add_slot, remove_slot, rotate
from pgvault.keyring.escrow import ExportOrder, Place, export
from pgvault.keyring.listing import KeyListing, list_keys
from pgvault.repository.keys import AWS_KMS, PASSPHRASE, RAW, Credential
from pgvault.repository.kms import AwsKms
from pgvault.repository.repository import Repository

key = typer.Typer(
    name="key",
    no_args_is_help=True,
    help="Which keys open the repository, and who holds them.\n\nExample: pgvault key list",
)

NOT_REVOKED = (
    "note: whoever copied the repository's key documents before, and holds that key, can still read what is sealed "
    "up to now; rotate the key so that what comes later is out of reach: pgvault key rotate"
)
REWRITE_NOTHING = "note: what is stored already stays under its older keys, and stays readable"
PROVE = "prove it: pgvault drill --only-copy NAME --key file:{path}"


@key.command("list")
def list_(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the repository's keys, the slots that open them, and what each copy knows of them.

    Example: pgvault key list
    """
    loaded = source_of(ctx, config).load()
    listing = list_keys(open_every_copy(loaded), read_credential(loaded))
    if as_json:
        render.write_json(listing.to_json())
    else:
        _write_listing(listing)


@key.command()
def add(
    ctx: typer.Context,
    raw: Annotated[str | None, typer.Option("--key", help="A raw key: file:PATH or env:NAME.")] = None,
    passphrase: Annotated[str | None, typer.Option("--passphrase", help="A passphrase: file:PATH or env:NAME.")] = None,
    kms: Annotated[str | None, typer.Option("--kms", help="A key in AWS KMS: its ARN or alias.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the slot.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let one more credential open the repository, all its keys, in every copy.

    Example: pgvault key add --passphrase file:/root/passphrase --name team
    """
    new = _named_credential(raw, passphrase, kms)
    repository, credential, loaded = _open(ctx, config)
    new = _reached_as_configured(new, loaded)
    with _recording(repository, loaded, "key add") as event:
        added = add_slot(repository, credential, new, name=name, now=SystemClock().now())
        event.details |= {"slot": added.name, "kind": new.kind, "keys": list(added.key_ids), "new": added.is_new}
    if as_json:
        render.write_json({"slot": added.name, "keys": list(added.key_ids), "added": added.is_new})
        return
    what = "opens" if added.is_new else "was there before and opens"
    render.write_lines([f"slot {added.name} {what} repository key {_ids(added.key_ids)}"])


@key.command()
def remove(
    ctx: typer.Context,
    slot: Annotated[str, typer.Argument(help="The slot's name, as pgvault key list prints it.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a slot away: its credential opens nothing any more, unless somebody kept a copy.

    Example: pgvault key remove team
    """
    repository, credential, loaded = _open(ctx, config)
    with _recording(repository, loaded, "key remove", slot=slot):
        remove_slot(repository, credential, slot)
    if as_json:
        render.write_json({"slot": slot, "removed": True})
    else:
        render.write_lines([f"slot {slot} is removed", NOT_REVOKED])


@key.command("rotate")
def rotate_(
    ctx: typer.Context,
    others: Annotated[
        list[str] | None, typer.Option("--with", help="One more credential whose slot is to open the new key.")
    ] = None,
    left_behind: Annotated[
        list[str] | None, typer.Option("--leave-behind", help="A slot that need not open the new key.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new repository key; it seals what comes once every copy has confirmed it.

    Example: pgvault key rotate --with file:escrow.txt
    """
    held = [credential_of(parse_key_reference(each)) for each in others or ()]
    repository, credential, loaded = _open(ctx, config)
    order = RotationOrder(held, left_behind or (), credential.kms)
    with _recording(repository, loaded, "key rotate", leave_behind=list(order.left_behind)) as event:
        rotated = rotate(repository, credential, order, now=SystemClock().now())
        slots, left = list(rotated.slots), list(rotated.left_behind)
        event.details |= {"active": rotated.key_id, "slots": slots, "left_behind": left}
    if as_json:
        left = list(rotated.left_behind)
        render.write_json({"active": rotated.key_id, "slots": list(rotated.slots), "left_behind": left})
        return
    lines = [f"repository key {rotated.key_id} seals from now on; it opens by: {', '.join(rotated.slots)}"]
    if rotated.was_announced:
        lines.append("note: it had been made by a rotation that was interrupted")
    if rotated.left_behind:
        lines.append(f"note: older keys only are opened by: {', '.join(rotated.left_behind)}")
    render.write_lines([*lines, REWRITE_NOTHING])


@key.command("export")
def export_(
    ctx: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", help="A new file for the sheet (mode 0400).")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the sheet, key and all, to stdout.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Make a raw key for it where none is configured.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an escrow sheet: the key, where the copies are, and the commands that restore from them.

    Example: pgvault key export --out /media/usb/escrow.txt
    """
    if (out is None) != show or (show and as_json):
        raise UsageError("say where the sheet goes", hint="Either --out FILE, or --show to print it here.")
    repository, credential, loaded = _open(ctx, config)
    order = ExportOrder(_places(loaded), list(loaded.clusters), out, may_add_slot=yes)
    with recording(Book(repository, loaded.audit), "key export") as event:
        exported = export(repository, credential, order, now=SystemClock().now())
        event.details |= {"slot": exported.slot, "new": exported.is_new_slot}
    if show:
        render.write_lines(exported.text.splitlines())
    elif as_json:
        render.write_json({"file": str(out), "slot": exported.slot, "new_slot": exported.is_new_slot})
    else:
        made = "a new slot" if exported.is_new_slot else "the slot"
        render.write_lines([f"sheet: {out}, for {made} {exported.slot}", PROVE.format(path=out)])


def _open(ctx: typer.Context, config: Path | None) -> tuple[Repository, Credential, Config]:
    loaded = source_of(ctx, config).load()
    return open_from(loaded, elsewhere=impatient(None)), read_credential(loaded), loaded


def _recording(repository: Repository, loaded: Config, what: str, **asked: object) -> AbstractContextManager[Event]:
    """Record a change of the keys, which does not begin unrecorded."""
    return recording(Book(repository, loaded.audit), what, need=Need.REQUIRED, asked=asked)


def _named_credential(raw: str | None, passphrase: str | None, kms: str | None) -> Credential:
    """Return the one credential that the options name. Raises UsageError, KeyUnusable."""
    given = [(kind, text) for kind, text in ((RAW, raw), (PASSPHRASE, passphrase), (AWS_KMS, kms)) if text is not None]
    if len(given) != 1:
        raise UsageError("a key of which kind?", hint="Give one of --key, --passphrase and --kms.")
    ((kind, text),) = given
    if kind == AWS_KMS:
        return credential_of(KmsKey(kms=text))
    if kind == PASSPHRASE:
        return credential_of(PassphraseKey(passphrase=Secret.parse(text, what="the passphrase")))
    found = parse_key_reference(absolute_key_reference(text))
    if not isinstance(found, Secret):
        raise UsageError(f"--key takes a raw key, not {text!r}", hint="Say --passphrase or --kms.")
    return credential_of(found)


def _reached_as_configured(credential: Credential, loaded: Config) -> Credential:
    """Reach KMS by the configured endpoint and profile, where there are some."""
    configured = loaded.repository.key
    if credential.kms is None or not isinstance(configured, KmsKey):
        return credential
    kms = AwsKms(credential.kms.key, credential.kms.where, configured.endpoint_url, configured.profile)
    return Credential(AWS_KMS, b"", kms)


def _places(loaded: Config) -> list[Place]:
    copies = loaded.repository.copies.items()
    return [Place(name, copy.url, copy.region, copy.endpoint_url) for name, copy in copies]


def _ids(key_ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, key_ids))


def _write_listing(listing: KeyListing) -> None:
    keys = [(str(each.id), "seals" if each.is_active else "opens", each.created_at or "-") for each in listing.keys]
    render.write_table("repository keys", ("id", "", "made"), keys)
    slots = [
        (
            slot.name,
            slot.kind,
            slot.created_at or "-",
            _ids(slot.key_ids),
            "configured" if slot.name in listing.configured else "",
            slot.detail,
        )
        for slot in listing.slots
    ]
    render.write_table("slots", ("name", "kind", "made", "opens", "", "KMS key"), slots)
    copies = [(copy.name, copy.newest_path or "-", copy.state) for copy in listing.copies]
    render.write_table("copies", ("name", "newest document", ""), copies)
