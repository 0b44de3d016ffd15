#!/bin/sh -e
# Restore to a moment, for those who come from a shell script:  --date=DATE [--time=TIME] [DIRECTORY] [options of pgvault restore]
#   scripts/restore-from-backup.sh --date=2025-10-25 --time=10:00                  into a fresh directory named after it
#   scripts/restore-from-backup.sh --date=2025-10-25 --time=10:00 /srv/restored    …
# It is `pgvault restore --to 2025-10-25T10:00`, with its exit codes. Without --time it is the first moment of that day.
# The time is read in the configuration's time zone, or in --timezone; both are echoed.
root=$(cd "$(dirname "$0")/.." && pwd)
pgvault=$(command -v pgvault || echo "$root/.venv/bin/pgvault")
date='' time=00:00 count=$#
while [ "$count" -gt 0 ]; do
    word=$1 count=$((count - 1))
    shift
    case $word in
    --date | --time)
        [ "$count" -gt 0 ] || { echo "error: $word wants a value" >&2 && exit 2; }
        word=$word=$1 count=$((count - 1))
        shift
        ;;
    esac
    case $word in
    --date=*) date=${word#--date=} ;;
    --time=*) time=${word#--time=} ;;
    *) set -- "$@" "$word" ;;
    esac
done
[ -n "$date" ] || { echo "error: which day? --date=2025-10-25" >&2 && exit 2; }
exec "$pgvault" restore --to "${date}T$time" "$@"
