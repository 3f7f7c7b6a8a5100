"""From features to scores: cohort, folds, heads, out-of-fold predictions, intervals, fitted heads on disk.

::

    features  which feature sets, put side by side
    cohort    phenotype table; who has images and phenotypes
    targets   one phenotype as numbers or classes
    splits    outer and inner folds; a participant is never on two sides
    heads     the table of heads: ridge, logistic, boosting (over scaling)
    crossval  nested cross-validation of several heads, beside a baseline
    scores    metrics with intervals; curves: points of ROC and calibration
    bundle    a fitted head as one file without pickle
    request   what is asked for and what comes out: values without work
    fit       all targets x features x heads
    rundir    a run as a folder

Nothing here imports torch, h5py or matplotlib.
"""
