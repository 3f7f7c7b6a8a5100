"""Further parts of a run's page, each of its own kind of evidence."""
