"""The page in a real browser: it opens, complains of nothing, shows its figures, and no phone has to scroll it."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib import image

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
    return write_report(make_run(tmp_path_factory.mktemp("browser") / "run", n=60, hostile=True, full=True))


def load(browser: str, page: Path, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser prints, and what its console says."""
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_dom_is_whole_and_the_console_silent(browser: str, page: Path, tmp_path: Path) -> None:
    dom, console = load(browser, page, tmp_path, "--dump-dom")
    assert console == []
    plots = re.findall(r'<svg class="plot"[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', dom)
    assert len(plots) == 6 + (1 + 5) + 1 + 6 + 6 + 1  # age; sex; site; pain; score; age bias
    assert all(float(width) > 0 and float(height) > 0 for width, height in plots)
    for name in ("answer", "cautions", "people", "scores", "missing", "made"):
        assert f'<section id="{name}"' in dom
    assert "<script" not in dom


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
