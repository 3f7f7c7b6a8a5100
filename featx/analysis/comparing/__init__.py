"""Runs held against each other: the same people, the same folds, every arm against every other."""
