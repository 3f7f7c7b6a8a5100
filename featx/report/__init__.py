"""One self-contained HTML page per run, and the figures of learning curves.

::

    wording        numbers, arms and verdicts as text
    blocks         what a page is made of: figures, tables, sections
    answers        scores as rows, best first, and what they say as sentences
    evidence       what stands beside the scores: comparisons, chance, parts of the people, age bias
    contents       people, folds, and what is missing
    flow           from images to those who are scored, and why others left
    privacy        what may be shown where nobody may be found
    panels         the figures of one target
    published, beside   numbers of other people, and one's own on the same scale
    targets        all of one target
    sections       further parts: spaces, layers, residuals, growth, people, relevance
    described, methods  what a run did, as a methods section
    citations      the works that it cites
    repeat         the call that made a run
    figures        arrays to drawings; the only room that imports matplotlib
    export         figures as files
    templating     what the pages share: filters, scripts, writing
    page           read a run, fill templates/report.html.j2, write the page
    comparison, standings   the page of `featx compare`
    contactsheet   the page of `featx qc`
"""
