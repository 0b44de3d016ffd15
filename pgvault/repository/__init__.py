"""What pgvault promises about stored bytes: names, manifests, keys; FORMAT.md beside it says it byte by byte."""
