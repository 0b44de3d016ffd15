"""Real S3 servers on the loopback: versitygw, with versions, locks, users and bucket policies.

It is looked for on PATH and where .ci/run puts it, `~/.cache/pgvault/bin`:

    GOBIN=/tmp go install github.com/versity/versitygw/cmd/versitygw@v1.7.0
    mv /tmp/versitygw ~/.cache/pgvault/bin/versitygw-v1.7.0
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import boto3
import pytest
from botocore.config import Config

from pgvault.stores.base import StoreLocation

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

VERSION = "v1.7.0"
REGION = "us-east-1"
OWNER = ("owner", "owner-secret")  # access key, secret key: of whoever makes buckets
START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server that answers, and the credentials of its owner."""

    url: str
    credentials: tuple[str, str]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def client(self, credentials: tuple[str, str] | None = None) -> S3Client:
        """Return the client of the owner's, or of somebody else's, for what pgvault itself does not do."""
        return make_client(self.url, credentials or self.credentials)

    def location(self, bucket: str, prefix: str = "copy") -> StoreLocation:
        """Return a location with everything given, so that no environment matters."""
        return StoreLocation(
            f"s3://{bucket}/{prefix}", region=REGION, endpoint_url=self.url, credentials=self.credentials
        )


@cache
def make_client(url: str, credentials: tuple[str, str]) -> S3Client:
    """Return the client of a server and a user, made once: reading the SDK's description of S3 takes a while."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def find_versitygw() -> Path | None:
    """Return the program, if it is installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    installed = cache / "pgvault" / "bin" / f"versitygw-{VERSION}"
    found = shutil.which("versitygw")
    if installed.is_file():
        return installed
    return None if found is None else Path(found)


class Versitygw:
    """A server of its own, with all it stores below `directory`; a context."""

    def __init__(self, directory: Path) -> None:
        program = find_versitygw()
        if program is None:
            pytest.skip(f"versitygw is not installed: nothing was tried against a real S3 server (see {__name__})")
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("data", "versions", "users"):
            (self._directory / name).mkdir(parents=True)
        for _ in range(3):  # somebody else may take the port between our look and the start
            self._port = free_port()
            self._process = self._start()
            if self._answers():
                return self
            self.stop()
        raise AssertionError(f"versitygw did not start: {(self._directory / 'log').read_text()}")

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def server(self) -> S3Server:
        return S3Server(f"http://127.0.0.1:{self._port}", OWNER)

    def add_user(self, access_key: str, secret_key: str) -> tuple[str, str]:
        """Make a user who owns nothing, and return the credentials."""
        owner = {"ADMIN_ACCESS_KEY_ID": OWNER[0], "ADMIN_SECRET_ACCESS_KEY": OWNER[1]}
        command = [str(self._program), "admin", "--endpoint-url", self.server.url, "create-user", "--role", "user"]
        subprocess.run(
            [*command, "--access", access_key, "--secret", secret_key],
            env=owner,
            check=True,
            capture_output=True,
            timeout=30,
        )
        return access_key, secret_key

    def stop(self) -> None:
        """End the process that was started here."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        options = ["--port", f"127.0.0.1:{self._port}", "--health", "/health", "--quiet", "--region", REGION]
        users = ["--iam-dir", str(self._directory / "users"), "--iam-cache-disable"]
        backend = ["posix", "--versioning-dir", str(self._directory / "versions"), str(self._directory / "data")]
        with (self._directory / "log").open("wb") as log:
            return subprocess.Popen(
                [self._program, *options, *users, *backend],
                env={"ROOT_ACCESS_KEY_ID": OWNER[0], "ROOT_SECRET_ACCESS_KEY": OWNER[1]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answers(self) -> bool:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.server.url}/health", timeout=1):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        return False


def free_port() -> int:
    """Return a port of the loopback that nobody listened on just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
        return port
