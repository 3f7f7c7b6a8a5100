"""The contact sheet: what stands where, hostile ids, thousands of images, and a browser that complains of nothing."""

import base64
import hashlib
import html
import json
import re
import time

import numpy as np
import pytest

from featx import schema
from featx.analysis.outliers import quality_rows
from featx.images.pictures import mid_slices, write_picture
from featx.images.volume import MNI152_2MM, Volume, grid_affine
from featx.report.contactsheet import render, write_sheet
from tests.conftest import phantom
from tests.report import test_browser

browser = test_browser.browser

HOSTILE = "</script><script>alert(1)</script>\"'&x=<img src=q>"
NUMBERS = (
    "snr",
    "cnr",
    "efc",
    "sharpness",
    "litres",
    "outside",
    "overlap",
    "likeness",
    "offset_mm",
    "p05",
    "p50",
    "p95",
)


def _rows(n, names=None, seed=0):
    rng = np.random.default_rng(seed)
    names = names or [f"sub-{at:04d}" for at in range(n)]
    measured = [
        {"image_id": one, "participant_id": one, "session_id": "", "fber": ""}
        | {name: f"{rng.normal(10, 1):.6g}" for name in NUMBERS}
        for one in names
    ]
    return [row | {"picture": f"{at}.webp"} for at, row in enumerate(quality_rows(measured))]


def _failure(name):
    sentence = f"an image must be whole; {name} is not; copy it again"
    return dict(zip(schema.names(schema.FAILURES), (name, "", "read", "truncated", sentence), strict=True))


def _data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_cards_are_in_the_order_of_ranks_and_the_data_are_theirs():
    rows = _rows(30)
    page = render(rows, [])
    shown = re.findall(r'<li data-id="([^"]*)" data-picture="([^"]*)">', page)
    assert shown == [(row["image_id"], f"pictures/{row['picture']}") for row in rows]
    assert f"1 · {rows[0]['worst_by']}" in page
    data = _data(page)
    assert [one["name"] for one in data["numbers"]] == list(NUMBERS)  # fber is of no image
    assert data["rows"] == [[float(row[name]) for name in NUMBERS] for row in rows]
    snr = np.array([float(row["snr"]) for row in rows])
    assert data["numbers"][0]["centre"] == pytest.approx(np.median(snr))
    assert data["numbers"][0]["unit"] == pytest.approx(1.4826 * np.median(abs(snr - np.median(snr))))
    assert (data["numbers"][0]["worse"], data["numbers"][-1]["worse"]) == (-1, None)
    assert "could not be measured" not in page
    assert "Quality of 30 images" in page


def test_what_is_not_measured_is_null_and_counted():
    rows = _rows(10)
    rows[3]["snr"] = ""
    page = render(rows, [])
    assert _data(page)["rows"][3][0] is None
    assert "white matter over the noise in it (1 without)" in page


@pytest.mark.parametrize("text", ["inf", "-inf", "nan"])
def test_what_is_not_finite_is_as_what_is_not_measured(text):
    rows = _rows(10)
    rows[3]["snr"] = text
    page = render(rows, [])
    assert _data(page)["rows"][3][0] is None
    assert "white matter over the noise in it (1 without)" in page
    rows[3]["snr"] = ""
    assert page == render(rows, [])


def test_a_name_that_is_no_utf8_is_shown_in_its_bytes(tmp_path):
    rows = _rows(2, names=["M\udcfcller", "plain"])
    page = write_sheet(tmp_path, rows, [_failure("G\udcf6tz")]).read_bytes().decode()
    assert "<b>M\\udcfcller</b>" in page
    assert "G\\udcf6tz" in page


def test_failures_stand_first_with_their_sentences():
    page = render(_rows(3), [_failure("sub-bad"), _failure(HOSTILE)])
    assert page.index("2 could not be measured") < page.index("What the numbers are") < page.index("<ol")
    assert "an image must be whole; sub-bad is not; copy it again" in page
    assert "<details open>" in page
    assert "<details>\n<summary>Which" in render(_rows(3), [_failure(f"sub-{at}") for at in range(11)])


def test_nothing_of_an_id_is_markup():
    page = render(_rows(2, names=[HOSTILE, "plain"]), [_failure(HOSTILE)])
    assert "<script>alert" not in page
    assert "<img src=q" not in page
    assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == ['<script type="application/json" id="data">', "<script>"]


def test_the_policy_lets_only_the_own_script_run():
    page = render(_rows(2), [])
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{own}'" in page
    assert "default-src 'none'" in page
    assert not re.findall(r"https?://|onclick|@import", page)


def test_of_very_many_the_first_are_shown():
    page = render(_rows(50), [], most=20)
    assert page.count("<li ") == 20
    assert "The 20 first ones are shown, 30 more are in the table alone." in page
    assert len(_data(page)["rows"]) == 20


def test_no_image_at_all():
    page = render([], [_failure("sub-bad")])
    assert "Quality of 0 images" in page
    assert "What the numbers are" not in page


def test_two_thousand_are_small_and_quick():
    rows = _rows(2000)
    start = time.perf_counter()
    page = render(rows, [])
    assert time.perf_counter() - start < 5
    assert len(page) < 1_000_000


@pytest.mark.browser
def test_a_browser_sorts_finds_and_shows(browser, tmp_path):
    rows = _rows(40, names=[HOSTILE, *(f"sub-{at:02d}" for at in range(39))])
    for row in rows:
        write_picture(
            tmp_path / "pictures" / row["picture"], mid_slices(Volume(phantom(), grid_affine(MNI152_2MM)), height=48)
        )
    page = write_sheet(tmp_path, rows, [_failure(HOSTILE)])
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    act = (
        'const before = count.textContent; sort.value = "0 up"; arrange(); find.value = "sub-1"; filter();'
        "show(shown()[0]); step(1);"
        'document.title = shown().map(at => cards[at].dataset.id).join(" ") + "|" + cards[open].dataset.id + "|"'
        ' + document.getElementById("facts").rows.length + "|" + before;'
    )
    text = page.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script, script + act)]
    acting = tmp_path / "acting.html"
    acting.write_text(text.replace(script, script + act).replace(*digests), encoding="utf-8")
    dom, console = test_browser.load(browser, acting, tmp_path, "--dump-dom", "--virtual-time-budget=2000")
    assert console == []
    expected = [
        row["image_id"] for row in sorted(rows, key=lambda row: float(row["snr"])) if "sub-1" in row["image_id"]
    ]
    names, opened, n_facts, before = re.search("<title>(.*?)</title>", dom)[1].split("|")
    assert names.split() == expected
    assert (opened, n_facts, before) == (expected[1], str(len(NUMBERS)), "40 images")
    assert dom.count('decoding="async"') >= 8  # those that are near have their pictures
    assert "10 of 40 images" in dom
