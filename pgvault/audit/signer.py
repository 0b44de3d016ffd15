"""Signing keys: Ed25519, one for each host, and never made from the repository's key.

Whoever holds the repository key can read and write everything but this: entries of the audit chain, and so receipts of
drills, are signed by a key that stays on its host. The file is PKCS #8 PEM, as `openssl genpkey -algorithm ed25519`
writes it; a key in a variable may be that, or base64 of the 32 bytes. The public half is written `ed25519:BASE64`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pgvault.errors import KeyUnusable

KEY_BYTES = 32
SIGNER_DIGITS = 16
PUBLIC_PREFIX = "ed25519:"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half that everybody may know."""

    raw: bytes  # 32

    @property
    def signer(self) -> str:
        """The id of whoever signs with it: 16 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()[:SIGNER_DIGITS]

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature over `message` is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def pem(self) -> bytes:
        """Return it as openssl reads it."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read `ed25519:BASE64`. Raises KeyUnusable."""
        encoded = text.strip().removeprefix(PUBLIC_PREFIX)
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != KEY_BYTES or not text.strip().startswith(PUBLIC_PREFIX):
            raise KeyUnusable(
                f"{text!r} is no public key", hint="It is written ed25519:BASE64, as pgvault audit list shows it."
            )
        return cls(raw)

    def __str__(self) -> str:
        return PUBLIC_PREFIX + base64.b64encode(self.raw).decode()


class SigningKey:
    """The half that signs. Its text shows the public one."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(message)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def decode(cls, content: bytes, *, where: str) -> SigningKey:
        """Read PEM, or base64 of 32 bytes. Raises KeyUnusable; what is there is never shown."""
        try:
            if b"-----BEGIN" in content:
                key = serialization.load_pem_private_key(content, password=None)
                if isinstance(key, Ed25519PrivateKey):
                    return cls(key)
            else:
                return cls(Ed25519PrivateKey.from_private_bytes(base64.b64decode(content.strip(), validate=True)))
        except (binascii.Error, TypeError, UnsupportedAlgorithm, ValueError):
            pass
        raise KeyUnusable(
            f"signing key in {where!r} is no Ed25519 key",
            hint="Make one with: openssl genpkey -algorithm ed25519; without a passphrase.",
        )

    def encode(self) -> bytes:
        """Return it as PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.public})"


def read_or_make(path: Path) -> SigningKey:
    """Return the key in a file that is made when it is not there; of several who make one, all get the first.

    Raises KeyUnusable when it can neither be read nor made.
    """
    with suppress(FileNotFoundError):
        return _read(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(SigningKey.generate().encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
    except OSError as error:
        raise KeyUnusable(f"no signing key can be made in {str(path)!r}: {error.strerror}") from error
    return _read(path)


def _read(path: Path) -> SigningKey:
    try:
        return SigningKey.decode(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyUnusable(f"signing key {str(path)!r} can not be read: {error.strerror}") from error
