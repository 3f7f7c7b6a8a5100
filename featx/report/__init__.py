"""One self-contained HTML page per run, and the figures of learning curves.

::

    wording    numbers, arms and verdicts as text
    answers    scores as rows, best first, and what they say as sentences
    evidence   what stands beside the scores: comparisons, chance, parts of the people, age bias
    contents   people, folds, and what is missing
    repeat     the call that made a run
    figures    arrays to SVG; the only module that imports matplotlib
    panels     the figures of one target
    page       read a run, fill templates/report.html.j2, write the page
"""
