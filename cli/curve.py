"""featx curve: how scores grow with the number of people who train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featx_cli import options as ask
from featx_cli.cluster import backend_of
from featx_cli.console import SOME_FAILED, progress, say
from featx_cli.fit import failures_among


def command(
    features: ask.Files,
    target: ask.Target = [],  # noqa: B006 - typer copies it
    targets: ask.Targets = "",
    head: ask.Head = ["ridge", "logistic"],  # noqa: B006
    use: ask.Use = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("curve"),
    sizes: Annotated[
        str,
        typer.Option(
            "--n", help="People who train: numbers (50,100,200), or shares of those who do not test (0.25,1.0)."
        ),
    ] = "0.1,0.2,0.4,0.6,0.8,1.0",
    draws: Annotated[int, typer.Option(min=1, help="Draws of people, for each number.")] = 20,
    with_replacement: Annotated[
        bool,
        typer.Option("--with-replacement", help="Draw with replacement; else small draws are within large ones."),
    ] = False,
    test_share: Annotated[
        float, typer.Option(help="Share of people who test, the same in every draw; --splits and the like go first.")
    ] = 0.2,
    table: ask.Table = [],  # noqa: B006
    also: ask.Also = [],  # noqa: B006
    kind: ask.Kind = [],  # noqa: B006
    where: ask.Where = "",
    site: ask.Site = "",
    group: ask.Group = "",
    inner_folds: ask.NInner = 5,
    scheme: ask.Scheme = "kfold",
    splits: ask.SplitsFile = None,
    split_column: ask.SplitColumn = "",
    test_where: ask.TestWhere = "",
    confound: ask.Confound = [],  # noqa: B006
    remove: ask.Remove = [],  # noqa: B006
    harmonise: ask.Harmonise = "none",
    preserve: ask.Preserve = [],  # noqa: B006
    aggregate: ask.Aggregate = "mean",
    pca: ask.Pca = None,
    calibrate: ask.Calibrate = "none",
    class_weight: ask.ClassWeight = "none",
    grid: ask.Grid = [],  # noqa: B006
    device: ask.Device = "cpu",
    seed: ask.Seed = 0,
    jobs: ask.Jobs = -1,
    backend: ask.Backend = "local",
    scheduler: ask.Scheduler = "",
) -> None:
    """Score heads on fixed test people, trained on more and more people; the same draws for all features and heads.

    Writes curve.csv, one row per draw and metric, curve.svg and exclusions.csv. Groups (a person's images, a family)
    are drawn whole; penalties are chosen within each draw.

    \b
    Example:
    featx curve features.h5 participants.tsv --target age --n 20,40,80,140 --draws 20 -o curve/
    """
    from featx.analysis.learning import Drawing, learning_curves
    from featx.analysis.runs.curvedir import check_output
    from featx.api.fitting import NOT_OF_CURVES, sizes_of, write_all
    from featx_cli.request import make_request

    check_output(output)
    request = make_request(ask.asked({**locals(), **NOT_OF_CURVES}), features)
    drawing = Drawing(sizes_of(sizes), draws, with_replacement, test_share)
    with backend_of(backend, scheduler, jobs), progress("fits", "fits") as update:
        curves = learning_curves(request, drawing, lambda done, total, what: update(done, total, f", {what}"))
    write_all(request, drawing, curves, output)
    _say_points(curves.points)
    say(f"\n{output}: curve.csv (one row per draw), curve.json, exclusions.csv, figures (.svg)")
    bad = failures_among(curves.exclusions)
    if bad:
        say(f"\nnot drawn ({len(bad)} in exclusions.csv):")
        for row in bad[:10]:
            say(f"  {row['target']}: {row['code']}: {row['sentence']}")
        raise typer.Exit(SOME_FAILED)


def _say_points(points: object) -> None:
    import pandas as pd

    if not isinstance(points, pd.DataFrame) or not len(points):
        return
    for (target, metric), own in points.groupby(["target", "metric"], sort=False):
        first = points[points["target"] == target]["metric"].iloc[0]
        if metric != first:
            continue
        say(f"\n{target}: {metric}, median over draws, by people who train ({own['n_test'].iloc[0]} test images)")
        wide = own.pivot_table(
            index=["features", "head", "confounds"], columns="n_train", values="value", aggfunc="median", sort=False
        )
        say(wide.round(3).to_string())
