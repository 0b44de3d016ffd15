"""A KMS on the loopback, and keys in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


@contextmanager
def serving_kms() -> Iterator[str]:
    """Run moto's server; yields its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def make_kms_key(url: str, *, alias: str | None = None, region: str = REGION) -> str:
    """Make a key; returns its ARN."""
    client = boto3.client(
        "kms", endpoint_url=url, region_name=region, aws_access_key_id="test", aws_secret_access_key="test"
    )
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    if alias is not None:
        client.create_alias(AliasName=alias, TargetKeyId=arn)
    client.close()
    return arn
