"""Index a BIDS tree: featx's own walk, without and with its cache, against pybids on a tree of the same making.

    python benchmarks/index.py [--subjects 40000] [--pybids-subjects 1000]

The tree is made in a temporary folder (`--folder`): a tenth of the subjects has two sessions, each session a T1w with
its sidecar, seven of eight a FLAIR, all a derivative; files are tiny, for an index opens none but to see whether it
is there. `featx index ROOT --suffix T1w` runs as a process of its own: three times without a cache, once as it writes
it, three times with it; pages are in memory, as the tree was just made.

pybids is asked for the same, `BIDSLayout(ROOT).get(suffix="T1w", extension=".nii.gz")`, at its fastest fair setting
(no validation, no metadata) and at its default, each in a fresh process (of `--pybids-python`, where it is installed
elsewhere), without its import. It takes long: by default it gets a smaller tree, and featx that one too, so that the
ratio is of one tree; the line for all subjects is scaled, and says so. Agreement: the same set of (subject, session,
path).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

Rows = set[tuple[str, str, str]]  # subject, session, path

WITH_PYBIDS = """
import json, sys, time, warnings
import bids
warnings.simplefilter("ignore")
from bids import BIDSLayout
from bids.layout import BIDSLayoutIndexer
root, fast = sys.argv[1], sys.argv[2] == "fast"
start = time.perf_counter()
if fast:
    layout = BIDSLayout(root, validate=False, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False))
else:
    layout = BIDSLayout(root)
found = layout.get(suffix="T1w", extension=".nii.gz")
rows = [(one.entities["subject"], one.entities.get("session", ""), one.path) for one in found]
print(json.dumps({"elapsed_s": time.perf_counter() - start, "rows": rows, "version": bids.__version__}))
"""


def main() -> None:
    """Make the trees, run everything, print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=40_000)
    parser.add_argument("--pybids-subjects", type=int, default=1000)
    parser.add_argument(
        "--folder", type=Path, help="where the trees are made; the system's temporary folder if absent"
    )
    parser.add_argument("--pybids-python", default=sys.executable, help="an interpreter that can import bids")
    args = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="featx-index-", dir=args.folder))
    try:
        large = _measure(place / "large", args.subjects)
        if subprocess.run([args.pybids_python, "-c", "import bids"], capture_output=True).returncode:
            print("pybids: it is not installed; pip install pybids, or give --pybids-python, and run again")
            return
        if args.pybids_subjects >= args.subjects:
            _compare(args.pybids_python, place / "large", args.subjects, large)
            return
        small = _measure(place / "small", args.pybids_subjects)
        seconds = _compare(args.pybids_python, place / "small", args.pybids_subjects, small)
        for what, one in seconds.items():
            scaled = one / args.pybids_subjects * args.subjects
            print(f"  scaled by subjects, not measured: {what} {scaled / 60:.0f} minutes for {args.subjects}")
    finally:
        shutil.rmtree(place)


# --- the tree -------------------------------------------------------------------------------------------------


