"""The page of `featx compare`, and its sentences."""
