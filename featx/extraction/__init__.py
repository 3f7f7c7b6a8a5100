"""Extraction: images through frozen networks into a feature file, once (torch).

`plan` decides what is to be read and what is still to do, `loader` decodes ahead, `engine` runs and writes.
"""
