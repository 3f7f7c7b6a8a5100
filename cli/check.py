"""featx check: do images keep the contract of networks?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx_cli.console import SOME_FAILED, cache_dir, progress, say, say_codes

if TYPE_CHECKING:
    from featx.extraction.checking import Row


def command(
    images: str = typer.Argument(help="images.csv of `featx index`, or anything that `featx index` takes."),
    network: list[str] = typer.Option(
        [], "--network", "-n", help="Whose contract: NAME, or a pattern such as 'sfcn.*'. May be repeated."
    ),
    output: Path = typer.Option(Path("check.csv"), "--output", "-o", help="The table to write."),
    resample: bool = typer.Option(False, help="As for `featx extract --resample`: any grid will do."),
    accept: list[str] = typer.Option(
        [],
        help="As for `featx extract --accept`: let a misfit through, and tell it: background-not-zero, standardised, "
        "not-a-scan, not-skull-stripped, too-little-brain, not-registered or wrong-range. May be repeated.",
    ),
    recipe: Path | None = typer.Option(
        None, help="TOML file for a network of your own, --network python:package.module:factory."
    ),
    workers: int = typer.Option(-1, min=-1, help="Threads that read; -1 chooses (one per core, up to 8)."),
) -> None:
    """Hold images against what networks want of them: a table with one row per image and network.

    Each image is read once and looked at for 0.02 s: grid, orientation and place; skull, size and registration,
    against the MNI152 template; range, clipping, NaN. `featx extract` judges the same way, refuses the same images
    and lets the same ones through. Without --network, only what no network can use is told. Needs no torch. The exit
    code is 3 where something does not fit. Left and right exchanged cannot be seen.

    \b
    Example:
    featx check images.csv -n squeezenet1_0.imagenet -n 'sfcn.*' -o check.csv
    """
    from featx.api.finding import check_all, contracts

    wants = contracts(network, recipe, cache_dir(), resampling=resample)
    counts = Counts()
    start = time.monotonic()
    with progress("check", "images") as update:

        def show(done: int, total: int, unfit: int) -> None:
            update(done, total, f", {unfit} unfit" if unfit else "")

        for rows in check_all(images, wants, output, accept=accept, workers=workers, on_progress=show):
            _count(rows, counts)
            counts.images["all"] += 1
    total = counts.images["all"]
    elapsed_s = time.monotonic() - start
    rate = total / max(elapsed_s, 1e-9)
    say(f"{total} images looked at in {elapsed_s:.1f} s, {rate:.1f} images/s: {output}")
    _say_counts(counts, [want.network for want in wants], total)
    if counts.images["unfit"]:
        raise typer.Exit(SOME_FAILED)


@dataclass(frozen=True)
class Counts:
    """What the summary needs of all rows.

    Attributes
    ----------
    images : Counter
        "all" of them; "unfit": those that do not fit a network that was asked for.
    fitting, codes : Counter
        Images that fit, by network; images by reason code.
    first : dict
        The first row of each code.
    """

    images: Counter[str] = field(default_factory=Counter)
    fitting: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    first: dict[str, Row] = field(default_factory=dict)


def _count(rows: Sequence[Row], counts: Counts) -> None:
    for row in rows:
        counts.fitting[row["network"]] += row["fits"] == "yes"
        if row["code"]:
            counts.first.setdefault(row["code"], row)
    counts.codes.update({code for row in rows for code in (row["code"], *row["also"].split()) if code})
    counts.images["unfit"] += any(row["fits"] == "no" for row in rows)


def _say_counts(counts: Counts, networks: Sequence[str], total: int) -> None:
    for name in networks:
        say(f"  {name}: {counts.fitting[name]} of {total} fit")
    say_codes(counts.codes, counts.first)
    unfit = counts.images["unfit"]
    if not unfit:
        say(
            "all of them fit" if networks else "all of them can be read; name a --network to know whether they fit it"
        )
        return
    say(
        f"{unfit} do not fit. Mend what the sentences name and check again, or go on without them: "
        "`featx extract` refuses the same ones; there as here, --resample or --accept CODE lets one through."
    )
