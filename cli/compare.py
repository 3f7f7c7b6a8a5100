"""featx compare: runs against each other, on the same people and the same folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli.console import progress, say

if TYPE_CHECKING:
    from featx.analysis.comparing.comparison import Comparison

MOST_SAID = 10  # targets whose answer is printed


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of `featx fit`, `featx train` and `featx curve`.", metavar="RUN")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("compare"),
    reference: Annotated[
        str,
        typer.Option(
            help="The arm that the answer is about: its name, or a part of that only it has. The best arm on frozen "
            "features if not given."
        ),
    ] = "",
    volumes: Annotated[
        list[str],
        typer.Option(
            help="Features that count as volumes, where they are no table of `featx fit --table`. May be repeated."
        ),
    ] = [],  # noqa: B006 - typer copies it
    margin: Annotated[
        list[str],
        typer.Option(
            help="Arms whose difference lies within this are equal: 0.5, or TARGET=0.5, in the unit of the target's "
            "first metric. May be repeated."
        ),
    ] = [],  # noqa: B006
    alpha: Annotated[
        float, typer.Option(help="Intervals hold 1 - alpha; also the level of the test of ranks.")
    ] = 0.05,
    shared_people: Annotated[
        bool,
        typer.Option(
            "--shared-people", help="Compare on the people that all runs have, where they do not have the same."
        ),
    ] = False,
    over_n: Annotated[
        bool,
        typer.Option(
            "--over-n",
            help="Runs are of cohorts of several sizes: those of the same people are held against each other, the "
            "largest are ranked, and all are points of curves.",
        ),
    ] = False,
    features: Annotated[
        list[Path],
        typer.Option(
            help="A feature file of a run, which remembers what extraction cost. Found beside the run if "
            "not given. May be repeated."
        ),
    ] = [],  # noqa: B006
    figures: Annotated[bool, typer.Option(help="Write the figures as files, too, with their numbers.")] = True,
    privacy: Annotated[
        bool,
        typer.Option(
            "--privacy", help="Leave out of the page what quotes people: cautions of runs are told by their kind."
        ),
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of people for the intervals.")] = 2000,
    permutations: Annotated[int, typer.Option(min=0, help="Exchanges of people's errors.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of draws and exchanges.")] = 0,
) -> None:
    """Compare the arms of several runs, each with each: differences with tests, ranking, gains, curves, costs.

    The runs must have scored the same people on the same folds (fit them with --splits of one of them); else the call
    is refused and says which differ. A run on the same test people that was trained on fewer is a point of a curve,
    beside folders of `featx curve`: so it is told from how many people on training from scratch overtakes frozen
    features. Runs of whole cohorts of several sizes say so with --over-n. Runs with other repeats of the folds are
    compared on those that both have.

    Writes compare.html, the answer first, and what it shows as tables: ranking.csv, differences.csv, mean_ranks.csv,
    curves.csv, crossings.csv, costs.csv, compare.json; and its figures as SVG, PDF and CSV in figures/.

    \b
    Examples:
    featx compare run/ trained/ -o compare/
    featx compare run/ trained/ --reference 'ridge on sfcn.ukb_age' --margin age=0.5 --margin sex=0.02
    featx compare --over-n n100/run n100/trained n400/run n400/trained -o growth/
    """
    from featx.analysis.comparing.columns import COMPARE_HTML
    from featx.analysis.comparing.comparison import compare
    from featx.analysis.comparing.differing import Drawing
    from featx.analysis.comparing.wish import Wish
    from featx.analysis.comparing.writing import check_output, write_comparison
    from featx.api.showing import margins_of
    from featx.report.comparing.comparison import write_comparison_page

    check_output(output)
    wish = Wish(
        reference=reference,
        volumes=tuple(volumes),
        margins=margins_of(margin),
        shared_people=shared_people,
        over_n=over_n,
        drawing=Drawing(alpha, bootstrap, permutations, seed),
        features=tuple(features),
    )
    with progress("comparing", "targets") as update:
        found = compare(folders, wish, lambda done, total, what: update(done, total, f", {what}" if what else ""))
    write_comparison(found, output)
    write_comparison_page(found, output / COMPARE_HTML, with_figures=figures, is_private=privacy)
    _say_answers(found)
    say(
        f"\n{output}: {', '.join(sorted(path.name for path in output.iterdir() if path.suffix in ('.csv', '.json')))}"
    )
    say(str(output / COMPARE_HTML))


def _say_answers(found: Comparison) -> None:
    from featx.report.comparing.standings import answers_of, crossing_sentence

    answers = answers_of(found)
    for one in answers[:MOST_SAID]:
        say(f"\n{one.target}: {one.headline}")
        say(f"  {one.detail}")
        if one.gain:
            say(f"  {one.gain}")
    if len(answers) > MOST_SAID:
        say(f"\n{len(answers) - MOST_SAID} more targets stand on the page")
    if len(found.crossings):
        say("")
    for row in found.crossings.to_dict("records")[:MOST_SAID]:
        say(crossing_sentence(row))
    told = [*(f"{one.code}{f' ({one.target})' if one.target else ''}: {one.sentence}" for one in found.cautions)]
    told += [f"not compared: {sentence}" for sentence in found.left_out]
    if told:
        say("\nto be known:")
    for sentence in told:
        say(f"  {sentence}")
