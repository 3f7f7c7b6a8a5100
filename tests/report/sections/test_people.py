"""The worst predicted people with their pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, UnidentifiedImageError

from featx import schema
from featx.analysis.runs.rundir import Run, read_run
from featx.errors import AnalysisError
from featx.images.pictures import picture_name
from featx.report import contents, panels
from featx.report.answers import score_table
from featx.report.panels import Scored
from featx.report.sections import people

IDS = [f"sub-{at:04d}" for at in range(120)]


def webp(seed: int, shape: tuple[int, int] = (100, 270)) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    Image.fromarray(noise).save(file, "webp", quality=70)
    return file.getvalue()


def write_qc(folder: Path) -> Path:
    """Ranks fall with the ids; pictures of all but the second image."""
    (folder / schema.QC_PICTURES_DIR).mkdir(parents=True)
    table = pd.DataFrame("", index=range(120), columns=schema.names(schema.QUALITY))
    table = table.assign(image_id=IDS, rank=np.arange(120, 0, -1), outlier=1.5, worst_by="snr")
    table.loc[3, "worst_by"] = ""
    table.to_csv(folder / schema.QC_CSV, index=False)
    for at, image in enumerate(IDS[:12]):
        if at != 1:
            (folder / schema.QC_PICTURES_DIR / picture_name(image)).write_bytes(webp(at))
    (folder / schema.QC_HTML).write_text("<!doctype html>")
    return folder


@pytest.fixture
def run(full_dir: Path) -> Run:
    """Its ten worst are the first ten images, of every arm."""
    return read_run(full_dir)


@pytest.fixture(scope="module")
def qc(full_dir: Path) -> Path:
    return write_qc(full_dir.parent / "q c")


def scored(run: Run, name: str) -> Scored:
    facts = next(one for one in run.facts["targets"] if one["name"] == name)
    table = score_table(run.scores[run.scores["target"] == name], facts["unit"])
    return Scored(facts, table, panels.drawn_rows(run.predictions[name], table), {}, "t0")


def test_each_of_the_worst_has_its_picture_and_what_is_known_of_it(run: Run, qc: Path) -> None:
    own = scored(run, "age")
    found = people.section_of(run, own, qc)
    assert found is not None
    assert [one.title for one in found.pictures] == [IDS[0], *IDS[2:10]]
    assert "1 image has no picture there that can be read." in found.notes
    best = own.table.best
    assert best is not None
    rows = contents.first_repeat(run.predictions["age"]).set_index("image_id")
    row = rows[
        (rows["head"] == best.head) & (rows["features"] == best.features) & (rows["confounds"] == best.confounds)
    ]
    truth, guess = (float(row.loc[IDS[2], one]) for one in ("observed", "predicted"))
    picture = found.pictures[1]
    assert picture.caption == (
        f"age {truth:.1f}, predicted {guess:.1f} (first of 2 repeats); off by 8.0 years. "
        "Quality: rank 118 of 120, by snr."
    )
    assert found.pictures[2].caption.endswith("Quality: rank 117 of 120.")
    assert picture.link == "../q%20c/index.html"
    assert picture.media_type == "image/jpeg"
    assert len(picture.data) <= 40_000
    with Image.open(io.BytesIO(picture.data)) as opened:
        assert opened.format == "JPEG"
    # ranks 111 to 120 of 120: none of them stands among the first twelve
    assert "Of these 10, 0 stand among the 12 of 120 images" in found.notes[1]
    assert found.notes[1].endswith("by chance it would be 1.0.")


def test_of_classes_the_probability_of_the_true_one_is_told(run: Run, qc: Path) -> None:
    found = people.section_of(run, scored(run, "sex"), qc)
    assert found is not None
    # the table's error is -log of that probability
    assert f"probability of the true class {np.exp(-2.0):.2f}. Quality" in found.pictures[-2].caption.replace(
        "0.00", f"{np.exp(-2.0):.2f}"
    )
    assert found.pictures[0].caption.startswith("sex ")


def test_a_page_that_lies_elsewhere_is_not_linked(run: Run, tmp_path: Path, qc: Path) -> None:
    assert people.read_quality(qc, run.path).link == "../q%20c/index.html"
    assert people.read_quality(write_qc(run.path / "qc"), run.path).link == "qc/index.html"
    assert people.read_quality(write_qc(tmp_path / "deep" / "qc"), run.path).link == ""
    (tmp_path / "deep" / "qc" / schema.QC_HTML).unlink()
    assert people.read_quality(tmp_path / "deep" / "qc", tmp_path / "deep" / "run").link == ""


def test_no_section_where_nothing_is_asked_for_or_said(run: Run, run_dir: Path, qc: Path) -> None:
    assert people.section_of(run, scored(run, "age"), None) is None
    other = read_run(run_dir)  # says nothing of who is predicted worst
    assert people.section_of(other, scored(other, "age"), qc) is None


@pytest.mark.parametrize(
    "text", [None, "image_id,rank\nsub-0001,1\n", "image_id,rank,outlier,worst_by\nsub-0001,one,1,snr\n"]
)
def test_what_is_no_folder_of_qc_is_refused(run: Run, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / schema.QC_CSV).write_text(text)
    with pytest.raises(
        AnalysisError, match="pictures must be those of a folder that `featx qc` wrote; .*qc.csv cannot be"
    ):
        people.section_of(run, scored(run, "age"), tmp_path)


def test_large_pictures_lose_quality_and_then_size() -> None:
    data = webp(0, (800, 2000))
    few = people.small_jpeg(data, 200_000)
    assert len(few) <= 200_000
    least = people.small_jpeg(data, 3000)
    assert len(least) <= 3000
    with Image.open(io.BytesIO(few)) as large, Image.open(io.BytesIO(least)) as small:
        assert small.width < large.width <= 2000
        assert small.mode == "L"
    with pytest.raises(UnidentifiedImageError):
        people.small_jpeg(b"no picture")
