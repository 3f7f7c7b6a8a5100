"""featx index: find images and give them ids; say what is there, and what is not."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx_cli.console import LOG_EVERY_S, SOME_FAILED, cache_dir, progress, say, say_reasons

if TYPE_CHECKING:
    from featx.images.finding.summary import Overview
    from featx.images.image import Image

MOST_SHOWN = 8  # sessions, modalities


def command(
    source: list[str] = typer.Argument(
        help="A folder (BIDS or not), a glob in quotes, a URL of either, a .csv/.tsv with a path column; or several."
    ),
    output: Path = typer.Option(Path("images.csv"), "--output", "-o", help="The table to write."),
    space: str = typer.Option("", help="Keep images of this BIDS space, such as MNI152NLin6Asym."),
    desc: str = typer.Option("", help="Keep images with this BIDS desc, such as brain or preproc."),
    suffix: str = typer.Option("", help="Keep images with this BIDS suffix, such as T1w."),
    session: str = typer.Option("", help="Keep images of this session, such as 01 or ses-01."),
    entity: list[str] = typer.Option(
        [], help="Any other BIDS entity as NAME=VALUE, such as res=2; VALUE 'none' for without it. May be repeated."
    ),
    file: str = typer.Option(
        "",
        help="Which file of each folder or archive, as the end of its path: mri/norm.mgz of FreeSurfer's subjects, "
        "T1/T1_brain.nii.gz of UK Biobank's bulk files.",
    ),
    id_pattern: str = typer.Option(
        "",
        help="Regular expression searched in each path, with a group (?P<participant_id>...) and, if wanted, "
        "session_id and run. Without it: BIDS names, else file stems, else folder names.",
    ),
    duplicates: bool = typer.Option(
        False, "--duplicates", help="Also read all files of one size, and tell which hold the same bytes."
    ),
    cache: bool = typer.Option(
        True, help="Keep what the folders held, in featx's cache, and list only those that changed since."
    ),
) -> None:
    """Find images and write one row for each: image_id, participant_id, session_id, run, path, member, mask.

    An id is participant + session + run, never the file's base name. A file that cannot be opened keeps its row and
    is told in a table beside the output (exit code 3). Another table beside it, OUTPUT.overview.csv, has a row for
    every participant, those without an image too: images, sessions, modalities that the folder holds, whether
    participants.tsv knows them, and images that are the same.

    \b
    Example:
    featx index derivatives/ --space MNI152NLin6Asym --desc brain --suffix T1w -o images.csv
    """
    from featx.api.finding import beside, filters_of, find_all, write_overview
    from featx.images.finding.summary import find_identical

    with _counting("files listed") as on_progress:
        found = find_all(
            source,
            output,
            filters=filters_of({"space": space, "desc": desc, "suffix": suffix, "ses": session}, entity),
            file=file,
            id_pattern=id_pattern,
            home=cache_dir() if cache else None,
            on_progress=on_progress,
        )
    identical: tuple[tuple[str, ...], ...] = ()
    if duplicates:
        with progress("compare", "images") as update:
            identical = find_identical(found.images, lambda done, total: update(done, total, ""))
    write_overview(found, identical, output)
    missing, table = beside(output)
    if found.unlisted:
        say(f"note: {found.unlisted}")
    _say_found(found.images, found.overview, output)
    _say_secrets(found.images, output)
    for sentence in found.told:
        say(f"  {sentence}")
    _say_people(found.overview)
    _say_same(found.overview.same_file, "are one file")
    _say_same(identical, "hold the same bytes")
    say(f"  participant by participant: {table}")
    if found.failures:
        say(f"{len(found.failures)} of them cannot be opened:")
        say_reasons(found.failures, missing)
        raise typer.Exit(SOME_FAILED)


@contextlib.contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    """A function (count) that shows how far something without a known end is: on a terminal, else now and then."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("") as status:
            yield lambda count: status.update(f"{count} {what}")
        return
    last = time.monotonic()

    def update(count: int) -> None:
        nonlocal last
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            print(f"{count} {what}", file=sys.stderr, flush=True)

    yield update


# --- the summary ----------------------------------------------------------------------------------------------


def _say_found(images: Sequence[Image], overview: Overview, output: Path) -> None:
    from featx.images.image import where

    sessions = f" in {overview.n_sessions} sessions" if overview.n_sessions else ""
    runs = f", {overview.n_runs} with a run" if overview.n_runs else ""
    say(f"{overview.n_images} images of {overview.n_participants} participants{sessions}{runs}: {output}")
    say(f"  first: {images[0].image_id} = {where(images[0])}")


def _say_secrets(images: Sequence[Image], output: Path) -> None:
    from featx.images.image import shown

    signed = sum(any(shown(place) != str(place) for place in (image.path, image.mask)) for image in images)
    if signed:
        say(
            f"note: {signed} URLs hold a user or a query, which may be a password or a signature; {output} keeps "
            "them whole, for they cannot be fetched without; show it to nobody who must not have them"
        )


def _say_people(overview: Overview) -> None:
    """Sessions, modalities, and who is missing where."""
    from featx.images.finding.naming import some

    if overview.n_sessions:
        say(f"  participants by session: {_counts(overview.by_session)}")
    if overview.by_modality:
        in_tree = sum(bool(person.modalities) for person in overview.people)
        say(f"  participants by modality, of {in_tree} who have any: {_counts(overview.by_modality)}")
    for people, what in (
        (overview.several_sessions, "with several sessions"),
        (overview.several_images, "with several images of one session"),
        (overview.without_image, "with files here, but no image in the table"),
        (overview.rows_without_image, "in participants.tsv, but without an image in the table"),
        (overview.images_without_row, "with an image, but not in participants.tsv"),
    ):
        if people:
            say(f"  {what}: {len(people)} ({some(people)})")


def _say_same(groups: Sequence[Sequence[str]], what: str) -> None:
    if groups:
        shown = "; ".join(" = ".join(group[:MOST_SHOWN]) for group in groups[:3])
        more = f"; and {len(groups) - 3} times more" if len(groups) > 3 else ""
        say(f"  images that {what}: {shown}{more}")


def _counts(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name or '(none)'} {count}" for name, count in list(counts.items())[:MOST_SHOWN])
    more = f" and {len(counts) - MOST_SHOWN} more" if len(counts) > MOST_SHOWN else ""
    return shown + more
