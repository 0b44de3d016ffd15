"""Where bytes live: one protocol (`base`), a directory (`file`), a bucket (`s3`)."""
