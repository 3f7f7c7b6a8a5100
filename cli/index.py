"""featx index: find images and give them ids."""

from __future__ import annotations

from pathlib import Path

import typer

from featx import schema
from featx_cli.console import SOME_FAILED, say, say_reasons, write_failures


def command(
    source: str = typer.Argument(help="A folder (BIDS or not), a glob in quotes, or a .csv/.tsv with a path column."),
    output: Path = typer.Option(Path("images.csv"), "--output", "-o", help="The table to write."),
    space: str = typer.Option("", help="Keep images of this BIDS space, such as MNI152NLin6Asym."),
    desc: str = typer.Option("", help="Keep images with this BIDS desc, such as brain or preproc."),
    suffix: str = typer.Option("", help="Keep images with this BIDS suffix, such as T1w."),
    session: str = typer.Option("", help="Keep images of this session, such as 01 or ses-01."),
    entity: list[str] = typer.Option([], help="Any other BIDS entity as NAME=VALUE, such as res=2. May be repeated."),
    id_pattern: str = typer.Option(
        "",
        help="Regular expression searched in each path, with a group (?P<participant_id>...) and, if wanted, "
        "session_id and run. Without it: BIDS names, else file stems, else folder names.",
    ),
) -> None:
    """Find images and write one row for each: image_id, participant_id, session_id, run, path, member.

    An id is participant + session + run, never the file's base name. A file that cannot be opened keeps its row and
    is told in a table beside the output (exit code 3).

    \b
    Example:
    featx index derivatives/ --space MNI152NLin6Asym --desc brain --suffix T1w -o images.csv
    """
    from featx.errors import IndexingError
    from featx.images.index import check_readable, index_images, write_index

    named = {"space": space, "desc": desc, "suffix": suffix, "ses": session}
    filters = {name: value for name, value in named.items() if value}
    for one in entity:
        name, sign, value = one.partition("=")
        if not sign:
            raise IndexingError(f"--entity must be NAME=VALUE; got {one!r}; write, say, res=2")
        filters[name] = value
    images = index_images(source, filters=filters, id_pattern=id_pattern or None)
    write_index(images, output)
    failures = [
        {
            schema.IMAGE_ID: image.image_id,
            "network": "",
            "step": "index",
            "code": "missing-file",
            "sentence": f"an image must be a readable file; {image.path} is not: {why}; mend it, or index again",
        }
        for image in images
        if (why := check_readable(image))
    ]
    table = output.with_suffix(".missing.csv")
    write_failures(failures, table)
    people = len({image.participant_id for image in images})
    sessions = len({(image.participant_id, image.session_id) for image in images if image.session_id})
    say(
        f"{len(images)} images of {people} participants"
        + (f" in {sessions} sessions" if sessions else "")
        + f": {output}"
    )
    say(f"  first: {images[0].image_id} = {images[0].path}")
    if failures:
        say(f"{len(failures)} of them cannot be opened:")
        say_reasons(failures, table)
        raise typer.Exit(SOME_FAILED)
