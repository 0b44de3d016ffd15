#!/bin/sh -e
# Tell what the checks found in the data, live and in drills, for those who come from a shell script:  [options]
#   scripts/generate-data-quality-report.sh                          every cluster, as text
#   scripts/generate-data-quality-report.sh --html quality.html      as a page that needs nothing else
#   scripts/generate-data-quality-report.sh --json --cluster main    …
# It is `pgvault report --quality`, with its exit codes: 0 written; with --fail-if-red 53 where a check failed when it last ran,
# 21 where none has said anything. It runs no check: scripts/data-integrity-check.sh and drills do.
root=$(cd "$(dirname "$0")/.." && pwd)
pgvault=$(command -v pgvault || echo "$root/.venv/bin/pgvault")
exec "$pgvault" report --quality "$@"
