from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.config import (
    KmsKey,
    PassphraseKey,
    Secret,
    absolute_key_reference,
    decode_key,
    encode_key_lines,
    parse_config,
    parse_key_reference,
)
from pgvault.errors import ConfigInvalid, ConfigUnknownKey, PlainSecret

ARN = "arn:aws:kms:eu-central-1:123456789012:key/abc"


def configured(key: object) -> object:
    document = {"repository": {"key": key, "copies": {"primary": {"url": "file:///srv"}}}}
    return parse_config(document, where="x").repository.key


def test_key_in_kms_is_configured_by_its_arn() -> None:
    """And how to reach it."""
    assert configured({"kms": ARN}) == KmsKey(kms=ARN)
    assert configured({"kms": "alias/x", "region": "eu-west-1", "profile": "vault"}) == KmsKey(
        kms="alias/x", region="eu-west-1", profile="vault"
    )
    with pytest.raises(ConfigInvalid):
        configured({"kms": ""})
    with pytest.raises(ConfigUnknownKey):
        configured({"kms": ARN, "regoin": "x"})


def test_reference_on_the_command_line_is_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the configuration, with a prefix; a file that exists needs none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "escrow.txt").touch()
    found = {
        "file:x": Secret(source="file", name="x"),
        "env:X": Secret(source="env", name="X"),
        "passphrase:env:X": PassphraseKey(passphrase=Secret(source="env", name="X")),
        f"kms:{ARN}": KmsKey(kms=ARN),
        "escrow.txt": Secret(source="file", name="escrow.txt"),
    }

    assert {text: parse_key_reference(text) for text in found} == found
    assert absolute_key_reference("escrow.txt") == f"file:{tmp_path}/escrow.txt"
    assert absolute_key_reference("passphrase:file:x") == f"passphrase:file:{tmp_path}/x"
    assert [absolute_key_reference(text) for text in ("env:X", "passphrase:env:X", f"kms:{ARN}")] == [
        "env:X",
        "passphrase:env:X",
        f"kms:{ARN}",
    ]


@pytest.mark.parametrize("text", ["", "00" * 32, "passphrase:correct horse", "kms:", "absent.txt", "file:"])
def test_key_itself_is_never_taken_from_the_command_line(text: str) -> None:
    """Other users see it in the list of processes; and it is not shown again."""
    with pytest.raises(PlainSecret) as caught:
        parse_key_reference(text)

    assert not text or text not in str(caught.value)


def test_escrow_sheet_is_a_key(tmp_path: Path) -> None:
    """Wherever a raw key is read."""
    key = bytes(range(32))
    sheet = "\n".join(["pgvault escrow sheet", *encode_key_lines(b"repository id 16", key), "Füße: see the safe", ""])

    assert decode_key(sheet.encode(), where="x") == key
