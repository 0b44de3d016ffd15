"""AWS KMS as the holder of a wrapping key: it wraps and unwraps 32 bytes, and never lets its own key out.

    Encrypt(key, plaintext, context) → ciphertext           Decrypt(key, ciphertext, context) → plaintext

The context is authenticated by KMS and stands in its audit log: what was wrapped for one repository and key id is not
unwrapped for another. Each call costs a request of some 20 ms, and without KMS nothing opens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast

from pgvault.errors import ConfigInvalid, KeyUnusable
from pgvault.stores.retry import Overdue, Patience, Transient, within

T = TypeVar("T")
# The ciphertext is no ciphertext, of another context, or of another key: other slots may still open.
FOREIGN_CIPHERTEXT = {"InvalidCiphertextException", "IncorrectKeyException"}
GRANTS = "pgvault needs kms:Decrypt on that key, and kms:Encrypt for `init`, `key add` and `key rotate`."


class KmsClient(Protocol):
    """What we use of boto3's client."""

    def encrypt(self, **arguments: object) -> Mapping[str, Any]: ...
    def decrypt(self, **arguments: object) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class AwsKms:
    """One key in KMS, and how to reach it."""

    key: str  # ARN, alias/NAME or key id
    region: str | None = None  # None: the ARN's, else the SDK's
    endpoint_url: str | None = None
    profile: str | None = None  # of ~/.aws/config
    patience: Patience = Patience(deadline_seconds=30.0)  # noqa: RUF009  frozen

    @property
    def where(self) -> str | None:
        """The region that is asked, as far as it is configured."""
        return self.region or region_of(self.key)

    def may_open(self, wrapped_by: str) -> bool:
        """Tell whether what the key `wrapped_by` wrapped may be unwrapped with this one: two ARNs say more than names.

        The replicas of a multi-region key have one id in all regions.
        """
        own, other = key_id_of(self.key), key_id_of(wrapped_by)
        return own is None or other is None or own == other

    def wrap(self, plain: bytes, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Return the key's ARN and the ciphertext. Raises KeyUnusable."""
        answer = self._ask(
            "encrypt with",
            lambda client: client.encrypt(KeyId=self.key, Plaintext=plain, EncryptionContext=dict(context)),
        )
        return str(answer.get("KeyId") or self.key), bytes(answer["CiphertextBlob"])

    def unwrap(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes | None:
        """Return the plaintext; None when another key, or another context, made the ciphertext.

        Raises KeyUnusable.
        """
        from botocore.exceptions import ClientError

        try:
            answer = self._ask(
                "decrypt with",
                lambda client: client.decrypt(
                    KeyId=self.key, CiphertextBlob=ciphertext, EncryptionContext=dict(context)
                ),
            )
        except KeyUnusable as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in FOREIGN_CIPHERTEXT:
                return None
            raise
        return bytes(answer["Plaintext"])

    def _ask(self, doing: str, call: Callable[[KmsClient], T]) -> T:
        """Perform one request, again while that may help; foreign errors become ours."""
        from botocore.exceptions import BotoCoreError

        from pgvault.stores.s3errors import FOREIGN, classify

        try:
            client = _client(self.where, self.endpoint_url, self.profile, self.patience)
        except (BotoCoreError, ValueError) as error:
            raise ConfigInvalid(f"KMS key {self.key!r} can not be asked for: {error}") from error
        message = f"could not {doing} KMS key {self.key!r}"

        def attempt() -> T:
            try:
                return within(self.patience.limit_seconds(0), lambda: call(client))
            except FOREIGN as error:
                found = classify(error, message)
                unusable = KeyUnusable(str(found), hint=GRANTS)
                raise (Transient(unusable) if isinstance(found, Transient) else unusable) from error
            except Overdue as error:
                raise Transient(KeyUnusable(f"{message}: {error}")) from error

        return self.patience.persist(attempt)


@lru_cache(maxsize=8)  # to read the SDK's description of KMS takes longer than to ask it
def _client(region: str | None, endpoint_url: str | None, profile: str | None, patience: Patience) -> KmsClient:
    """Return a client. Raises what boto3 raises."""
    import boto3  # takes 180 ms to import
    from botocore.config import Config

    client = boto3.session.Session(region_name=region, profile_name=profile).client(
        "kms",
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=patience.connect_seconds,
            read_timeout=patience.read_seconds,
            retries={"total_max_attempts": 1},  # `persist` does it
        ),
    )
    return cast("KmsClient", client)


def region_of(key: str) -> str | None:
    """Return the region in a key's ARN, None where it is none: arn:aws:kms:<region>:<account>:key/<id>."""
    parts = key.split(":")
    return (parts[3] or None) if parts[0] == "arn" and len(parts) > 5 else None


def key_id_of(key: str) -> str | None:
    """Return the id in a key's ARN; None for an alias or another name."""
    last = key.rpartition(":")[2]
    return last.removeprefix("key/") if key.startswith("arn:") and last.startswith("key/") else None
