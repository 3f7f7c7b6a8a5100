"""Killed at random moments, many times: what stands is whole, what was finished is kept, the end is the same."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.extraction.test_engine import _features, _same

# The parent loads torch once and never runs it, so that its forks are fresh; each fork is a run that is killed.
KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from featx import store
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request
from featx.images.index import index_images

images, output, n_kills = index_images(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
processes = sys.argv[4] == "processes"

def run():
    torch.set_num_threads(1)
    job = load_job(make_request("squeezenet1_0.imagenet", weights="random:0", taps=["fire2", "fire5"],
                                views=["axial"], n_slices=2), "cpu", Path("unused"))
    how = Running(part_seconds=0, workers=1, processes=processes)
    extract(images, [job], output, device="cpu", running=how)

chance, told = random.Random(int(sys.argv[5])), {"killed": 0, "ended": 0, "rows": []}
if __name__ == "__main__":
    while told["killed"] < n_kills:
        pid = os.fork()
        if not pid:
            run()
            os._exit(0)
        time.sleep(chance.uniform(0.2, float(sys.argv[6])))
        os.kill(pid, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        told["ended" if ended else "killed"] += 1
        standing = [*Path(f"{output}.parts").glob("part-*.h5"), *([output] if output.is_file() else [])]
        rows = {one for ids in (store.read_ids(path) for path in standing) for _, of in ids.values() for one in of}
        told["rows"].append(len(rows))
        if len(rows) == len(images):  # the next run begins anew
            for path in standing:
                path.unlink()
    pid = os.fork()  # and one to its end
    if not pid:
        run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    print(json.dumps(told))
"""


@pytest.mark.parametrize("how, n_kills, longest_s", [("threads", 12, 2.0), ("processes", 3, 3.0)])
def test_killed_at_random_moments(brains, tmp_path, how, n_kills, longest_s):
    folder = brains(16)
    told = _run(folder, tmp_path / "f.h5", how, n_kills, longest_s)
    assert told["killed"] == n_kills
    for before, after in pairwise(told["rows"]):
        assert after >= before or before == 16  # no row that stood is lost
    _run(folder, tmp_path / "whole.h5", how, 0, 0)
    _same(_features(tmp_path / "f.h5"), _features(tmp_path / "whole.h5"))
    assert not Path(f"{tmp_path}/f.h5.parts").exists()


def _run(folder, output, how, n_kills, longest_s):
    """Some runs that are killed, and one to its end; what was seen after each kill."""
    script = output.with_suffix(".py")
    script.write_text(KILLS)
    words = [str(folder), str(output), str(n_kills), how, "7", str(longest_s)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)
