"""What an error of the SDK, or an answer of an S3 server, amounts to.

answer                                        becomes                                 tried again
412                                           ObjectExists
404 NoSuchKey                                 ObjectMissing
404, anything else                            StoreUnreachable (a LIST must confirm)
401, 403, expired or unknown credentials      StoreDenied (a GET: a LIST must confirm)
403 RequestTimeTooSkewed                      StoreDenied                             yes
501 (conditional writes unknown)              StoreUnfit
507                                           DiskFull
408, 409, 429, 499, other 5xx, throttling     StoreUnreachable                        yes
body damaged on the way                       StoreUnreachable                        yes
no connection, silence, cut answers           StoreUnreachable                        yes
no credentials to be found                    StoreDenied
403 InvalidObjectState (cold storage)         StoreDenied
400 that the bucket has no object lock        StoreUnfit
400 unknown storage class, KMS.…              StoreUnfit, StoreDenied
any other answer                              StoreUnreachable
"""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ResponseStreamingError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pgvault.errors import (
    ConfigInvalid,
    DiskFull,
    ObjectExists,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
)
from pgvault.stores.cold import thaw_hint
from pgvault.stores.retry import Transient

FOREIGN = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError)

# botocore wraps only two kinds of what can go wrong while a body is read; the rest is urllib3's or the system's.
CONNECTION = (
    BotoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    HTTPError,
    OSError,
)
NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

CLOCK = "RequestTimeTooSkewed"
TRANSIENT_STATUS = {408, 409, 429, 499}  # and 5xx
TRANSIENT_CODES = {
    CLOCK,
    "BadDigest",
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
DENIED_CODES = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"}
UNFIT_HINTS = {
    "InvalidStorageClass": "Correct the copy's storage_class, or leave it out.",
}
NO_OBJECT_LOCK = re.compile(r"(missing|without|no) object ?lock", re.IGNORECASE)
OBJECT_LOCK_HINT = "Enable versioning and object lock on the bucket, or take object_lock out of the copy."
HINTS = {
    CLOCK: "Compare this host's clock with the store's.",
    "AccessDenied": "pgvault needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there.",
    "AuthorizationHeaderMalformed": "The bucket lies in another region: set `region`.",
    "NoSuchBucket": "Make the bucket, or correct the url.",
    "PermanentRedirect": "The bucket lies in another region: set `region`.",
}


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status of an answer that was an error, else None."""
    if not isinstance(error, ClientError):
        return None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status is not None else None


def code_of(error: BaseException | None) -> str | None:
    """What the store called its error, else None."""
    return error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None


def message_of(error: BaseException | None) -> str:
    """What the store said about its error; empty where it said nothing."""
    return error.response.get("Error", {}).get("Message", "") if isinstance(error, ClientError) else ""


def class_of(error: ClientError) -> str | None:
    """The class of storage that the answer names, which stands beside the error or in it."""
    name = error.response.get("StorageClass") or error.response.get("Error", {}).get("StorageClass")
    return str(name) if name else None


def classify(error: Exception, message: str) -> PgvaultError | Transient:
    """Return what to raise for an error in FOREIGN; Transient where another attempt may help."""
    if isinstance(error, ClientError):
        return classify_answer(error, message)
    message = f"{message}: {error}"
    if isinstance(error, NO_CREDENTIALS):
        hint = "Configure `access_key` and `secret_key`, or a `profile`; or set AWS_ACCESS_KEY_ID and its secret."
        return StoreDenied(message, hint=hint)
    if isinstance(error, ParamValidationError):
        return ConfigInvalid(message)
    if isinstance(error, CONNECTION):
        return Transient(StoreUnreachable(message))
    return StoreUnreachable(message)


def classify_answer(error: ClientError, message: str) -> PgvaultError | Transient:
    """Return what to raise for an answer that was an error."""
    status = status_of(error) or 0
    details = error.response.get("Error", {})
    code = details.get("Code", "")
    hint = HINTS.get(code)
    if code == "InvalidObjectState":
        hint = thaw_hint(class_of(error))
    message = f"{message}: {code or status} {details.get('Message', '')}".rstrip(" .")
    result: PgvaultError
    if status == 412:
        result = ObjectExists(message)
    elif code == "NoSuchKey":
        result = ObjectMissing(message)
    elif status in (401, 403) or code in DENIED_CODES or code.startswith("KMS."):
        result = StoreDenied(message, hint=hint)
    elif status == 400 and NO_OBJECT_LOCK.search(message):
        result = StoreUnfit(message, hint=OBJECT_LOCK_HINT)
    elif code in UNFIT_HINTS:
        result = StoreUnfit(message, hint=UNFIT_HINTS[code])
    elif status == 501:
        result = StoreUnfit(message, hint="The store must know conditional writes (If-None-Match).")
    elif status == 507:
        return DiskFull(message)
    else:
        result = StoreUnreachable(message, hint=hint)
        if status in TRANSIENT_STATUS or status >= 500:
            return Transient(result)
    return Transient(result) if code in TRANSIENT_CODES else result
