"""Make the bucket `pgvault`, with versions, at every S3 endpoint that is named: a laptop has nobody else to do it."""

from __future__ import annotations

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "pgvault"
PATIENCE_SECONDS = 60.0
THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make_bucket(endpoint: str) -> None:
    """Make it unless it is there, as soon as the store answers."""
    store = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            store.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in THERE:
                raise
        except BotoCoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
            continue
        store.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return


if __name__ == "__main__":
    for each in sys.argv[1:]:
        make_bucket(each)
