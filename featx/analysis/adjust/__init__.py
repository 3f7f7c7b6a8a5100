"""What comes before a head, fitted inside the folds: confounds, sites (ComBat), components."""
