"""The page of `featx qc`: how long it takes to write and to open, with thousands of images.

    python benchmarks/contactsheet.py [--images 2000] [--rounds 5]

Pictures are of made brains at the size that `featx qc` draws 1 mm brains in (218 pixels high), each of its own noise;
numbers are drawn. chromium opens the page from disk, headless, each time with a profile of its own. "DOM ready" is
the time from the start of navigation to the end of DOMContentLoaded, when all cards can be sorted and found;
"loaded" that to the page's load event. The page itself tells both (lines are added to its script, and the policy's
hash made anew); medians over rounds. Pictures come later, as their cards come near. Agreement: the browser counts as
many cards as there are images, and its console is silent.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from featx import schema
from featx.analysis.outliers import quality_rows
from featx.extraction.measuring import NUMBERS, PICTURE_HEIGHT, picture_name
from featx.images.pictures import encode_picture, mid_slices
from featx.images.template import read_template
from featx.images.volume import Volume
from featx.report.contactsheet import write_sheet

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-logging=stderr")
TOLD = """
addEventListener("load", () => {
  const times = performance.getEntriesByType("navigation")[0];
  const told = {ready_ms: times.domContentLoadedEventEnd, loaded_ms: times.loadEventStart, cards: cards.length};
  document.title = JSON.stringify(told);
});
"""


def main() -> None:
    """Make pictures and page, open it, print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = make_rows(wish.images)
        n_bytes = make_pictures(folder, [row["picture"] for row in rows])
        start = time.perf_counter()
        page = write_sheet(folder, rows, [])
        elapsed_s = time.perf_counter() - start
        print(f"{wish.images} images: page {page.stat().st_size / 1e6:.2f} MB, written in {elapsed_s:.2f} s")
        print(f"  pictures beside it: {n_bytes / 1e6:.1f} MB, {n_bytes / wish.images / 1e3:.1f} kB each")
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        if browser is None:
            print("  no chromium on the path: the page was not opened")
            return
        acting = with_telling(page)
        told = [open_page(browser, acting, folder / f"profile-{at}") for at in range(wish.rounds)]
        if any(one["cards"] != wish.images for one in told):
            sys.exit(f"the browser counts {told[0]['cards']} cards, and there are {wish.images} images")
        for key, words in (("ready_ms", "DOM ready"), ("loaded_ms", "loaded")):
            values = [one[key] for one in told]
            print(f"  {words}: {statistics.median(values):.0f} ms (from {min(values):.0f} to {max(values):.0f})")


def make_rows(n: int) -> list[dict[str, str]]:
    """Rows of qc.csv with drawn numbers, the worst first, each with the name of its picture."""
    rng = np.random.default_rng(0)
    ids = [f"sub-{at:07d}_ses-2" for at in range(n)]
    measured = [
        {schema.IMAGE_ID: one, schema.PARTICIPANT_ID: one[:11], schema.SESSION_ID: "ses-2"}
        | {name: f"{rng.normal(10, 1):.6g}" for name in NUMBERS}
        for one in ids
    ]
    return [row | {"picture": picture_name(row[schema.IMAGE_ID])} for row in quality_rows(measured)]


def make_pictures(folder: Path, names: list[str], kinds: int = 40) -> int:
    """Write the pictures, of so many made brains in turn; how many bytes they are."""
    (folder / schema.QC_PICTURES_DIR).mkdir()
    template, rng = read_template(), np.random.default_rng(0)
    data = template.data
    noisy = (np.where(data > 0, data + rng.normal(0, 3, data.shape), 0).astype(np.float32) for _ in range(kinds))
    made = [encode_picture(mid_slices(Volume(one, template.affine), height=PICTURE_HEIGHT), "webp") for one in noisy]
    for at, name in enumerate(names):
        (folder / schema.QC_PICTURES_DIR / name).write_bytes(made[at % kinds])
    return sum(len(made[at % kinds]) for at in range(len(names)))


def with_telling(page: Path) -> Path:
    """The page with a script that tells its times in the title."""
    text = page.read_text(encoding="utf-8")
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    own, new = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script, script + TOLD))
    acting = page.with_name("acting.html")
    acting.write_text(text.replace(script, script + TOLD).replace(own, new), encoding="utf-8", newline="\n")
    return acting


def open_page(browser: str, page: Path, profile: Path) -> dict[str, float]:
    """What the page tells of itself."""
    command = [browser, *FLAGS, f"--user-data-dir={profile}", "--window-size=1600,1000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search("<title>({.*?})</title>", done.stdout)
    if complaints or title is None:
        sys.exit(f"the page did not tell its times; the console says: {complaints or 'nothing'}")
    told: dict[str, float] = json.loads(title[1])
    return told


if __name__ == "__main__":
    main()
