"""featx init: a study to begin with, commented, from flags or a few questions; or one of a published work."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from featx.errors import StudyError
from featx_cli.console import INTERRUPTED, say

NETWORKS = ["squeezenet1_0.imagenet", "squeezenet1_0.imagenet@random:0"]
USUAL = ("age", "sex")  # columns that are proposed first
MOST_PROPOSED = 4
_MOST_SHOWN = 20


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; it must be new.")] = Path(
        "study.toml"
    ),
    images: Annotated[
        list[str], typer.Option(help="A folder, a glob in quotes, or a table of images. May be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    phenotypes: Annotated[str, typer.Option(help="The table of people.")] = "",
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="A column of that table. May be repeated.")
    ] = [],  # noqa: B006
    network: Annotated[
        list[str], typer.Option("--network", "-n", help="NAME, or NAME@random:0. May be repeated.")
    ] = [],  # noqa: B006
    table: Annotated[
        list[str], typer.Option(help="NAME=FILE: a table of numbers per person (volumes, say). May be repeated.")
    ] = [],  # noqa: B006
    protocol: Annotated[
        str, typer.Option(help="The study of a published work, with your images, phenotypes and targets in it.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Say which works there are, and stop.")] = False,
) -> None:
    """Write a study: one file that says who, which networks, phenotypes and heads, and all else that may be asked.

    Every key stands in it, with its meaning; those that you do not need are commented out. On a terminal, without
    options, it asks; it looks at the columns of the table of people for what to propose. Nothing is overwritten.

    \b
    Examples:
    featx init
    featx init --images BRAINS/ --phenotypes participants.tsv --target age --target sex --table volumes=volumes.tsv
    featx init --protocol holderrieth2022 --images images.csv --phenotypes participants.tsv -o arms.toml
    featx run study.toml --dry-run
    """
    from featx.study.writing import commented, protocols, with_values
    from featx.study.writing import protocol as text_of

    if list_:
        for name, title in protocols().items():
            say(f"{name}: {title}")
        return
    if output.exists():
        raise StudyError(f"a study must be a new file; {output} is there; choose another -o, or move it away")
    given = {"images": images, "phenotypes": phenotypes, "target": target, "network": network, "table": table}
    if protocol:
        text = with_values(text_of(protocol), _of_protocol(given, output.parent, protocol))
    else:
        if not any(given.values()) and sys.stdin.isatty():
            try:
                given = ask()
            except typer.Abort:
                raise typer.Exit(INTERRUPTED) from None
        text = commented(values_of(given, output.parent), shlex.quote(output.name))
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("x", encoding="utf-8") as file:
        file.write(text)
    say(f"{output}: look through it, then `featx run {shlex.quote(str(output))} --dry-run`")


def values_of(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a study says, of what was given; placeholders for what it needs and was not given.

    Parameters
    ----------
    given : dict
        Values of the options.
    folder : Path
        Of the study, which names files relative to itself.
    """
    tables = {name: _beside(path, folder) for name, path in map(_named, given["table"])}
    images = [_beside(one, folder) for one in given["images"]]
    is_table_alone = bool(tables) and not images and not given["network"]
    cohort: dict[str, Any] = (
        {} if is_table_alone else {"images": images[0] if len(images) == 1 else images or "BRAINS/"}
    )
    cohort["phenotypes"] = _beside(given["phenotypes"] or "participants.tsv", folder)
    return {
        "cohort": cohort,
        "phenotypes": {"targets": given["target"] or ["age"]},
        "networks": {} if is_table_alone else {"name": given["network"] or NETWORKS},
        "features": {"tables": tables} if tables else {},
    }


def _of_protocol(given: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    told = [word for word in ("network", "table") if given[word]]
    if told:
        raise StudyError(
            f"a published study must keep its own networks and tables; --{told[0]} was given with {name!r}; leave it "
            "out, and change the file afterwards"
        )
    values: dict[str, Any] = {}
    if given["images"]:
        images = [_beside(one, folder) for one in given["images"]]
        values["cohort"] = {"images": images[0] if len(images) == 1 else images}
    if given["phenotypes"]:
        values.setdefault("cohort", {})["phenotypes"] = _beside(given["phenotypes"], folder)
    if given["target"]:
        values["phenotypes"] = {"targets": given["target"]}
    return values


def _named(word: str) -> tuple[str, str]:
    name, sign, path = word.partition("=")
    if not (name and sign and path):
        raise StudyError(f"--table must be NAME=FILE; got {word!r}; write, say, volumes=volumes.tsv")
    return name, path


def _table_word(word: str) -> str:
    """An answer that names a table; another one is told why, and asked for again."""
    try:
        _named(word)
    except StudyError as error:
        raise typer.BadParameter(str(error)) from error
    return word


def _table_or_none(word: str) -> str:
    return word if word == "-" else _table_word(word)


def _beside(path: str, folder: Path) -> str:
    """A path as a file in another folder tells it; addresses and absolute paths stay."""
    if "://" in path or os.path.isabs(path) or folder == Path("."):
        return path
    return os.path.relpath(path, folder)


# --- questions ------------------------------------------------------------------------------------------------


def ask() -> dict[str, Any]:
    """Values of the options, by a few questions with proposals."""
    say("A few questions; what you do not answer can be changed in the file.\n")
    images = typer.prompt("Images (a folder, a glob, or a table of images; - for none)", default="BRAINS/")
    phenotypes = typer.prompt("Table of people", default="participants.tsv")
    columns = _columns(Path(phenotypes))
    if columns:
        say(f"  its columns: {', '.join(columns[:_MOST_SHOWN])}{' ...' if len(columns) > _MOST_SHOWN else ''}")
    target = typer.prompt("Predict which of them", default=" ".join(proposed(columns) or ["age"]))
    asked = "A table of regional volumes or other numbers, NAME=FILE"
    if images == "-":  # something must be there to predict from
        table = typer.prompt(asked, default=None, value_proc=_table_word)
    else:
        table = typer.prompt(f"{asked} (- for none)", default="-", value_proc=_table_or_none)
    network = NETWORKS
    if images != "-":
        network = typer.prompt("Networks (`featx networks list`)", default=" ".join(NETWORKS)).split()
    return {
        "images": [] if images == "-" else [images],
        "phenotypes": phenotypes,
        "target": target.split(),
        "network": [] if images == "-" else network,
        "table": [] if table == "-" else [table],
    }


def _columns(path: Path) -> list[str]:
    """Columns that could be predicted: no ids, more than one value, and not another one for every person."""
    from featx.analysis.cohort.people import IDS
    from featx.analysis.cohort.phenotypes import read_phenotypes
    from featx.errors import FeatxError

    try:
        table = read_phenotypes(path).table
    except (FeatxError, OSError) as error:
        say(f"  note: {error}")
        return []
    return [str(name) for name in table if name not in IDS and table[name].nunique() > 1]


def proposed(columns: Sequence[str]) -> list[str]:
    """Columns that are proposed as targets: age and sex, whatever their capitals; else the first ones.

    Examples
    --------
    >>> proposed(["site", "Sex", "AGE"]), proposed(["memory", "pain"])
    (['AGE', 'Sex'], ['memory', 'pain'])
    """
    usual = [name for word in USUAL for name in columns if name.lower() == word]
    return usual or list(columns[:MOST_PROPOSED])
