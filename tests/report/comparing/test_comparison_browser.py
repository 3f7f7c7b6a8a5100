"""The page of a comparison in a real browser: silent, whole, no wider than a phone, and its tables sort."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from featx.report.comparing.comparison import write_comparison_page
from tests.report.comparing.test_comparison import made
from tests.report.test_browser import browser as browser
from tests.report.test_browser import load

pytestmark = pytest.mark.browser


def test_it_opens_in_silence_and_sorts(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    write_comparison_page(made(tmp_path, evil="<b>"), page, with_figures=False)
    dom, console = load(browser, page, tmp_path, "--dump-dom")
    assert console == []
    plots = re.findall(r'<svg class="plot"[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', dom)
    assert len(plots) == 8
    assert dom.count('aria-sort="none"') > 20  # the script ran: tables have buttons
    loose, frame = tmp_path / "loose.html", tmp_path / "frame.html"  # without its policy, so that it can be measured
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text(encoding="utf-8"), count=1)
    loose.write_text(text, encoding="utf-8")
    frame.write_text(
        '<iframe src="loose.html" style="width:390px;height:800px;border:0"></iframe><p id="out"></p><script>'
        "document.querySelector('iframe').onload = event => { const inner = event.target.contentDocument;"
        "const table = inner.querySelector('#targets table'); const names = () => [...table.tBodies[0].rows].map("
        "row => row.cells[0].textContent[0]).join(''); const before = names();"
        "table.querySelectorAll('th button')[1].click(); table.querySelectorAll('th button')[1].click();"
        "document.getElementById('out').textContent = "
        "'width ' + inner.documentElement.scrollWidth + ' rows ' + before + ' ' + names() }</script>",
        encoding="utf-8",
    )
    dom, _ = load(browser, frame, tmp_path, "--allow-file-access-from-files", "--dump-dom")
    assert "width 390 rows ABCDE EDCBA" in dom
