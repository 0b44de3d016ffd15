"""The report: what was promised, what was proven and what was not, as one JSON document and as a page made of it.

gather.py     reads the repository into the value of document.py; what is judged there is judged in
promises.py   objectives and classes beside their newest measures          headline.py   one sentence for a cluster
quality.py    the last results of every check      coverage.py   backups, WAL and gaps of a copy, in time
page.py       document → HTML: pictures.py makes coordinates, seen.py numbers that say where they come from
"""
