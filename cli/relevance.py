"""featx relevance: where in the brain a fitted head looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli import wanted as ask
from featx_cli.added import added
from featx_cli.console import SOME_FAILED, cache_dir, progress, say, say_reasons
from featx_cli.options import Also

if TYPE_CHECKING:
    from featx.relevance.making import Task
    from featx.relevance.run import Readers


def command(
    head: Annotated[Path, typer.Argument(help="A fitted head: a .npz file of RUN/heads/.")],
    images: ask.Images,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write: RUN/relevance/NAME, for the run's report.")
    ],
    method: Annotated[
        str,
        typer.Option(
            help="gradient (of linear heads; seconds a person) or occlusion (of any head; minutes a person on a CPU)."
        ),
    ] = "gradient",
    people: Annotated[int, typer.Option(min=0, help="How many people are drawn from the images; 0 for all.")] = 20,
    show: Annotated[
        str,
        typer.Option(
            help="Of a gradient: signed (the default), absolute, or times-input. All three are written; this one is "
            "drawn."
        ),
    ] = "",
    patch: Annotated[str, typer.Option(help="Edge of the cubes that are occluded.")] = "12mm",
    stride: Annotated[str, typer.Option(help="How far apart cubes stand; without it they touch.")] = "",
    smooth: Annotated[
        str, typer.Option(help="Smooth maps by a Gaussian of this width (FWHM): 8mm of a gradient, else 0mm.")
    ] = "",
    level: Annotated[
        str, typer.Option(help="Of a target of classes: the level that is looked at; of two the second one.")
    ] = "",
    sanity: Annotated[
        bool,
        typer.Option(
            "--sanity",
            help="Make the map through random weights too, and tell how alike they are: a map that is the same shows "
            "the brain, not what was learned. Twice the time.",
        ),
    ] = False,
    weights: Annotated[
        list[str],
        typer.Option(
            help="NAME=FILE, where the head's weights came from a file. Others than the head's are refused."
        ),
    ] = [],  # noqa: B006 - typer copies it
    recipe: ask.Recipe = None,
    table: Annotated[
        list[str], typer.Option("--table", help="NAME=FILE, as in `featx fit`, where the head reads a table too.")
    ] = [],  # noqa: B006
    phenotypes: Annotated[
        Path | None, typer.Option(help="Confounds and sites of the people, where the head uses any.")
    ] = None,
    also: Also = [],  # noqa: B006
    accept: ask.Accept = [],  # noqa: B006
    device: ask.Device = "auto",
    batch_size: Annotated[
        str, typer.Option(help="Of an occlusion: volumes (or slices) per forward pass; auto chooses.")
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many passes it takes and how long, and stop.")
    ] = False,
) -> None:
    """Map where in the brain a fitted head looks, through the frozen networks that it was fitted on.

    The networks of the head are loaded again and must be the very ones it was fitted on. gradient: how the answer (a
    number in its unit, or log odds of a level) changes with every voxel. occlusion: how much larger the answer is
    than without what lies in a cube, which is filled with the mean of what is around it. Maps of single people are
    averaged on the template, and the caption tells how alike the maps of two halves of them are.

    The folder holds relevance.nii.gz (and _sd, the standard deviation over people), relevance.png, .svg and .pdf,
    relevance.csv (a row per image) and relevance.json; `featx report` shows those in RUN/relevance/. Kill it at any
    moment: the same command goes on after the last finished person.

    \b
    Examples:
    featx relevance run/heads/age--ridge--squeezenet1_0.imagenet.npz images.csv -o run/relevance/age
    featx relevance run/heads/HEAD.npz images.csv -o run/relevance/cubes --method occlusion --people 5 --dry-run
    """
    from featx.api.wanting import batch_size_of
    from featx.images.index import index_images
    from featx.networks.described import read_recipe
    from featx.relevance.wish import make_wish

    wish = make_wish(method, show=show, patch=patch, stride=stride, smooth=smooth, level=level, sanity=sanity)
    size = batch_size_of(batch_size)
    facts = None if recipe is None else read_recipe(recipe)
    found = index_images(images)
    ask.check_torch("relevance")
    from featx.api.showing import people_at, tables_of
    from featx.api.words import pairs
    from featx.relevance.making import Given, make_task

    given = Given(
        people=people,
        weights=pairs(weights, "--weights", "squeezenet1_0.imagenet=FILE"),
        checkpoints=added(),
        recipe=facts,
        tables=tables_of(table, found),
        phenotypes=people_at(phenotypes, also, found),
        accept=accept,
        device=device,
        batch_size=size,
    )
    task = make_task(head, found, wish, output, given)
    if task.is_done:
        say(f"done before: {task.output}")
        return
    readers = _load(task)
    n_cubes = _say_plan(task, readers)
    if not dry_run:
        _make(task, readers, n_cubes)


def _load(task: Task) -> Readers:
    from featx.relevance.run import load_readers

    with progress("weights", "bytes") as update:
        return load_readers(task.look, cache_dir(), lambda done, total: update(done, total, ""))


def _say_plan(task: Task, readers: Readers) -> int:
    """Tells what it costs; how many cubes an image has, 0 where there are none."""
    from featx.relevance.run import estimate

    look, cost = task.look, estimate(task.look, readers)
    networks = ", ".join(dict.fromkeys(source.name for source in look.sources))
    what = f"{cost.n_cubes} cubes, " if cost.n_cubes else ""
    say(
        f"{look.wish.method} of {look.bundle.contract['head']} for {look.bundle.contract['target']} through "
        f"{networks}, {len(task.images)} images on {look.device}: {task.output}"
    )
    total = cost.seconds * len(task.images)
    say(
        f"  an image takes {what}{cost.n_passes} passes, about {cost.seconds:.0f} s; all of them about "
        f"{_told(total)} (those that are done already not taken off)"
    )
    return cost.n_cubes


def _told(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> _told(90.4), _told(600), _told(9000)
    ('90 s', '10 min', '2.5 h')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{unit.count('h')}f} {unit}"
    return f"{seconds:.0f} s"


def _make(task: Task, readers: Readers, n_cubes: int) -> None:
    from featx import schema
    from featx.relevance.making import make_relevance

    each, what = (n_cubes, "cubes") if n_cubes else (1, "images")
    with progress(what, what) as update:

        def tell(done: float, total: int, failed: int) -> None:
            update(round(done * each), total * each, f", {failed} images failed" if failed else "")

        outcome = make_relevance(task, cache_dir(), readers=readers, on_progress=tell)
    facts = outcome.facts
    say(f"{facts['n_images']} images mapped: {task.output}")
    say(f"  {facts['caption']}")
    if outcome.failures:
        say(f"{len(outcome.failures)} images failed, the others are whole:")
        say_reasons(outcome.failures, task.output / schema.FAILURES_CSV)
        raise typer.Exit(SOME_FAILED)
