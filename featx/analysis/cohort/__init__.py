"""Who is analysed: the phenotype table, its join with the images, its columns as targets, confounds and features.

::

    tables      CSV, TSV, parquet, Excel as text        condition   which rows: ``site == 'HH' and age >= 50``
    phenotypes  a table of people, with its sidecar     people      images and rows meet, on ids
    ukbiobank   fields, instances, codings              targets     one column as numbers, levels or classes
    tabular     numbers of a table as a feature set     covariates  confounds, sites, groups
"""
