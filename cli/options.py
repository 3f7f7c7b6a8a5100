"""Options that several verbs share; `featx_cli.request` makes a request of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featx.api.asking import Asked

WHO, HOW, FOLDS, CONFOUNDS, NUMBERS = "Who", "What is fitted", "Folds", "Confounds and sites", "Numbers"

Files = Annotated[
    list[Path],
    typer.Argument(help="Feature files, then the phenotype table (.csv, .tsv, .parquet, .xlsx) as the last one."),
]
Target = Annotated[
    list[str], typer.Option("--target", "-t", help="A column of the phenotype table. May be repeated.")
]
Targets = Annotated[
    str,
    typer.Option(
        help="Wildcard for many targets at once, such as 'bone_*', or '*' for all columns but ids and confounds."
    ),
]
Head = Annotated[
    list[str], typer.Option(help="A head (`featx heads` lists them), or sklearn:module.Class. May be repeated.")
]
Use = Annotated[
    list[str],
    typer.Option(
        "--features",
        help="What is put side by side: feature sets joined by '+', wildcards, or the beginning of a name (a whole "
        "network, a table); 'each' for every set in turn, 'all' for all together. May be repeated, each is scored "
        "in turn. Without it: each network, each table. Slices that are kept apart go by their stored name "
        "(.../slices) or by that of their aggregate (.../mean).",
    ),
]
Aggregate = Annotated[
    str,
    typer.Option(
        help="How slices that a feature file keeps apart (featx extract --pool slices) become one row per image: "
        "mean, max, std, or concat, which stands them one behind the other, as the head attention wants them.",
        rich_help_panel=HOW,
    ),
]
Table = Annotated[
    list[str],
    typer.Option("--table", help="NAME=FILE: a table of numbers per person (volumes, say) as a feature set NAME."),
]
Also = Annotated[
    list[Path],
    typer.Option(
        help="A table with more columns of the same people: confounds, sites, targets. With a column image_id, as in "
        "qc.csv of `featx qc`, each row is of that image alone. May be repeated."
    ),
]
Kind = Annotated[
    list[str],
    typer.Option(help="TARGET=continuous|ordinal|binary|multiclass, where it is not to be inferred."),
]
Where = Annotated[
    str, typer.Option(help="Who is analysed, such as \"site == 'HH' and age >= 40\".", rich_help_panel=WHO)
]
Site = Annotated[str, typer.Option(help="The column of sites or scanners.", rich_help_panel=WHO)]
Group = Annotated[
    str, typer.Option(help="A column that links people (families): none is ever divided.", rich_help_panel=WHO)
]
Age = Annotated[
    str, typer.Option(help="The column of ages: scores by band of age, and age-matched.", rich_help_panel=WHO)
]
Scheme = Annotated[
    str,
    typer.Option("--scheme", help="kfold, or site: leave one site out.", rich_help_panel=FOLDS),
]
NFolds = Annotated[
    int, typer.Option(min=2, help="Outer folds, which give the out-of-fold predictions.", rich_help_panel=FOLDS)
]
NInner = Annotated[
    int, typer.Option(min=2, help="Inner folds, on which hyper-parameters are chosen.", rich_help_panel=FOLDS)
]
NRepeats = Annotated[int, typer.Option(min=1, help="Repeats with other folds.", rich_help_panel=FOLDS)]
Stratify = Annotated[
    str,
    typer.Option(
        help="'target': each target has folds of its own, stratified by it. 'none' or a column: all targets share "
        "one set of folds, and ridge is fitted for all of them at once. Default: target up to 20 targets, else none.",
        rich_help_panel=FOLDS,
    ),
]
BySite = Annotated[bool, typer.Option("--by-site", help="Stratify folds by site as well.", rich_help_panel=FOLDS)]
SplitsFile = Annotated[
    Path | None,
    typer.Option("--splits", help="splits.csv of an earlier run: the very same folds.", rich_help_panel=FOLDS),
]
SplitColumn = Annotated[
    str,
    typer.Option(
        help="A column of 'train' and 'test', or of folds' names, each test in turn.", rich_help_panel=FOLDS
    ),
]
TestWhere = Annotated[
    str,
    typer.Option(
        help="The test cohort, such as \"cohort == 'OASIS'\"; all others train, also who has no value there.",
        rich_help_panel=FOLDS,
    ),
]
Confound = Annotated[
    list[str],
    typer.Option(
        "--confound",
        help="A column: numbers are linear, text is a category; COLUMN:spline, COLUMN:square, COLUMN:category. With "
        "any, three arms are fitted: confounds only, features only, confounds + features. May be repeated.",
        rich_help_panel=CONFOUNDS,
    ),
]
Remove = Annotated[
    list[str],
    typer.Option(
        help="A further arm with confounds removed from: features, target, both. May be repeated.",
        rich_help_panel=CONFOUNDS,
    ),
]
Harmonise = Annotated[
    str, typer.Option(help="none, or combat (needs --site); in every fold anew.", rich_help_panel=CONFOUNDS)
]
Preserve = Annotated[
    list[str], typer.Option(help="Confounds whose effect ComBat preserves.", rich_help_panel=CONFOUNDS)
]
Pca = Annotated[
    float | None,
    typer.Option(
        help="Principal components first: how many, or below 1 their share of variance.", rich_help_panel=HOW
    ),
]
Calibrate = Annotated[
    str,
    typer.Option(help="Probabilities, by inner folds: none, platt or isotonic.", rich_help_panel=HOW),
]
ClassWeight = Annotated[
    str, typer.Option(help="none, or balanced: classes weigh equally in training.", rich_help_panel=HOW)
]
Grid = Annotated[
    list[str],
    typer.Option(help='HEAD={"parameter": [values]} for an sklearn: head. May be repeated.', rich_help_panel=HOW),
]
Device = Annotated[str, typer.Option(help="cpu or cuda, for boosting.", rich_help_panel=HOW)]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**32 - 1,
        help="Of folds, draws and trees. The same seed gives the same bytes.",
        rich_help_panel=NUMBERS,
    ),
]
Bootstrap = Annotated[
    int, typer.Option(min=0, help="Draws of people for the 95 % intervals.", rich_help_panel=NUMBERS)
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "--n-jobs",
        "-j",
        help="Processes; -1 takes all cores. Results do not depend on it.",
        rich_help_panel=NUMBERS,
    ),
]
Backend = Annotated[
    str,
    typer.Option(help="local, or dask: the same fits on a dask.distributed cluster.", rich_help_panel=NUMBERS),
]
Scheduler = Annotated[
    str,
    typer.Option(help="Address of a running dask scheduler (tcp://...) or its file; without: a local cluster."),
]


def asked(values: Mapping[str, Any]) -> Asked:
    """The shared options among all the options of a verb."""
    from featx.api.asking import asked_of

    return asked_of(values)
