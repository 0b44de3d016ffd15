"""The proof: restore into a scratch instance, recover, look, measure, report.

    several  run logical                          one drill for each target; one of WAL, one of a dump
    choosing  bringing replaying  loading         what to go to and from which backup; bring it up by WAL, by dump
    walservice waldoor                            WAL, handed in from outside
    stage  scratch room owning empty              phases; the directory, its disk, whose it is; an empty server
    isolation  sandbox  container engine          what keeps the server apart from production
    looking  looks/  restored                     the looks, in order; each of them; the server that they are given
    drift collations fingerprints lacks meaning   what looks judge by, without a server where that is possible
    hollow  pages                                 nothing but empty tables; pages, after the server has stopped
    rpo copies  objectives classes  past forecast landing      the figures
    report marking                                what is stored of it

A new look is a module of looks/ and a line in looking.py. A new figure is a field of the report, made in run.py.
"""
