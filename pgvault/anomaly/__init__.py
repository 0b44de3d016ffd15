"""Whether a backup looks like the ones before it, and which was the last that did.

    root ─► measuring.py: its values ─► judge.py: against the median of the last normal ones
                                          ├─► status, metrics, alerts: what is off
                                          └─► expire: the last normal one stays

A backup that was taken without an error may be one of an emptied database, or of one that somebody encrypts: whoever
keeps the newest fourteen has nothing else after a fortnight.
"""
