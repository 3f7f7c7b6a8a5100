"""From features to scores: cohort, folds, heads, out-of-fold predictions, intervals, fitted heads on disk.

::

    features   which feature sets, put side by side
    cohort/    phenotype table; who has images and phenotypes; one phenotype as numbers or classes
    splits     outer and inner folds; a participant is never on two sides
    heads/     the table of heads, and each head
    ridge      the solver for all phenotypes at once
    crossval   nested cross-validation of several heads, beside a baseline
    inference/ metrics with intervals, points of ROC and calibration
    bundle     a fitted head as one file without pickle
    request    what is asked for and what comes out: values without work
    fit        all targets x features x heads
    rundir     a run as a folder

Nothing here imports torch, h5py or matplotlib.
"""
