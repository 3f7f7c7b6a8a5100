"""The command line of featx: one verb per file, no work inside."""
