"""What restore_command runs: `python -S -P …/fetchprogram.py wal fetch --plan PLAN NAME DESTINATION`.

It is `python -P -m pgvault` with a short cut: without -S, Python would look through site-packages first, which a
segment that lies ready does not need. Where there is none ready, that is made up for.
"""

import os
import sys

if __name__ == "__main__":
    # Last, so that nothing beside us is taken for a part of Python.
    sys.path.append(__file__.rsplit("/", 3)[0])

    from pgvault.cli.fastfetch import deliver

    if deliver(sys.argv[1:]):
        os._exit(0)  # there is nothing to tidy up, and that takes 5 ms
    import site

    site.main()
    from pgvault.cli.main import main

    main()
