# restore_command inside a container: ask the drill, outside, for one WAL file. An image may have no Python.
#
#     sh walclient.sh DIRECTORY TRIES NAME DESTINATION      exits 0 delivered, 77 confirmed absent, anything else: failed
#
# DIRECTORY/ask.NAME is the question. The answer is DIRECTORY/answer.NAME, one word, there as a whole or not at all; the
# file itself lies in DIRECTORY/NAME by then. DIRECTORY/over says that nobody answers any more; where it can not, the
# answer is looked for TRIES times.
answer="$1/answer.$3"
rm -f "$answer" || exit 1
: >"$1/ask.$3" || exit 1
waited=0
until [ -e "$answer" ]; do
    [ ! -e "$1/over" ] || exit 1
    waited=$((waited + 1))
    [ "$waited" -lt "$2" ] || exit 1
    sleep 0.02 || exit 1
done
read -r verdict <"$answer" || exit 1
case $verdict in
ok) mv -f "$1/$3" "$4" || exit 1 ;;
absent) exit 77 ;;
*) exit 1 ;;
esac
