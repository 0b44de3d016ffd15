"""`repository.key:` and `--key` - where the key is that opens the repository; never the key itself.

    key: file:/etc/pgvault/key              raw: 32 bytes as hex or base64, or an escrow sheet; or env:NAME
    key: {passphrase: file:/etc/pgvault/passphrase}
    key: {kms: "arn:aws:kms:eu-central-1:123456789012:key/…", region: …, endpoint_url: …, profile: …}

On the command line the same in one word: file:PATH, env:NAME, passphrase:file:PATH, kms:ARN, or just a PATH.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from pgvault.config.escrow import decode_key_lines, is_sheet
from pgvault.config.sections import Secret, Section, secret
from pgvault.errors import KeyUnusable, PlainSecret

KEY_BYTES = 32
SOURCES = ("file:", "env:")
PASSPHRASE = "passphrase:"  # noqa: S105  a prefix
KMS = "kms:"


class PassphraseKey(Section):
    """A key slot that a passphrase opens (scrypt)."""

    passphrase: Annotated[Secret, secret("the passphrase")]

    def __str__(self) -> str:
        return f"{PASSPHRASE}{self.passphrase}"


class KmsKey(Section):
    """A key slot that AWS KMS opens; credentials are those of `profile`, else boto3's own chain."""

    kms: str = Field(min_length=1)  # ARN, alias/NAME or key id
    region: str | None = None  # None: the ARN's
    endpoint_url: str | None = None
    profile: str | None = None

    def __str__(self) -> str:
        return f"{KMS}{self.kms}"


KeyReference = Secret | PassphraseKey | KmsKey


def _kind(value: object) -> str:
    """Tell which of them is meant, so that an error speaks of that one. Brackets: no operator wrote these names."""
    if isinstance(value, KmsKey) or (isinstance(value, Mapping) and "kms" in value):
        return "[kms]"
    return "[passphrase]" if isinstance(value, (PassphraseKey, Mapping)) else "[raw]"


KeyField = Annotated[
    Annotated[Secret, secret("repository.key"), Tag("[raw]")]
    | Annotated[PassphraseKey, Tag("[passphrase]")]
    | Annotated[KmsKey, Tag("[kms]")],
    Discriminator(_kind),
]


def parse_key_reference(text: str) -> KeyReference:
    """Read what stands behind --key. Raises PlainSecret for anything that could be the key itself."""
    if text.startswith(PASSPHRASE):
        return PassphraseKey(passphrase=Secret.parse(text.removeprefix(PASSPHRASE), what="the passphrase"))
    if text.startswith(KMS) and text != KMS:
        return KmsKey(kms=text.removeprefix(KMS))
    if not text.startswith(SOURCES) and Path(text).is_file():
        return Secret(source="file", name=text)
    if not text.startswith(SOURCES):
        raise PlainSecret(
            "--key is no reference to a key, and no file is called so",
            hint="Write file:PATH, env:NAME, passphrase:file:PATH or kms:ARN; a key itself never stands in a command.",
        )
    return Secret.parse(text, what="--key")


def absolute_key_reference(text: str) -> str:
    """Return the same reference with an absolute path, so that it can be kept. Raises as `parse_key_reference`."""
    found = parse_key_reference(text)
    inner = found.passphrase if isinstance(found, PassphraseKey) else found
    if isinstance(inner, Secret) and inner.source == "file":
        inner = Secret(source="file", name=str(Path(inner.name).resolve()))
    return f"{PASSPHRASE}{inner}" if isinstance(found, PassphraseKey) else str(inner)


def decode_key(content: bytes, *, where: str) -> bytes:
    """Return 32 bytes from hex or base64 text, or from an escrow sheet. Raises KeyUnusable, never guesses or pads."""
    text = content.decode("ascii", "replace").strip("\r\n")
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    if is_sheet(text):
        return decode_key_lines(text, where=where)[1]
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise KeyUnusable(
            f"key in {where!r} is not {KEY_BYTES} bytes as hex or base64",
            hint="Make one with: pgvault init --generate-key FILE. A passphrase is named passphrase:file:PATH.",
        )
    return decoded
