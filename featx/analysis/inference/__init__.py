"""What predictions are worth: metrics with intervals, comparisons and tests, calibration, breakdowns, cautions."""
