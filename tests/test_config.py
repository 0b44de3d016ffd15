from __future__ import annotations

import base64
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.config import (
    SEARCH_PATH,
    PassphraseKey,
    Secret,
    decode_key,
    find_config,
    load_config,
    parse_config,
)
from pgvault.errors import ConfigInvalid, ConfigUnknownKey, KeyUnusable, PgvaultError, PlainSecret

SMALLEST = """
repository:
  key: file:/etc/pgvault/key
  copies:
    primary: {url: "file:///srv/pgvault"}
clusters:
  main:
    dsn: "host=/var/run/postgresql dbname=postgres"
"""
FULL = """
repository:
  key: {passphrase: env:PGVAULT_PASSPHRASE}
  copies:
    primary:
      url: s3://bucket/prefix
      region: eu-central-1
      endpoint_url: https://s3.example.com
      profile: backup
      addressing: path
      access_key: env:ACCESS
      secret_key: file:/run/secrets/s3
    away: {url: "file:///mnt/away"}
clusters:
  main:
    dsn: "host=/var/run/postgresql dbname=postgres"
    password: file:/etc/pgvault/password
    data_directory: /var/lib/postgresql/18/main
    objectives: {rpo: 15m, rto: 4h}
    schedule: {backup: "0 1 * * *", drill: "0 5 * * 6"}
    checks:
      - {name: orphans, severity: critical, threshold: 0, query: "SELECT 1"}
    drill: {scratch: /var/tmp, timeout: 1h30m}
    archive_wait: 5m
    jobs: 2
timezone: Europe/Berlin
"""


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the smallest configuration with one value changed, or added."""
    document: dict[str, Any] = yaml.safe_load(SMALLEST)
    *parents, last = path.split("/")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return document


def test_smallest_configuration_is_enough() -> None:
    """A key, a copy and a cluster; the rest has defaults."""
    config = parse_config(yaml.safe_load(SMALLEST), where="x")

    name, cluster = config.cluster(None)
    assert name == "main"
    assert (cluster.jobs, cluster.archive_wait, cluster.checks) == (4, timedelta(minutes=2), ())
    assert (cluster.objectives.rpo, cluster.schedule.backup) == (None, None)
    assert config.timezone == "UTC"
    assert str(config.repository.key) == "file:/etc/pgvault/key"


def test_full_configuration_is_read(tmp_path: Path) -> None:
    """Every key that there is, from a file."""
    path = tmp_path / "pgvault.yaml"
    path.write_text(FULL)

    config = load_config(path)

    cluster = config.clusters["main"]
    primary = config.repository.copies["primary"]
    assert isinstance(config.repository.key, PassphraseKey)
    assert list(config.repository.copies) == ["primary", "away"]
    assert (primary.region, primary.addressing, str(primary.secret_key)) == (
        "eu-central-1",
        "path",
        "file:/run/secrets/s3",
    )
    assert cluster.objectives.rpo == timedelta(minutes=15)
    assert cluster.drill.timeout == timedelta(hours=1, minutes=30)
    assert cluster.checks[0].name == "orphans"


@pytest.mark.parametrize(
    "path",
    [
        "timezome",
        "repository/kye",
        "repository/copies/primary/bucket",
        "clusters/main/objectives/rpo_seconds",
        "clusters/main/dns",
        "clusters/main/schedule/backups",
        "clusters/main/drill/scrach",
    ],
)
def test_unknown_key_is_refused_by_its_name(path: str) -> None:
    """A typo is named as it was written, at every level."""
    with pytest.raises(ConfigUnknownKey, match=path.replace("/", r"\.")):
        parse_config(changed(path, "1h"), where="x")


def test_unknown_key_within_alternatives_is_named_as_written() -> None:
    """No class name of ours shows up in an operator's path."""
    with pytest.raises(ConfigUnknownKey, match=r"'repository\.key\.passphrse'"):
        parse_config(changed("repository/key", {"passphrse": "file:/k"}), where="x")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("repository/key", "00" * 32),
        ("repository/key", base64.b64encode(bytes(32)).decode()),
        ("repository/key", "file:"),
        ("repository/key", {"passphrase": "correct horse"}),
        ("repository/copies/primary/secret_key", "abcdef"),
        ("repository/copies/primary/url", "s3://key:secret@bucket/prefix"),
        ("clusters/main/password", "hunter2"),
        ("clusters/main/dsn", "host=db password=hunter2"),
        ("clusters/main/checks_dsn", "host=replica password=hunter2"),
        ("clusters/main/checks_password", "hunter2"),
        ("clusters/main/dsn", "host=db password = 'hunter2'"),
        ("clusters/main/dsn", "host=db sslpassword=hunter2"),
        ("clusters/main/dsn", "host=db oauth_client_secret=hunter2"),
        ("clusters/main/dsn", "postgresql://db/postgres?scram_client_key=hunter2"),
        ("clusters/main/dsn", "postgresql://me:hunter2@db/postgres"),
        ("clusters/main/dsn", "postgres://db/postgres?user=me&password=hunter2"),
    ],
)
def test_secret_in_plain_text_is_refused_and_not_repeated(path: str, value: object) -> None:
    """Secrets are referred to; one that stands in the file is refused, and no message shows it."""
    with pytest.raises(PlainSecret) as caught:
        parse_config(changed(path, value), where="x")

    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint


