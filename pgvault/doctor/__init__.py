"""`pgvault doctor`: the usual mistakes, looked for before they hurt.

    host          who runs this, with which programs, zone and configuration file         host.py
    files         who may read and write configuration, keys and secrets                  files.py
    places        what lies on which disk, and how full that is                           places.py
    setup         what the configuration leaves out; buckets and keys                     setup.py, stores.py
    server        settings, grants, programs of its major                                 server.py
    known         what `status` finds, as far as it is a mistake of this kind             known.py

Everything is a pure judgement over facts, but gather.py, which asks, and examine.py, which asks all at once and waits
for nobody for long. Health is not computed here: what `status` and `check` judge is taken from them. Nothing is
written anywhere, and what can not be looked at is told, while the rest goes on.
"""
