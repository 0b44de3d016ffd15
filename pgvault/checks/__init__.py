"""Integrity checks: what a query returns, measured and judged, in a drill's scratch or, read-only, on a live server.

    measure  live                                 run one check, wherever; run all of them on the live server
    types query  sql clock                        from the configuration to a query; its text; the moment asked for
    crosssystem sides matching                    two systems side by side
    session answer keys scanned                   ask it; keep what may be kept; was there anything to look at?
    conclude result                               passed, failed or not proven
    derived constraints constraintsql constraintqueries generate     constraints of the catalog, as checks and as YAML

A new type is a class in config/checktypes.py and its query in types.py.
"""
