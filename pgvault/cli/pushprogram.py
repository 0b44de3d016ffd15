"""What a suggested archive_command runs: `python -S -P …/pushprogram.py --config FILE wal push PATH`.

It is `python -P -m pgvault` with a short cut, as fetchprogram.py is: for a segment that is stored already, and noted,
Python need not look through site-packages, which is half of that call.
"""

import os
import sys

if __name__ == "__main__":
    # Last, so that nothing beside us is taken for a part of Python. The other packages lie there too, or else in the
    # environment that this Python is of.
    prefix, (major, minor, *_) = sys.executable.rsplit("/", 2)[0], sys.version_info
    sys.path += [__file__.rsplit("/", 3)[0], f"{prefix}/lib/python{major}.{minor}/site-packages"]
    try:
        from pgvault.cli.fastpath import is_stored

        stored = is_stored(sys.argv[1:])
    except ImportError:
        stored = False  # as far as can be told here
    if stored:
        os._exit(0)  # there is nothing to tidy up, and that takes 5 ms
    import site

    site.main()
    from pgvault.cli.main import main

    main()