def make_tree(root: Path, n_subjects: int) -> Rows:
    """A BIDS tree, and what an index of its raw T1w must hold."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "made", "BIDSVersion": "1.9.0"}))
    brains = root / "derivatives" / "brains"
    brains.mkdir(parents=True)
    made_by = {"Name": "brains", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "made"}]}
    (brains / "dataset_description.json").write_text(json.dumps(made_by))
    subjects = [f"{at:06d}" for at in range(n_subjects)]
    (root / "participants.tsv").write_text("participant_id\n" + "".join(f"sub-{one}\n" for one in subjects))
    wanted: Rows = set()
    for at, (subject, session) in enumerate(_visits(subjects)):
        folder = f"sub-{subject}/ses-{session}/anat" if session else f"sub-{subject}/anat"
        name = f"sub-{subject}_ses-{session}" if session else f"sub-{subject}"
        files = [f"{name}_T1w.nii.gz", f"{name}_T1w.json"]
        files += [f"{name}_FLAIR.nii.gz", f"{name}_FLAIR.json"] if at % 8 else []
        _write(f"{root}/{folder}", files)
        _write(f"{brains}/{folder}", [f"{name}_space-MNI152NLin6Asym_desc-brain_T1w.nii.gz"])
        wanted.add((subject, session, f"{root}/{folder}/{files[0]}"))
    return wanted


def _visits(subjects: list[str]) -> Iterator[tuple[str, str]]:
    for at, subject in enumerate(subjects):
        for session in ("1", "2") if at % 10 == 0 else ("",):
            yield subject, session


def _write(folder: str, names: list[str]) -> None:
    os.makedirs(folder)
    for name in names:
        with open(f"{folder}/{name}", "wb") as file:
            file.write(b"{}")


# --- featx ----------------------------------------------------------------------------------------------------


def _measure(root: Path, n_subjects: int) -> float:
    """Seconds of featx without its cache; prints those with it too."""
    start = time.perf_counter()
    wanted = make_tree(root, n_subjects)
    print(f"{n_subjects} subjects: {len(wanted)} raw T1w, made in {time.perf_counter() - start:.1f} s", flush=True)
    time.sleep(2.5)  # folders that changed less than two seconds ago are not kept
    with tempfile.TemporaryDirectory(dir=root.parent) as home:
        plain, plain_cpu = min(_index(root, wanted, home, "--no-cache") for _ in range(3))
        first, _ = _index(root, wanted, home, "--cache")
        again = sorted(_index(root, wanted, home, "--cache") for _ in range(3))
        kept = sum(path.stat().st_size for path in Path(home).rglob("*.json"))
    print(f"  featx index, no cache: {plain:.2f} s (best of 3; {plain_cpu:.2f} s of processor time)")
    print(f"  featx index, as it writes the cache ({kept / 1e6:.1f} MB): {first:.2f} s")
    (least, cpu), (most, _) = again[0], again[-1]
    print(f"  featx index again, with the cache: {least:.2f} to {most:.2f} s ({cpu:.2f} s of processor time)")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    print(f"  peak memory {peak_mb:.0f} MB; ids and paths agree with what was made", flush=True)
    return plain


def _index(root: Path, wanted: Rows, home: str, cache: str) -> tuple[float, float]:
    """Seconds of one run, and of its processor time; ends where its table is not what was made."""
    table = Path(home) / "images.csv"
    featx = Path(sys.executable).with_name("featx")
    command = [str(featx), "index", str(root), "--suffix", "T1w", "-o", str(table), cache]
    start, used = time.perf_counter(), _processor_s()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "FEATX_HOME": home})
    took = (time.perf_counter() - start, _processor_s() - used)
    with table.open(newline="") as file:
        rows = {
            (row["participant_id"].removeprefix("sub-"), row["session_id"].removeprefix("ses-"), row["path"])
            for row in csv.DictReader(file)
        }
    if rows != wanted:
        raise SystemExit(f"featx index does not agree with the tree: {len(rows ^ wanted)} rows differ")
    return took


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- pybids ---------------------------------------------------------------------------------------------------


def _compare(python: str, root: Path, n_subjects: int, featx_s: float) -> dict[str, float]:
    """Seconds of pybids, by setting."""
    print(f"pybids, {n_subjects} subjects:")
    wanted = {(s, v, f"{root}/{_place(s, v)}") for s, v in _visits([f"{at:06d}" for at in range(n_subjects)])}
    seconds = {}
    for setting, what in (("fast", "no validation, no metadata"), ("default", "default")):
        done = subprocess.run(
            [python, "-c", WITH_PYBIDS, str(root), setting], check=True, capture_output=True, text=True
        )
        answer = json.loads(done.stdout)
        differ = {tuple(row) for row in answer["rows"]} ^ wanted
        agrees = "agrees" if not differ else f"{len(differ)} rows differ"
        seconds[what] = one = answer["elapsed_s"]
        print(
            f"  {answer['version']}, {what}: {one:.1f} s; {one / featx_s:.0f} times featx's process; {agrees}",
            flush=True,
        )
    return seconds


def _place(subject: str, session: str) -> str:
    if session:
        return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T1w.nii.gz"
    return f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"


if __name__ == "__main__":
    main()
