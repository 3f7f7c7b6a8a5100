"""featx: features of frozen pretrained networks from brain MRI, and honest heads for any phenotype.

::

    errors, schema                   the exceptions; the name of every stored thing
    featureset                       a feature set as a value
    store                            feature files (HDF5): the wall between GPU box and laptop
    images/    index volume check synthetic
    networks/  (table) recipe weights, one architecture per file
    extraction/ plan loader engine   images through networks into the feature file (torch)
    analysis/  cohort/ folds/ adjust/ heads/ inference/ runs/   features to scores (never torch)
    report/    figures page          one HTML page per run

A module imports only from lower floors: errors, schema < featureset < store, images < networks, analysis <
extraction, report < the command line (`featx_cli`). Nothing on the analysis side imports torch.
"""

__version__ = "0.1.0"
