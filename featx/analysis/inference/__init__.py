"""What predictions are worth: metrics with intervals, points of curves."""
