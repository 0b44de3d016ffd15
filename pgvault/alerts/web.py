"""One request over HTTP to an address that may be a secret: whatever goes wrong is said without it.

Redirections are not followed: a portal that asks for a login answers with one, and nobody would have been told.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException

from pgvault.config import Secret
from pgvault.errors import ConfigInvalid, StoreUnreachable
from pgvault.stores.retry import Transient

ANSWER_SECONDS = 10.0
AGAIN = (408, 425, 429)  # and 5xx
SCHEMES = ("http://", "https://")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none."""


OPENER = urllib.request.build_opener(_NoRedirection)


def read_address(address: Secret | str) -> str:
    """Return an address, read from where it is. Raises KeyUnusable, ConfigInvalid."""
    if isinstance(address, str):
        return address
    url = address.read().decode("utf-8", "replace").strip()
    if not url.startswith(SCHEMES) or any(each.isspace() or not each.isprintable() for each in url):
        raise ConfigInvalid(f"secret {str(address)!r} holds no address that begins with http")
    return url


def post(url: str, content: object) -> None:
    """Post JSON. Raises as `request`."""
    request(url, json.dumps(content).encode())


def request(url: str, body: bytes | None = None) -> None:
    """Get an address, or post to it, in one attempt.

    Raises Transient where another attempt may succeed, StoreUnreachable where none will.
    """
    headers = {"User-Agent": "pgvault"} | ({} if body is None else {"Content-Type": "application/json"})
    try:
        wanted = urllib.request.Request(url, body, headers)  # noqa: S310  read_address knows the scheme
        with OPENER.open(wanted, timeout=ANSWER_SECONDS):
            return
    except urllib.error.HTTPError as error:
        failure = StoreUnreachable(f"answered {error.code}")
        again = error.code in AGAIN or error.code >= 500
        error.close()
    except urllib.error.URLError as error:
        failure, again = StoreUnreachable(_reason(error.reason)), True
    except (OSError, HTTPException, ValueError) as error:
        # Not its text: some of these quote the address.
        failure, again = StoreUnreachable(_reason(error)), isinstance(error, OSError)
    if again:
        raise Transient(failure)
    raise failure


def _reason(error: object) -> str:
    """Say what an error is, without what it says."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    said = error.strerror if isinstance(error, OSError) else None
    return f"can not be reached: {said or type(error).__name__}"
