"""The page in a real browser: it opens, complains of nothing, shows its figures, and no phone has to scroll it."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib import image

from featx.report.blocks import Extras
from featx.report.page import write_report
from tests.report.conftest import make_run

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("browser") / "run", n=60, hostile=True, full=True)
    return write_report(run, extras=Extras(protocol="holderrieth2022"), with_figures=False)


def load(browser: str, page: Path, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser prints, and what its console says."""
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_dom_is_whole_and_the_console_silent(browser: str, page: Path, tmp_path: Path) -> None:
    dom, console = load(browser, page, tmp_path, "--dump-dom")
    assert console == []
    plots = re.findall(r'<svg class="plot"[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', dom)
    assert len(plots) >= 6 + (1 + 5) + 1 + 6 + 6 + 1  # age; sex; site; pain; score; age bias; and further sections
    assert all(float(width) > 0 and float(height) > 0 for width, height in plots)
    for name in ("answer", "cautions", "people", "scores", "missing", "methods", "made"):
        assert f'<section id="{name}"' in dom
    assert dom.count("<script>") == 1
    assert dom.count('aria-sort="none"><button type="button">') > 30  # the page's own script ran
    assert dom.count("hidden") > 0
    assert '<button type="button" data-copy="bibtex">' in dom  # no longer hidden


CLICK = """
const table = document.querySelector("table.scores");
const head = name => [...table.tHead.rows[0].cells].find(one => one.textContent.trim() === name);
const column = at => [...table.tBodies[0].rows].map(row => row.cells[at].innerText.split("\\n")[0].trim());
const place = name => [...table.tHead.rows[0].cells].indexOf(head(name));
const out = document.createElement("p");
const told = [];
for (const name of ["MAE", "MAE", "MAE", "r", "Head and features"]) {
  head(name).querySelector("button").click();
  const sorted = table.querySelectorAll("[aria-sort]:not([aria-sort=none])").length;
  told.push([name, head(name).ariaSort, column(place(name)), column(1), sorted]);
}
out.id = "told";
out.textContent = JSON.stringify(told);
document.body.append(out);
"""


def test_tables_sort_by_value_and_the_baseline_stays_last(browser: str, page: Path, tmp_path: Path) -> None:
    """A copy without the policy, so that a second script may press the buttons."""
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text(encoding="utf-8"), count=1)
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", f"<script>{CLICK}</script></body>"), encoding="utf-8")
    dom, console = load(browser, copy, tmp_path, "--dump-dom")
    assert console == []
    found = json.loads(html.unescape(re.findall(r'<p id="told">(.*?)</p>', dom)[0]))
    up, down, back, by_r, by_name = found
    assert [one[1] for one in found] == ["ascending", "descending", "none", "ascending", "ascending"]
    assert [one[4] for one in found] == [1, 1, 0, 1, 1]
    values = [[float(value) for value in one[2][:-1]] for one in (up, down, back)]
    heads, residual = 5, 2  # arms whose target was residualised stay below the others, the baseline last
    for one, sign in zip(values[:2], (1, -1), strict=True):
        assert len(one) == heads + residual
        assert one[:heads] == sorted(one[:heads], key=lambda value: sign * value)
        assert one[heads:] == sorted(one[heads:], key=lambda value: sign * value)
    assert values[2] == values[0]  # as it was: the best first
    assert all(one[3][-1] == "baseline" for one in found)
    assert by_r[2][-1] == "–"
    assert by_name[3] == sorted(by_name[3][:heads]) + sorted(by_name[3][heads:-1]) + ["baseline"]


PRINT = """
const n = () => document.querySelectorAll("details:not([open])").length;
const told = [n()];
for (const name of ["beforeprint", "afterprint"]) { dispatchEvent(new Event(name)); told.push(n()); }
document.title = told.join(" ");
"""


def test_on_paper_nothing_is_folded(browser: str, page: Path, tmp_path: Path) -> None:
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text(encoding="utf-8"), count=1)
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", f"<script>{PRINT}</script></body>"), encoding="utf-8")
    dom, _ = load(browser, copy, tmp_path, "--dump-dom")
    before, opened, after = map(int, re.findall(r"<title>([\d ]+)</title>", dom)[0].split())
    assert before > 5
    assert (opened, after) == (0, before)


def test_the_console_is_heard(browser: str, page: Path, tmp_path: Path) -> None:
    """The check above is worth something: a page that breaks its own policy is found out."""
    broken = tmp_path / "broken.html"
    text = page.read_text(encoding="utf-8")
    broken.write_text(text.replace("</main>", "<script>alert(1)</script></main>"), encoding="utf-8")
    _, console = load(browser, broken, tmp_path, "--dump-dom")
    assert any("Content Security Policy" in line for line in console)


def test_the_picture_is_not_blank(browser: str, page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    _, console = load(browser, page, tmp_path, f"--screenshot={shot}", "--window-size=1280,3000")
    assert console == []
    pixels = image.imread(io.BytesIO(shot.read_bytes()), format="png")[..., :3]
    assert pixels.shape == (3000, 1280, 3)
    ink = (pixels < 0.5).any(axis=2)
    assert all(part.mean() > 0.002 for part in (ink[:1000], ink[1000:2000], ink[2000:]))


def test_no_phone_has_to_scroll_sideways(browser: str, page: Path, tmp_path: Path) -> None:
    """A frame of 390 px beside the page: a script outside it measures how wide the page inside became."""
    frame = tmp_path / "frame.html"
    loose = tmp_path / "loose.html"  # measured from outside, so the same page without its policy, in one origin
    text = page.read_text(encoding="utf-8")
    measure = "<script>document.title = 'wide ' + document.documentElement.scrollWidth</script></body>"
    loose.write_text(
        re.sub(r"<meta http-equiv=.*?>", "", text, count=1).replace("</body>", measure), encoding="utf-8"
    )
    frame.write_text(
        '<iframe src="loose.html" style="width:390px;height:800px;border:0"></iframe><p id="out"></p><script>'
        "document.querySelector('iframe').onload = event => { document.getElementById('out').textContent ="
        " 'width ' + event.target.contentDocument.documentElement.scrollWidth }</script>",
        encoding="utf-8",
    )
    dom, _ = load(browser, frame, tmp_path, "--allow-file-access-from-files", "--dump-dom")
    assert "width 390" in dom
