"""featx prepare: raw heads to brains on the template's grid, as a BIDS derivative."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx import schema
from featx_cli.console import SOME_FAILED, progress, say, say_reasons

if TYPE_CHECKING:
    from featx.preparing.plan import Settings, Task

Row = dict[str, str]
WORST = 3


def command(
    images: str = typer.Argument(help="images.csv of `featx index`, which has filters, or anything that it takes."),
    output: Path = typer.Option(
        Path("derivatives/featx"), "--output", "-o", help="The folder of the BIDS derivative; it is added to."
    ),
    grid: str = typer.Option(
        "2mm", help="1mm (for SFCN and its kin) or 2mm (for networks on slices and 3D networks), of MNI152."
    ),
    dof: int = typer.Option(
        12, help="Degrees of freedom of the registration: 12, 7 (one scale), or 6 (the brain keeps its size)."
    ),
    input_: str = typer.Option(
        "auto", "--input", help="head, brain (skull-stripped: extraction is skipped), or auto: judge each image."
    ),
    mask_suffix: str = typer.Option(
        "",
        help="A brain mask lies beside every image, named as it is but for its last part: desc-brain_mask.nii.gz. "
        "It replaces the extraction, as does the column mask of a table.",
    ),
    accept: list[str] = typer.Option(
        [], help="Let a misfit of the result through, knowingly: not-registered, ... as for `featx check`."
    ),
    suffix: str = typer.Option(
        "T1w",
        help="BIDS suffix of the T1-weighted images, such as UNIT1; others are left aside. '' takes any. Names "
        "without a suffix are taken as they are.",
    ),
    jobs: int = typer.Option(1, min=1, help="Images at a time, each in a process of its own with one thread."),
    dry_run: bool = typer.Option(False, help="Say what would be done, and stop."),
) -> None:
    """Prepare raw T1-weighted heads: bias correction, brain extraction, registration to MNI152.

    The brain is found in the head by its thickness and the template's mask, unless a mask is given or the image is a
    brain already. Each result is held against the template as `featx check` does, and refused where it does not lie
    right; a failed image costs only itself (failures.csv, exit code 3). Every brain has a sidecar that says how it
    was made, its mask, its transform, and a picture with the template's outline in figures/: look at them. Kill it
    at any moment: the same command does only what is missing or has changed. Several calls, or jobs of an array, may
    add to one output: prepared.csv lists all its brains of the same --grid and --dof, under the ids that the images
    have in the source (names of files keep only their letters and digits). Needs featx[prepare], no GPU.

    \b
    Example:
    featx prepare images.csv -o derivatives/featx --grid 1mm --jobs 8
    featx check derivatives/featx/prepared.csv -n sfcn.ukb_age
    """
    from featx import store
    from featx.images.contract import check_accepted
    from featx.preparing import register
    from featx.preparing.derivative import check_description
    from featx.preparing.plan import Settings, check_settings, find_heads, plan_tasks, read_done, with_masks
    from featx.preparing.tables import write_tables

    settings = Settings(grid, dof, input_, tuple(sorted(accept)))
    check_settings(settings)
    check_accepted(accept)
    antspyx = register.version()
    store.check_writable(output / schema.PREPARED_CSV)
    check_description(output)
    found = find_heads(images, output, suffix)
    for sentence in found.told:
        say(sentence)
    tasks = plan_tasks(with_masks(found.images, mask_suffix), output, settings)
    done = {task.image.image_id: row for task in tasks if (row := read_done(task)) is not None}
    todo = [task for task in tasks if task.image.image_id not in done]
    say(f"{len(tasks)} images, {len(done)} prepared before, {len(todo)} to do, by antspyx {antspyx}: {output}")
    if dry_run:
        return
    n_before, start = len(done), time.monotonic()
    failures = _prepare(todo, settings, jobs, done)
    elapsed_s = time.monotonic() - start
    rows, others = write_tables(output, settings, {task.image.image_id for task in tasks}, failures)
    say(f"{len(done) - n_before} images prepared in {elapsed_s:.0f} s; {n_before} were prepared before")
    _say_result(rows, others, output)
    if failures:
        say(f"{len(failures)} images could not be prepared:")
        say_reasons(failures, output / schema.FAILURES_CSV)
        raise typer.Exit(SOME_FAILED)


def _prepare(todo: Sequence[Task], settings: Settings, jobs: int, done: dict[str, Row]) -> list[Row]:
    """Prepare what is left; rows go to `done`, those of the failures table come back."""
    from featx.preparing.derivative import write_description
    from featx.preparing.processes import prepare_images

    if not todo:
        return []
    write_description(todo[0].output)
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes that start from here: the same bytes, whatever the machine
    failures = []
    with progress("prepare", "images") as update:
        for at, (task, (row, failure)) in enumerate(prepare_images(todo, settings, jobs), start=1):
            if row is not None:
                done[task.image.image_id] = row
            if failure is not None:
                failures.append(failure)
            update(at, len(todo), f", {len(failures)} failed" if failures else "")
    return sorted(failures, key=lambda failure: failure[schema.IMAGE_ID])


def _say_result(rows: Sequence[Row], others: int, output: Path) -> None:
    from featx.preparing.plan import SPACE, is_named_alike

    if not rows:
        return
    worst = sorted(rows, key=lambda row: float(row["dice"]))
    say(
        f"{len(rows)} brains lie there; overlap with the template's (Dice): {worst[0]['dice']} to {worst[-1]['dice']}"
    )
    for row in worst[:WORST]:
        say(f"  {row['dice']}  {row[schema.IMAGE_ID]} ({row['extraction']})")
    say(f"all of them: {output / schema.PREPARED_CSV}; to look at: {output / 'figures'}")
    if others:
        say(f"  without {others} brains of another --grid or --dof, which lie there too")
    say(f"next: featx check {output / schema.PREPARED_CSV} -n NETWORK; featx extract takes the same table")
    if all(map(is_named_alike, rows)) and not others:
        say(f"  or: featx index {output} --space {SPACE} --desc brain --suffix T1w -o images.csv")
