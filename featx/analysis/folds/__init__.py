"""Who trains, who tests: strata, splits, folds that are given, folds that all targets share."""