def test_one_bucket_of_two_providers_is_two_places() -> None:
    """Nor is one prefix inside another the same place."""
    copies = {
        "a": {"url": "s3://one/place"},
        "b": {"url": "s3://one/place", "endpoint_url": "https://s3.example.com"},
        "c": {"url": "s3://one/place/within"},
    }
    assert len(parse_config(changed("repository/copies", copies), where="x").repository.copies) == 3


@pytest.mark.parametrize("dsn", ["host=db passfile=/x", "postgresql://me@db/postgres", "service=prod", ""])
def test_dsn_without_a_password_is_fine(dsn: str) -> None:
    """What only looks near it is no secret."""
    assert parse_config(changed("clusters/main/dsn", dsn), where="x").clusters["main"].dsn == dsn


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("repository", None),
        ("repository/copies", {}),
        ("repository/key", 1234),
        ("repository/key", {"passphrase": {"a": "b"}}),
        ("repository/copies/primary/url", "/srv/pgvault"),
        ("repository/copies/primary/url", "file:srv"),
        ("repository/copies/primary/url", "https://bucket"),
        ("repository/copies/primary/url", "s3:///prefix"),
        ("repository/copies/primary/addressing", "dns"),
        ("repository/copies", {"a": {"url": "s3://one/place"}, "b": {"url": "s3://one/place/"}}),
        ("repository/copies", {"a": {"url": "file:///one/place"}, "b": {"url": "file:///one/./place"}}),
        ("clusters/Main", {"dsn": ""}),
        ("clusters/ma in", {"dsn": ""}),
        ("clusters/" + "a" * 64, {"dsn": ""}),
        ("clusters/main/dsn", None),
        ("clusters/main/jobs", 0),
        ("clusters/main/jobs", 65),
        ("clusters/main/objectives/rpo", 15),
        ("clusters/main/objectives/rpo", "15"),
        ("clusters/main/objectives/rpo", "15 bananas"),
        ("clusters/main/objectives/rpo", "-15m"),
        ("clusters/main/archive_wait", "0s"),
        ("clusters/main/checks", 7),
        ("clusters/main/checks", [{"name": "x"}]),
        ("clusters/main/checks", {"schedule": "* * * * *"}),
        ("clusters/main/checks", {"schedule": 5, "checks": [{"name": "x", "query": "SELECT 1"}]}),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../../etc/passwd"),
    ],
)
def test_wrong_value_is_refused(path: str, value: object) -> None:
    """One sentence that begins with where it stands."""
    with pytest.raises(ConfigInvalid) as caught:
        parse_config(changed(path, value), where="x")

    assert str(caught.value).startswith(path.partition("/")[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "a: [", "\t", "a: 1\na: 2\n", "x: {b: 1, b: 2}", "!!python/name:os.system"]
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    """Empty files, broken YAML, keys given twice: the last would win in silence."""
    path = tmp_path / "pgvault.yaml"
    path.write_text(text)

    with pytest.raises(ConfigInvalid):
        load_config(path)


def test_key_given_twice_is_named(tmp_path: Path) -> None:
    """Also deep in the file; a merge key is no key of its own."""
    path = tmp_path / "pgvault.yaml"
    path.write_text(SMALLEST + '  main:\n    dsn: "host=elsewhere"\n')

    with pytest.raises(ConfigInvalid, match="'main' is given twice"):
        load_config(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(ConfigInvalid, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_cluster_is_named_or_the_only_one() -> None:
    """With several, one must be named; one that is not configured is refused with those that are."""
    several = parse_config(changed("clusters/other", {"dsn": ""}), where="x")

    assert several.cluster("other")[0] == "other"
    with pytest.raises(ConfigInvalid) as caught:
        several.cluster(None)
    assert caught.value.hint == "Name one with --cluster: main, other"
    with pytest.raises(ConfigInvalid, match="'third'"):
        several.cluster("third")


def test_configuration_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, else the environment, else here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGVAULT_CONFIG", raising=False)
    (tmp_path / "pgvault.yaml").write_text(SMALLEST)
    assert find_config(None) == Path("pgvault.yaml")
    monkeypatch.setenv("PGVAULT_CONFIG", "/from/environment")
    assert find_config(None) == Path("/from/environment")
    assert find_config(Path("/from/option")) == Path("/from/option")


@pytest.mark.skipif(SEARCH_PATH[-1].exists(), reason="this machine has a configuration")
def test_configuration_that_is_nowhere_is_looked_for_in_named_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says where a file would have been found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGVAULT_CONFIG", raising=False)

    with pytest.raises(ConfigInvalid) as caught:
        find_config(None)
    assert "PGVAULT_CONFIG, pgvault.yaml, /etc/pgvault/pgvault.yaml" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"words", b"words\n", b"words\r\n"])
def test_secret_loses_one_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Editors add one; whoever wants more of them gets them."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    monkeypatch.setenv("PGVAULT_TEST_SECRET", content.decode())

    assert Secret(source="file", name=str(path)).read() == b"words"
    assert Secret(source="env", name="PGVAULT_TEST_SECRET").read() == b"words"


def test_secret_keeps_its_bytes(tmp_path: Path) -> None:
    """Spaces, further lines and bytes that are no text belong to it."""
    path = tmp_path / "secret"
    path.write_bytes(b" \xff two\nlines \n\n")

    assert Secret(source="file", name=str(path)).read() == b" \xff two\nlines \n"


def test_missing_or_empty_secret_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty passphrase would open for everybody (pitfall 86)."""
    (tmp_path / "empty").write_bytes(b"\n")
    monkeypatch.setenv("PGVAULT_TEST_SECRET", "")
    monkeypatch.delenv("PGVAULT_TEST_ABSENT", raising=False)

    for secret in (
        Secret(source="file", name=str(tmp_path / "empty")),
        Secret(source="file", name=str(tmp_path / "absent")),
        Secret(source="file", name=str(tmp_path)),
        Secret(source="env", name="PGVAULT_TEST_SECRET"),
        Secret(source="env", name="PGVAULT_TEST_ABSENT"),
    ):
        with pytest.raises(KeyUnusable):
            secret.read()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_key_is_read_from_hex_or_base64(ending: bytes) -> None:
    """32 bytes, in either alphabet."""
    key = bytes(range(32))

    for text in (key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key)):
        assert decode_key(text + ending, where="x") == key


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"00" * 31,
        b"00" * 33,
        b"00" * 31 + b"0",
        b"00" * 31 + b" 0",
        b"zz" * 32,
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        base64.b64encode(bytes(32))[:-1],
        b" " + b"00" * 32,
        "٠".encode() * 64,
        b"\xff\xfe0\x000\x00",
        bytes(32),
    ],
)
def test_key_of_any_other_length_or_alphabet_is_refused(content: bytes) -> None:
    """Never padded, never cut, never guessed (pitfall 86); and never shown."""
    with pytest.raises(KeyUnusable) as caught:
        decode_key(content, where="the-key-file")

    assert "the-key-file" in str(caught.value)
    assert not content or content.decode("ascii", "replace") not in str(caught.value)


def test_every_refusal_is_ours(tmp_path: Path) -> None:
    """Whatever value stands at whatever place, the answer is one of our errors."""
    junk: list[object] = [None, 1, 1.5, True, "", "x", [], {}, [1], {"a": 1}, {1: 2}]
    for path in ("repository", "repository/key", "repository/copies", "clusters", "clusters/main", "timezone"):
        for value in junk:
            with suppress(PgvaultError):
                parse_config(changed(path, value), where="x")


def test_a_relative_checks_file_lies_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron starts us anywhere; the file is found all the same."""
    (tmp_path / "checks.yaml").write_text("checks: [{name: none_lost, query: SELECT 0}]")
    path = tmp_path / "pgvault.yaml"
    path.write_text(
        "repository: {key: 'env:KEY', copies: {primary: {url: 'file:///srv'}}}\n"
        "clusters: {main: {dsn: '', checks: checks.yaml}}\n"
    )
    monkeypatch.chdir("/")

    loaded = load_config(path)

    assert [check.name for check in loaded.clusters["main"].checks] == ["none_lost"]


def test_source_says_what_backups_can_be_taken_of() -> None:
    """The usual one is this host's server; a managed one has neither files nor WAL for us, so nothing is streamed."""
    document = yaml.safe_load(SMALLEST)
    assert parse_config(document, where="x").clusters["main"].source == "local"
    document["clusters"]["main"]["source"] = "logical"
    assert parse_config(document, where="x").clusters["main"].source == "logical"
    document["clusters"]["main"]["stream"] = {}
    with pytest.raises(ConfigInvalid, match="no WAL to stream"):
        parse_config(document, where="x")
    document["clusters"]["main"]["source"] = "managed"
    with pytest.raises(ConfigInvalid, match=r"clusters\.main\.source"):
        parse_config(document, where="x")
