#!/bin/sh -e
# Check the live data, for those who come from a shell script:  [CHECK]… [options of pgvault checks run]
#   scripts/data-integrity-check.sh                           all checks of the only cluster
#   scripts/data-integrity-check.sh orphaned_orders           one of them
#   scripts/data-integrity-check.sh --cluster main --json     …
# It is `pgvault checks run --live`, with its exit codes: 0 all passed, 53 one failed, 21 one could not be proven.
root=$(cd "$(dirname "$0")/.." && pwd)
pgvault=$(command -v pgvault || echo "$root/.venv/bin/pgvault")
count=$#
while [ "$count" -gt 0 ]; do
    word=$1 count=$((count - 1))
    shift
    case $word in
    --config | --cluster | --check) # their value follows
        [ "$count" -gt 0 ] || { echo "error: $word wants a value" >&2 && exit 2; }
        set -- "$@" "$word" "$1"
        shift
        count=$((count - 1))
        ;;
    -*) set -- "$@" "$word" ;;
    *) set -- "$@" --check "$word" ;;
    esac
done
exec "$pgvault" checks run --live "$@"
