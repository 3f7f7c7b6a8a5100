"""featx fit: cross-validate heads on features, for every phenotype asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx import schema
from featx_cli import options as ask
from featx_cli.cluster import backend_of
from featx_cli.console import SOME_FAILED, progress, say

if TYPE_CHECKING:
    import pandas as pd

    from featx.analysis.request import Request, Result

MOST_TOLD = 10  # targets whose scores are printed


def command(
    features: ask.Files,
    target: ask.Target = [],  # noqa: B006 - typer copies it
    targets: ask.Targets = "",
    head: ask.Head = ["ridge", "logistic"],  # noqa: B006
    use: ask.Use = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("run"),
    table: ask.Table = [],  # noqa: B006
    also: ask.Also = [],  # noqa: B006
    kind: ask.Kind = [],  # noqa: B006
    where: ask.Where = "",
    site: ask.Site = "",
    group: ask.Group = "",
    age: ask.Age = "",
    folds: ask.NFolds = 10,
    inner_folds: ask.NInner = 5,
    repeats: ask.NRepeats = 1,
    scheme: ask.Scheme = "kfold",
    stratify: ask.Stratify = "",
    by_site: ask.BySite = False,
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
    correct_age: Annotated[
        list[str],
        typer.Option(
            help="A target that is an age: its bias is corrected by inner folds, beside the raw numbers.",
            rich_help_panel=ask.HOW,
        ),
    ] = [],  # noqa: B006
    permutations: Annotated[
        int,
        typer.Option(
            min=0, help="Permuted targets through the whole of ridge, for p-values.", rich_help_panel=ask.NUMBERS
        ),
    ] = 0,
    bootstrap: ask.Bootstrap = 2000,
    seed: ask.Seed = 0,
    jobs: ask.Jobs = -1,
    backend: ask.Backend = "local",
    scheduler: ask.Scheduler = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who and what would be fitted, and stop.")] = False,
) -> None:
    """Predict phenotypes from features, by nested cross-validation, and say how well, beside a baseline.

    Everything is fitted inside the folds: scaling, confounds, harmonisation, hyper-parameters, calibration. A
    participant (a family, with --group) is never on two sides; all arms are scored on the same people and folds. A
    phenotype that cannot be analysed costs only itself: it is in exclusions.csv with its reason, and the exit code
    is 3.

    Slices that a feature file keeps apart become one row per image by --aggregate; with concat, the head attention
    learns what to look at. The head direct takes a network's own prediction as it is: years, or the probability of
    the level that is meant by its name (M of F and M, 1 of 0 and 1). `featx heads` says what a head wants.

    \b
    Examples:
    featx fit features.h5 participants.tsv --target age --target sex -o run/
    featx fit features.h5 participants.tsv --table volumes=volumes.tsv --features volumes
        --features squeezenet1_0.imagenet --features volumes+squeezenet1_0.imagenet
        --target age --confound brain_volume --repeats 10 --correct-age age -o run/
    featx fit features.h5 ukb.csv --targets '*' --permutations 1000 -o phenome/
    featx fit slices.h5 participants.tsv --target age --aggregate concat --head ridge --head attention -o attention/
    featx fit features.h5 participants.tsv --target age --features sfcn.ukb_age/volume/prediction/mean
        --head direct -o direct/
    """
    from featx.analysis.fit import run
    from featx.analysis.request import Inferring
    from featx.analysis.runs.runwriter import check_output, write_run
    from featx.api.gathering import failures_of
    from featx_cli.request import make_request

    check_output(output)
    inferring = Inferring(bootstrap, permutations, tuple(correct_age))
    wish = ask.asked(locals())
    request = make_request(wish, features, inferring=inferring)
    if dry_run:
        _say_plan(request)
        return
    with backend_of(backend, scheduler, jobs), progress("fits", "fits") as update:
        result = run(request, lambda done, total, what: update(done, total, f", {what}"))
    write_run(result, output, failures_of(features[:-1]))
    _say_result(result, output)


def _say_plan(request: Request) -> None:
    from featx.analysis.fit import plan_fits

    plan, n_fits = plan_fits(request)
    say(f"{plan.flow['images_matched']} of {plan.flow['images_with_features']} images matched")
    for job in plan.jobs:
        say(
            f"  {job.target.name} ({job.target.kind}): {len(job.target.y)} images, "
            f"{len(job.design.splits)} splits, heads {', '.join(job.heads)}"
        )
    for row in failures_among(plan.exclusions):
        say(f"  {row['target']}: {row['code']}: {row['sentence']}")
    say(f"{n_fits} fits; nothing was fitted, nothing was written")


def failures_among(exclusions: Iterable[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """Rows of a whole target; that a person is left out of one is no failure."""
    return [row for row in exclusions if row["target"] and not row[schema.PARTICIPANT_ID]]


def say_targets(result: Result) -> None:
    """Who was analysed, and the scores of every target, up to `MOST_TOLD`."""
    flow, gone = result.flow, result.tables["exclusions"]
    say(f"{flow['images_matched']} of {flow['images_with_features']} images matched, {flow['people_matched']} people")
    for code, count in gone.loc[gone["target"] == "", "code"].value_counts().items():
        say(f"  {count:5d}  {code} ({schema.REASONS[code]})")
    for job in result.jobs[:MOST_TOLD]:
        target = job.target
        of = ", ".join(f"{int((target.y == at).sum())} {level}" for at, level in enumerate(target.classes))
        left = flow["images_matched"] - len(target.y)
        without = f"; {left} without a value, a confound or a fold" if left else ""
        levels = f" ({of})" if target.classes and target.kind != "ordinal" else ""
        say(f"\n{target.name} ({target.kind}): {len(target.y)} images{levels}{without}")
        _say_scores(result.tables["scores"], target.name)
        _say_gains(result.tables["comparisons"], target.name)
        _say_rest(result, target.name)
    if len(result.jobs) > MOST_TOLD:
        say(f"\n... and {len(result.jobs) - MOST_TOLD} more targets: scores.csv")


def _say_result(result: Result, output: Path) -> None:
    from featx.analysis.features import some

    say_targets(result)
    say()
    for head, sentence in dict.fromkeys((head, sentence) for _, head, sentence in result.skipped):
        names = [name for name, *why in result.skipped if why == [head, sentence]]
        say(f"  ({head}: {sentence}: {some(names, MOST_TOLD)})")
    for caution in result.cautions[:MOST_TOLD]:
        say(f"  caution: {caution.sentence}")
    say(f"\n{output}: scores.csv, comparisons.csv, predictions/, splits.csv, heads/, exclusions.csv, run.json")
    if result.jobs:
        say(f"next: {shlex.join(['featx', 'report', str(output)])}")
    bad = failures_among(result.tables["exclusions"].to_dict("records"))
    if bad:
        say(f"\nnot analysed, or not by all heads ({len(bad)} in exclusions.csv):")
        for row in bad[:MOST_TOLD]:
            say(f"  {row['target']}: {row['code']}: {row['sentence']}")
        raise typer.Exit(SOME_FAILED)


def _say_scores(scores: pd.DataFrame, target: str) -> None:
    own = scores[scores["target"] == target]
    for (features, head, confounds), rows in own.groupby(["features", "head", "confounds"], sort=False):
        told = [
            f"{row.metric} {row.value:.3f}{_interval(row)}" for row in rows.itertuples() if row.value == row.value
        ]
        treated = "" if confounds == "ignored" else f", confounds {confounds}"
        say(f"  {head:9} {features}{treated}")
        say(f"            {'  '.join(told)}")


def _say_gains(comparisons: pd.DataFrame, target: str) -> None:
    own = comparisons[(comparisons["target"] == target) & (comparisons["question"] != "over the baseline")]
    if not len(own):
        return
    first = own["metric"].iloc[0]
    say(f"  better by, in {first}, with its 95 % interval (p: corrected t-test over folds):")
    for row in own[own["metric"] == first].itertuples():
        b = row.features_b if row.question == "features" else "confounds only"
        treated = "" if row.confounds_a == "ignored" else f" (confounds {row.confounds_a})"
        p = f", p {row.p_corrected_t:.2g}" if row.p_corrected_t == row.p_corrected_t else ""
        gain = f"{row.difference:.3f}{_interval(row)}{p}"
        say(f"            {gain:40} {row.head}: {row.features_a} against {b}{treated}")


def _interval(row: Any) -> str:
    return f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else ""


def _say_rest(result: Result, target: str) -> None:
    nulls = result.tables["permutations"]
    for row in nulls[nulls["target"] == target].itertuples():
        treated = "" if row.confounds == "ignored" else f", confounds {row.confounds}"
        say(
            f"  permuted  {row.features}{treated}: {row.metric} {row.value:.3f} (by chance {row.null_mean:.3f}), "
            f"p {row.p:.2g}, q {row.q:.2g}"
        )
    bias = result.tables["age_bias"]
    bias = bias[bias["target"] == target]
    for (features, head, confounds), rows in bias.groupby(["features", "head", "confounds"], sort=False):
        told = [f"{row.correction} {row.value:.2f}" for row in rows[rows["metric"] == "delta_r"].itertuples()]
        say(f"  age bias  {head} {features} ({confounds}): r of delta with age {', '.join(told)}")
