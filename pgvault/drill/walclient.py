"""restore_command inside a scratch instance: ask the drill, outside, for one WAL file. Standard library only.

    python -I -S walclient.py SOCKET NAME DESTINATION        exits 0 delivered, 77 confirmed absent, 1 anything else

No key, configuration or credential comes in here: the drill fetches, opens and checks the file, puts it into its spool
and answers with the path. This file is copied into the scratch directory and runs there.
"""

import os
import socket
import sys

ANSWER_BYTES = 65536
TIMEOUT_SECONDS = 900


def main(arguments: list[str]) -> int:
    """Fetch one file; return the exit status."""
    path, name, destination = arguments
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(path)
        connection.sendall(os.fsencode(name) + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < ANSWER_BYTES:
            piece = connection.recv(4096)
            if not piece:
                return 1
            answer += piece
    verdict, _, rest = answer[:-1].partition(b" ")
    if verdict == b"absent":
        return 77
    if verdict != b"ok":
        return 1
    os.rename(rest, destination)  # noqa: PTH104  pathlib takes twice the time to start
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
