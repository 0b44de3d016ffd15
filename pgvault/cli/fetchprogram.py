"""What restore_command runs: `python -S -P …/fetchprogram.py wal fetch --plan PLAN NAME DESTINATION`.

It is `python -P -m pgvault` with a short cut: without -S, Python would look through site-packages first, which a
segment that lies ready does not need. Where there is none ready, that is made up for.
"""

import os
import sys

if __name__ == "__main__":
    # Last, so that nothing beside us is taken for a part of Python. The other packages lie there too, or else in the
    # environment that this Python is of.
    prefix, (major, minor, *_) = sys.executable.rsplit("/", 2)[0], sys.version_info
    sys.path += [__file__.rsplit("/", 3)[0], f"{prefix}/lib/python{major}.{minor}/site-packages"]

    from pgvault.cli.fastfetch import deliver

    if deliver(sys.argv[1:]):
        os._exit(0)  # there is nothing to tidy up, and that takes 5 ms
    import site

    site.main()
    from pgvault.cli.main import main

    main()
