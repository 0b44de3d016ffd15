"""The tamper matrix: whatever somebody without the key does to an object, no command takes it, and a whole copy heals.

    objects      root, refs, part, pack, map, WAL segment, tail
    tampered     cut and flipped at every place (of small objects), longer, empty, exchanged with any other object;
                 frames left out, repeated, exchanged, taken from others, with a right trailer; another repository's
                 object; and what was sealed under that very name before: rolled back
    read by      catalog, restore, fetch, verify

What is not protected stands in FORMAT.md, section 16, and is tried here, too, so that the page stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, OtherCluster, PgvaultError, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.objects import put_frames, read_plain
from pgvault.repository.verified import last_verified
from tests.fakes import MemoryStore
from tests.verify.copies import Copies, of, said
from tests.verify.tampering import FIRST, SECOND, Tampered, mechanical, readings, structural
from tests.verify.test_repair import contents, repair
from tests.verify.vault import LABELS, Vault, segment_of, wal_key

KINDS = ("root", "refs", "part", "pack", "map", "wal", "wal bytes", "tail")
REFUSALS = (FormatUnsupported, ObjectCorrupt, ObjectMissing, OtherCluster, WrongKey)


@pytest.fixture(scope="module")
def made() -> Tampered:
    """Nobody touches it: objects are put into a store of the test's own."""
    return Tampered()


@pytest.fixture(scope="module")
def foreign() -> dict[str, bytes]:
    """The objects of another repository with the same names and the same operator's key."""
    return Tampered().objects


class Two:
    """A store to be tampered with, alone and beside a whole copy."""

    def __init__(self, made: Tampered) -> None:
        self.store = MemoryStore()
        self.store.objects |= made.objects
        whole = MemoryStore()
        whole.objects |= made.objects
        self.alone = replace(made.repository, copies=(Copy("primary", self.store),))
        self.both = replace(made.repository, copies=(Copy("primary", self.store), Copy("dr", whole)))


