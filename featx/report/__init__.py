"""One self-contained HTML page per run.

::

    wording    numbers and verdicts as text
    contents   a run's tables as what the page says
    figures    arrays to SVG; the only module that imports matplotlib
    page       read a run, fill templates/report.html.j2, write the page
"""
