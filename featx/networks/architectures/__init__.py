"""The architectures, one family per file (torch): what a sheet names, called with its arguments."""
