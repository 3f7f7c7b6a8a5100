"""The tests mirror the package."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores already: threads of torch that wait for each other on cores that are taken cost up to
    # three times the processor time. Processes that tests start inherit this.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
