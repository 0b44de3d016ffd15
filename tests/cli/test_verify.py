"""`verify` over two copies in directories: what it prints, ends with, and repairs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.errors import ConfigInvalid, UsageError, VerifyFailed
from pgvault.repository import layout
from tests.cli.here import pgvault, pgvault_json
from tests.verify.conftest import whole  # noqa: F401  a fixture
from tests.verify.vault import LABELS, Vault, segment_of, wal_key

FIRST, SECOND = LABELS
PACK = layout.pack("main", FIRST, 1)


class Site:
    """A configuration with two copies of one vault."""

    def __init__(self, directory: Path, vault: Vault) -> None:
        self.config = directory / "pgvault.yaml"
        self.roots = {name: directory / name for name in ("primary", "dr")}
        for root in self.roots.values():
            for key, body in vault.objects.items():
                (root / key).parent.mkdir(parents=True, exist_ok=True)
                (root / key).write_bytes(body)
        (directory / "key").write_text(bytes(32).hex())
        copies = "".join(f"    {name}: {{url: 'file://{root}'}}\n" for name, root in self.roots.items())
        self.config.write_text(
            f"repository:\n  key: file:{directory / 'key'}\n  copies:\n{copies}clusters:\n  main: {{dsn: ''}}\n"
        )

    def path(self, copy: str, key: str) -> Path:
        return self.roots[copy] / key

    def flip(self, copy: str, key: str) -> bytes:
        """Damage an object; what it holds then."""
        path = self.path(copy, key)
        body = bytearray(path.read_bytes())
        body[200] ^= 1
        path.write_bytes(body)
        return bytes(body)


@pytest.fixture
def site(tmp_path: Path, whole: Vault) -> Site:  # noqa: F811  the fixture
    return Site(tmp_path, whole)


def test_every_copy_is_named(site: Site) -> None:
    """In lines, and in JSON with the fields that there were before there were copies."""
    finished = pgvault("-v", "--config", site.config, "verify")
    document = pgvault_json("--config", site.config, "verify")

    lines = finished.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["primary", "dr"]
    assert all(line.endswith("2 backups, 5 WAL segments, 0 problems") for line in lines)
    assert document["passed"] is True
    assert document["backups"] == list(LABELS)
    assert [(each["copy"], each["verified"]) for each in document["copies"]] == [
        ("primary", list(LABELS)),
        ("dr", list(LABELS)),
    ]


def test_damage_in_a_copy_is_red_until_it_is_repaired(site: Site) -> None:
    """37 with the copy's name; repaired, read back, and green."""
    bad = site.flip("dr", PACK)
    site.path("dr", wal_key(segment_of(6).name)).unlink()

    red = pgvault("--config", site.config, "verify")
    assert red.status == VerifyFailed.exit_code
    assert f"dr: problem: backup {FIRST}: " in red.output
    assert "copy 'dr', backup" in red.errors
    assert pgvault("--config", site.config, "verify", "--copy", "primary").status == 0

    document = pgvault_json("--config", site.config, "verify", "--repair")
    (primary, dr) = document["repairs"]
    assert primary["repaired"] == primary["not_repaired"] == dr["not_repaired"] == []
    assert [each["object"] for each in dr["repaired"]] == [PACK, wal_key(segment_of(6).name)]
    assert site.path("dr", dr["repaired"][0]["quarantine"]).read_bytes() == bad
    assert site.path("dr", PACK).read_bytes() == site.path("primary", PACK).read_bytes()
    assert "0 objects repaired, 0 not" in pgvault("-v", "--config", site.config, "verify", "--repair").output


def test_what_can_not_be_repaired_is_red(site: Site) -> None:
    """Both copies have lost it."""
    for copy in site.roots:
        site.flip(copy, PACK)

    finished = pgvault("--config", site.config, "verify", "--repair")

    assert finished.status == VerifyFailed.exit_code
    assert finished.output.count("not repaired: ") == 2


def test_a_sample_says_what_it_left_out(site: Site) -> None:
    """With the seed that draws the same again."""
    document = pgvault_json("--config", site.config, "verify", "--sample", "5%")
    again = pgvault("-v", "--config", site.config, "verify", "--sample", "5%", "--seed", str(document["seed"]))

    assert document["sample"] == 0.05
    assert document["copies"][0]["left_out"] > 0
    assert f"a sample of 5%, seed {document['seed']}" in again.output
    assert "packs, maps and WAL segments were not read" in again.output
    assert all(not each["verified"] for each in document["copies"])


def test_what_is_new_since_a_moment(site: Site) -> None:
    """Nothing after a whole run, and that is said; before it, all that was never verified."""
    assert pgvault_json("--config", site.config, "verify", "--since", "2099-01-01T00:00")["backups"] == list(LABELS)
    finished = pgvault("--config", site.config, "verify", "--since", "2099-01-01T00:00")

    assert finished.status == 0
    assert "nothing was chosen: of 2 backups the roots were opened" in finished.output


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--sample", "0%"), UsageError.exit_code),
        (("--copy", "mars"), ConfigInvalid.exit_code),
        (("--seed", "x"), 2),
        (("--seed", "3"), 2),
    ],
)
def test_what_makes_no_sense_is_refused(site: Site, words: tuple[str, ...], status: int) -> None:
    """By its own code."""
    assert pgvault("--config", site.config, "verify", *words).status == status


def test_list_says_when_a_backup_was_read_back(site: Site) -> None:
    """The date once every copy has it whole; which copies, before that."""
    assert pgvault_json("--config", site.config, "list")["verified"] == []
    pgvault("--config", site.config, "verify", "--copy", "dr")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert f"{today} in dr" in pgvault("--config", site.config, "list").output
    pgvault("--config", site.config, "verify")

    listed = pgvault_json("--config", site.config, "list")["verified"]
    assert [(each["label"], each["copy"]) for each in listed] == [
        (label, copy) for label in LABELS for copy in ("dr", "primary")
    ]
    rows = [line for line in pgvault("--config", site.config, "list").output.splitlines() if line.startswith("2026112")]
    assert all(f" {today} " in row for row in rows)
