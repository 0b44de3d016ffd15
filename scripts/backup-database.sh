#!/bin/sh -e
# Back up databases by pg_dump, for those who come from a shell script:  [DATABASE]… [options of pgvault backup]
#   scripts/backup-database.sh                      all databases of the only cluster
#   scripts/backup-database.sh shop crm             two of them
#   scripts/backup-database.sh --cluster main shop  …
# It is `pgvault backup --type logical`: the configuration says where the server and the repository are.
root=$(cd "$(dirname "$0")/.." && pwd)
pgvault=$(command -v pgvault || echo "$root/.venv/bin/pgvault")
count=$#
while [ "$count" -gt 0 ]; do
    word=$1 count=$((count - 1))
    shift
    case $word in
    --config | --cluster | --class | --database | -d) # their value follows
        [ "$count" -gt 0 ] || { echo "error: $word wants a value" >&2 && exit 2; }
        set -- "$@" "$word" "$1"
        shift
        count=$((count - 1))
        ;;
    -*) set -- "$@" "$word" ;;
    *) set -- "$@" --database "$word" ;;
    esac
done
exec "$pgvault" backup --type logical "$@"
