"""From features to scores: cohort, folds, heads, out-of-fold predictions, intervals, fitted heads on disk.

::

    request     what is asked for and what comes out: values without work
    cohort/     the table of people; its columns as targets, confounds and features; its join with the images
    aggregate   slices that a file keeps apart, as one row per image
    features    which feature sets, side by side; sharing: which images are compared
    folds/      who trains, who tests; a participant or family is never on two sides
    jobs        who is fitted on what; one bad target harms no other; suiting: which head on which features
    adjust/     confounds, sites, components: fitted inside the folds, before a head
    heads/      the table of heads, and each head
    ridge       the solver for all phenotypes at once, with roads and grams
    crossval    one head in all folds; fit: all targets x features x heads x ways to treat confounds
    nulls       permuted targets; learning: scores against the number of people who train
    inference/  metrics with intervals, comparisons and tests, calibration, breakdowns, cautions
    results     tables from predictions, with rows
    runs/       runs, curves and fitted heads on disk

Nothing here imports torch, h5py or matplotlib.
"""
