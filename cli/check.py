"""featx check: do images keep the contract of networks?"""

from __future__ import annotations

import contextlib
import csv
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx import schema
from featx.errors import StoreError
from featx_cli.added import resolved
from featx_cli.console import SOME_FAILED, progress, say, say_codes

if TYPE_CHECKING:
    from featx.extraction.checking import Row
    from featx.images.contract import Wants


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
    from featx import store
    from featx.extraction.checking import check_images
    from featx.images.contract import check_accepted
    from featx.images.index import index_images

    wants = _wants(network, recipe, resample)
    check_accepted(accept)
    store.check_writable(output)
    if output.exists() and Path(images).exists() and output.samefile(images):
        raise StoreError(f"the table must be a file of its own; {output} is the index that is read; name another -o")
    found = index_images(images)
    threads = workers if workers >= 0 else min(8, os.cpu_count() or 1)
    counts = Counts()
    start = time.monotonic()
    with progress("check", "images") as update, _table(output) as write:
        for done, (_, rows) in enumerate(check_images(found, wants, threads, accept), start=1):
            write(rows)
            _count(rows, counts)
            update(done, len(found), f", {counts.images['unfit']} unfit" if counts.images["unfit"] else "")
    elapsed_s = time.monotonic() - start
    rate = len(found) / max(elapsed_s, 1e-9)
    say(f"{len(found)} images looked at in {elapsed_s:.1f} s, {rate:.1f} images/s: {output}")
    _say_counts(counts, [want.network for want in wants], len(found))
    if counts.images["unfit"]:
        raise typer.Exit(SOME_FAILED)


@dataclass(frozen=True)
class Counts:
    """What the summary needs of all rows.

    Attributes
    ----------
    images : Counter
        "unfit": images that do not fit a network that was asked for.
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


def _wants(names: Sequence[str], recipe: Path | None, resample: bool) -> list[Wants]:
    """Contracts of the networks that are named, wildcards resolved, each once."""
    from featx.extraction.checking import wants_of
    from featx.extraction.plan import divide_name, make_requests
    from featx.networks import NETWORKS
    from featx.networks.described import read_recipe

    if not names and recipe is None:
        return []
    wanted: list[str] = []
    for name in (divide_name(one)[0] for one in resolved(names)):
        wanted += [known for known in NETWORKS if fnmatchcase(known, name)] or [name]
    facts = None if recipe is None else read_recipe(recipe)
    requests = make_requests(list(dict.fromkeys(wanted)), recipe=facts, resampling=resample)
    return [wants_of(one.recipe, one.sheet.name, resampling=one.resampling) for one in requests]


@contextlib.contextmanager
def _table(path: Path) -> Iterator[Callable[[Sequence[Row]], None]]:
    """A function that appends rows to a table, which gets its name when all are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, schema.names(schema.CHECKS), lineterminator="\n")
            writer.writeheader()
            yield writer.writerows
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
