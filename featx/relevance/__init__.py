"""Relevance maps: where in the brain a fitted head looks, through the frozen networks that it was fitted on."""
