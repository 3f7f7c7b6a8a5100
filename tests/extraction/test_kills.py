"""Killed at random moments, many times: what stands is whole, what was finished is kept, the end is the same."""

import random
import time
from itertools import pairwise
from pathlib import Path

import pytest

from featx import store
from tests.extraction.running import extract_to_its_end, extracting
from tests.extraction.test_engine import _features, _same


@pytest.mark.parametrize("how, n_kills", [("threads", 12), ("processes", 3)])
def test_killed_at_random_moments(brains, tmp_path, how, n_kills):
    folder, output = brains(16), tmp_path / "f.h5"
    options = {"workers": 1, "processes": how == "processes"}
    chance, n_killed, rows = random.Random(7), 0, []
    while n_killed < n_kills:
        with extracting(folder, output, **options) as (process, told):
            enough = chance.randrange(4)
            for n_finished in told:  # so that kills fall among images, however busy the machine is
                if n_finished == enough:
                    break
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
        n_killed += process.exitcode != 0
        standing = [*Path(f"{output}.parts").glob("part-*.h5"), *([output] if output.is_file() else [])]
        rows.append(len({one for path in standing for _, of in store.read_ids(path).values() for one in of}))
        if rows[-1] == 16:  # the next run begins anew
            for path in standing:
                path.unlink()
    assert any(0 < one < 16 for one in rows)  # kills fell among images
    for before, after in pairwise(rows):
        assert after >= before or before == 16  # no row that stood is lost
    extract_to_its_end(folder, output, **options)
    extract_to_its_end(folder, tmp_path / "whole.h5", **options)
    _same(_features(output), _features(tmp_path / "whole.h5"))
    assert not Path(f"{output}.parts").exists()