def refused(made: Tampered, kind: str, directory: Path, tamperings: Iterable[tuple[str, bytes]]) -> int:
    """Read an object tampered with in each way: refused alone, and healed by a whole copy; return how many ways."""
    reading = readings(made, directory)[kind]
    two = Two(made)
    whole = reading.read(two.alone)
    count = 0
    for name, body in tamperings:
        two.store.objects[reading.key] = body
        try:
            reading.read(two.alone)
        except REFUSALS:
            pass
        except PgvaultError as error:
            pytest.fail(f"{kind} {name}: {error!r}")
        else:
            pytest.fail(f"{kind} {name} was taken")
        assert reading.read(two.both) == whole, f"{kind} {name}"
        count += 1
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_forgeries_are_refused_and_healed(made: Tampered, foreign: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    """By every reader but verify, which is below."""
    key = readings(made, tmp_path)[kind].key
    least = 10 if kind == "refs" else 40

    assert refused(made, kind, tmp_path, structural(key, made.objects, foreign)) > least


@pytest.mark.parametrize("kind", ["root", "pack"])
def test_damage_at_some_places_is_refused_and_healed(made: Tampered, kind: str, tmp_path: Path) -> None:
    """A part of what takes long below."""
    body = made.objects[readings(made, tmp_path)[kind].key]
    some = (tampering for number, tampering in enumerate(mechanical(body, seed=1)) if number % 23 == 0)

    assert refused(made, kind, tmp_path, some) > 10


@pytest.mark.endurance
@pytest.mark.parametrize("kind", KINDS)
def test_damage_at_every_place_is_refused_and_healed(made: Tampered, kind: str, tmp_path: Path) -> None:
    """Cut and flipped; large objects at every edge within them and at places by chance."""
    body = made.objects[readings(made, tmp_path)[kind].key]

    assert refused(made, kind, tmp_path, mechanical(body, seed=2)) > 100


def test_what_was_sealed_before_under_that_name_is_refused(made: Tampered, tmp_path: Path) -> None:
    """Rolled back: it opens at its place, with our key; the digest in the root says that it is not the one."""
    older = Tampered.__new__(Tampered)
    older.store = MemoryStore()
    older.repository = replace(made.repository, copies=(Copy("older", older.store),))
    older.put_backup(FIRST)
    for kind in ("refs", "part", "pack", "map"):
        key = readings(made, tmp_path)[kind].key
        if kind == "refs":
            older.objects[key] = b"\n".join(made.objects[key].splitlines()[1:]) + b"\n"
        assert older.objects[key] != made.objects[key]
        assert refused(made, kind, tmp_path / kind, [("rolled back", older.objects[key])]) == 1


def vault_objects(vault: Vault) -> list[str]:
    """An object of each kind of a backup that verify reads, and WAL."""
    names = ("manifest", "refs", "parts/00000000", "maps/00000000", "packs/00000003")
    wal = [wal_key(segment_of(number).name) for number in (5, 6)]
    return [f"{layout.backup('main', LABELS[0])}/{name}" for name in names] + wal


def forgeries(vault: Vault, other: Vault, key: str) -> Iterator[tuple[str, bytes]]:
    """What is done to a vault's object: as above, but of exchanges only those with a few others."""
    few = {key, *vault_objects(vault)[:3], wal_key(segment_of(8).name), key.replace(LABELS[0], LABELS[1])}
    return structural(key, {name: vault.objects[name] for name in few}, other.objects)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """Another repository with the same names."""
    made = Vault(tmp_path_factory.mktemp("stranger"))
    stored = {number: made.put_segment(segment_of(number)) for number in range(5, 10)}
    for label, number in zip(LABELS, (5, 7), strict=True):
        made.put_backup(label, segment=segment_of(number), wal=(stored[number],))
    return made


def test_verify_refuses_some_forgeries(vault: Vault, stranger: Vault) -> None:
    """One of each object; all of them below."""
    for number, key in enumerate(vault_objects(vault)):
        whole = vault.objects[key]
        name, body = list(forgeries(vault, stranger, key))[(3 + number * 5) % 8]
        vault.objects[key] = body
        assert vault.verify().problems, f"{key} {name}"
        vault.objects[key] = whole


@pytest.mark.endurance
@pytest.mark.parametrize("number", range(7))
def test_verify_refuses_every_forgery_and_repair_heals_it(vault: Vault, stranger: Vault, number: int) -> None:
    """In one copy; the other is whole, and has no problem. Then both are."""
    key = vault_objects(vault)[number]
    for name, body in forgeries(vault, stranger, key):
        copies = Copies(vault)
        copies.dr.objects[key] = body
        reports = copies.verify()
        assert said(of(reports, "dr")), name
        assert not said(of(reports, "primary")), name
        repair(copies)[0].require_whole()
        assert contents(copies.dr) == contents(copies.primary)


@pytest.mark.endurance
@pytest.mark.parametrize("number", range(7))
def test_verify_finds_damage_at_many_places(vault: Vault, number: int) -> None:
    """Every 97th way of cutting and flipping."""
    key = vault_objects(vault)[number]
    whole = vault.objects[key]
    for count, (name, body) in enumerate(mechanical(whole, seed=number)):
        if count % (97 if len(whole) < 4096 else 7) == 0:
            vault.objects[key] = body
            assert vault.verify().problems, name


class TestWhatIsNotProtected:
    """FORMAT.md, section 16: by who can write to the store, in one copy alone; beside another it shows."""

    def test_a_whole_state_without_the_latest_backup_opens(self, vault: Vault) -> None:
        """All of a label, and the newest WAL, taken away: as if they had never been."""
        copies = Copies(vault)
        for key in [key for key in copies.primary.objects if LABELS[1] in key] + [wal_key(segment_of(9).name)]:
            del copies.primary.objects[key]

        only = copies.verify(only="primary")
        assert said(of(only, "primary")) == []
        assert len(said(of(copies.verify(), "primary"))) == 2

    def test_an_older_key_document_opens(self, vault: Vault) -> None:
        """The last one taken away."""
        copies = Copies(vault)
        copies.dr.objects[layout.key_document(2)] = copies.primary.objects[layout.key_document(1)]

        assert said(of(copies.verify(only="primary"), "primary"))  # another copy knows of it
        del copies.dr.objects[layout.key_document(2)]
        copies.verify().require_whole()

    def test_the_last_mark_can_be_taken_away(self, vault: Vault) -> None:
        """And then the one before it counts."""
        copies = Copies(vault)
        copies.verify()
        key = f"{layout.backup('main', LABELS[0])}/packs/00000003"
        whole = copies.primary.objects[key]
        copies.primary.objects[key] = whole[:-1]
        copies.verify(only="primary")
        assert (LABELS[0], "primary") not in copies.marks()
        del copies.primary.objects[layout.numbered(layout.verified("main", LABELS[0], "primary"), 1)]

        last = last_verified(copies.repository, "main", LABELS[0], "primary")
        assert last is not None
        assert last.is_whole

    def test_nothing_is_made_up_without_the_key(self, made: Tampered) -> None:
        """A root that a stranger sealed, of a label that there is not: red, and no backup."""
        two = Two(made)
        stranger = Tampered()
        label = "20261121T100000Z-0003"
        stranger.put_backup(label)
        two.store.objects |= {key: body for key, body in stranger.objects.items() if label in key}
        catalog = read_catalog(two.alone, "main")

        assert [entry.label for entry in catalog.unreadable] == [label]
        assert {backup.label for backup in catalog.backups} == {FIRST, SECOND}

    def test_a_moved_object_is_no_other_one(self, made: Tampered) -> None:
        """Sealed by us, for another name."""
        two = Two(made)
        path = layout.pack("main", FIRST, 0)
        put_frames(two.alone, layout.pack("main", FIRST, 7), Kind.PACK, frames=[b"x"])
        two.store.objects[path] = two.store.objects[layout.pack("main", FIRST, 7)]

        with pytest.raises(ObjectCorrupt):
            read_plain(two.alone, path, Kind.PACK)
