"""featx qc: how good are images, and which are unlike the others?"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx import schema
from featx_cli.console import SOME_FAILED, progress, say, say_reasons, write_failures

if TYPE_CHECKING:
    from featx.images.image import Image
    from featx.store import Failure

FIRST = 5


def command(
    images: str = typer.Argument(help="images.csv of `featx index`, or anything that `featx index` takes."),
    output: Path = typer.Option(Path("qc"), "--output", "-o", help="The folder to write."),
    features: Path | None = typer.Option(
        None, help="A feature file of these images: the distance of each from the others joins the numbers."
    ),
    sets: str = typer.Option(
        "all", "--set", help="Which feature sets, side by side: a network, names joined by '+', wildcards, or all."
    ),
    workers: int = typer.Option(
        -1, min=-1, help="Threads that read and measure; -1 chooses (one per core, up to 8)."
    ),
) -> None:
    """Measure the quality of images: a table of numbers, and a page that shows each image, the worst first.

    qc.csv has one row per image: noise, contrast, sharpness, entropy, volume, overlap with the template, grey values
    (what each is stands on the page). There are no cut-offs: images are ranked by the number in which each is
    furthest on the worse side of all the others, in robust standard deviations, and the number is named (worst_by).
    index.html shows three slices of each; it opens offline, sorts by any number and finds ids. Images that cannot
    be measured are told in failures.csv (exit code 3). After a kill, the same command goes on; run again later, it
    measures what is new or has changed.

    With --features, feature_distance joins them: how far an image lies from the others in principal components of the
    features or off them, in robust standard deviations beyond the usual. It sees much that is unusual together or one
    thing that is far off; of a single feature it counts ten standard deviations at most, and where images are fewer
    than five per feature, what is unusual only in how features go together may escape it.

    The numbers can be confounds or filters: --also qc/qc.csv gives each image its own row.

    \b
    Example:
    featx qc images.csv -o qc/ --features features.h5
    featx fit features.h5 people.tsv --also qc/qc.csv --target age --where "snr > 10" --confound sharpness -o run/
    """
    from featx import store
    from featx.analysis.outliers import quality_rows
    from featx.extraction.measuring import picture_name
    from featx.images.index import index_images
    from featx.report.contactsheet import write_sheet

    store.check_writable(output / schema.QC_CSV)
    found = index_images(images)
    distances = None if features is None else _distances(features, sets)
    numbers, failures = _measure(found, output, workers if workers >= 0 else min(8, os.cpu_count() or 1))
    rows = quality_rows(
        [_row(image, numbers[image.image_id]) for image in found if image.image_id in numbers], distances
    )
    _write(rows, output / schema.QC_CSV)
    write_failures(failures, output / schema.FAILURES_CSV)
    page = write_sheet(output, [row | {"picture": picture_name(row[schema.IMAGE_ID])} for row in rows], failures)
    for row in rows[:FIRST]:
        say(f"  {row['rank']:>3}  {row[schema.IMAGE_ID]}: {_why(row)}")
    say(f"all of them: {output / schema.QC_CSV}; to look at: {page}")
    if failures:
        say(f"{len(failures)} images could not be measured:")
        say_reasons(failures, output / schema.FAILURES_CSV)
        raise typer.Exit(SOME_FAILED)


def _distances(path: Path, spec: str) -> dict[str, float]:
    """Distances of the images of a feature file, in the sets that are asked for."""
    from featx import store
    from featx.analysis.features import select_features
    from featx.analysis.outliers import distances_in

    chosen = select_features(store.list_sets(path), [spec])
    return distances_in([store.read_set(path, name) for names in chosen.values() for name in names])


def _measure(images: Sequence[Image], output: Path, workers: int) -> tuple[dict[str, dict[str, str]], list[Failure]]:
    """Numbers by image, of this run and those before, and what failed."""
    from featx.extraction.measuring import measure_images, measured_before

    numbers = measured_before(images, output)
    missing = [image for image in images if image.image_id not in numbers]
    n_before, failures = len(numbers), []
    start = time.monotonic()
    with progress("qc", "images") as update:
        for done, (image, own, failure) in enumerate(measure_images(missing, output, workers), start=1):
            if own is not None:
                numbers[image.image_id] = own
            if failure is not None:
                failures.append(failure)
            update(done, len(missing), f", {len(failures)} failed" if failures else "")
    elapsed_s = time.monotonic() - start
    rate = f", {len(missing) / max(elapsed_s, 1e-9):.1f} images/s" if missing else ""
    say(f"{len(missing)} images measured in {elapsed_s:.1f} s{rate}; {n_before} were done before")
    return numbers, failures


def _row(image: Image, numbers: Mapping[str, str]) -> dict[str, str]:
    ids = (image.image_id, image.participant_id, image.session_id)
    return dict(zip((schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID), ids, strict=True)) | dict(numbers)


def _why(row: Mapping[str, str]) -> str:
    if not row["worst_by"]:
        return "on the worse side of the others in nothing"
    name = row["worst_by"]
    return f"{name} {row[name]}, {row['outlier']} robust standard deviations on the worse side"


def _write(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write the table in the order of image ids, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:  # ids as on disk
            writer = csv.DictWriter(file, schema.names(schema.QUALITY), lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: row[schema.IMAGE_ID]))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
