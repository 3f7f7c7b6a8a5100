"""The sheets of all networks, one file per family. Facts only: no torch."""
