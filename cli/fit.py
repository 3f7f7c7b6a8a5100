"""featx fit: cross-validate heads on features, for every phenotype asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx import schema
from featx_cli.console import SOME_FAILED, progress, say

if TYPE_CHECKING:
    from featx.analysis.request import Result

REASONS_NOT_FAILURES = ("missing-value",)  # a person without a value is left out, the target is not


def command(
    features: list[Path] = typer.Argument(
        help="Feature files, then the phenotype table (.csv or .tsv) as the last one."
    ),
    target: list[str] = typer.Option([], "--target", "-t", help="A column of the phenotype table. May be repeated."),
    head: list[str] = typer.Option(["ridge", "logistic"], help="ridge, logistic, boosting. May be repeated."),
    use: list[str] = typer.Option(
        [],
        "--features",
        help="What is put side by side: feature sets joined by '+', wildcards, or the beginning of a name (a whole "
        "network); 'each' for every set in turn, 'all' for all together. May be repeated, each is scored in turn. "
        "Without it: each network.",
    ),
    output: Path = typer.Option(Path("run"), "--output", "-o", help="The folder to write."),
    kind: list[str] = typer.Option([], help="TARGET=continuous|binary|multiclass, where it is not to be inferred."),
    folds: int = typer.Option(10, min=2, help="Outer folds, which give the out-of-fold predictions."),
    inner_folds: int = typer.Option(5, min=2, help="Inner folds, on which hyper-parameters are chosen."),
    seed: int = typer.Option(
        0, min=0, max=2**32 - 1, help="Of folds, intervals and trees. The same seed gives the same bytes."
    ),
    bootstrap: int = typer.Option(2000, min=100, help="Draws of people for the 95 % intervals."),
    jobs: int = typer.Option(-1, "--jobs", "-j", help="Processes; -1 takes all cores. Results do not depend on it."),
) -> None:
    """Predict phenotypes from features, by nested cross-validation, and say how well, beside a baseline.

    Scaling and hyper-parameters are fitted inside the folds; a participant is never on two sides; all feature
    combinations are scored on the same people and folds. A phenotype that cannot be analysed costs only itself: it
    is in exclusions.csv with its reason, and the exit code is 3.

    \b
    Example:
    featx fit features.h5 participants.tsv --target age --target sex --head ridge --head logistic -o run/
    """
    from featx import store
    from featx.analysis.cohort.tables import file_sha256, read_phenotypes
    from featx.analysis.features import select_features
    from featx.analysis.fit import run
    from featx.analysis.request import Request
    from featx.analysis.rundir import check_output, write_run
    from featx.errors import AnalysisError

    if len(features) < 2:
        raise AnalysisError(
            "`featx fit` needs feature files and then a phenotype table; got only one file; "
            "write, say, featx fit features.h5 participants.tsv --target age"
        )
    *files, table = features
    check_output(output)
    holder = _holders(files)
    combinations = select_features(list(holder), use)
    request = Request(
        sets={name: store.read_set(holder[name], name) for names in combinations.values() for name in names},
        combinations=combinations,
        phenotypes=read_phenotypes(table),
        targets=target,
        heads=head,
        kinds=_kinds(kind),
        n_splits=folds,
        n_inner=inner_folds,
        n_bootstrap=bootstrap,
        random_state=seed,
        n_jobs=jobs,
        phenotypes_name=table.name,
        phenotypes_sha256=file_sha256(table),
    )
    with progress("fits", "fits") as update:
        result = run(request, lambda done, total, what: update(done, total, f", {what}"))
    write_run(result, output, [row for path in files for row in store.read_failures(path)])
    _say_result(result, output)


def _holders(files: list[Path]) -> dict[str, Path]:
    from featx import store
    from featx.errors import StoreError

    holder: dict[str, Path] = {}
    for path in files:
        for name in store.list_sets(path):
            if name in holder:
                raise StoreError(
                    f"a feature set must be in one file; {name!r} is in {holder[name]} and {path}; give one of them"
                )
            holder[name] = path
    return holder


def _kinds(words: list[str]) -> dict[str, str]:
    from featx.errors import AnalysisError

    pairs = [word.rpartition("=") for word in words]
    for word, (name, _, _) in zip(words, pairs, strict=True):
        if not name:
            raise AnalysisError(f"--kind must be TARGET=KIND; got {word!r}; write, say, --kind income=multiclass")
    return {name: kind for name, _, kind in pairs}


def _say_result(result: Result, output: Path) -> None:
    flow, gone = result.flow, result.exclusions
    say(f"{flow['images_matched']} of {flow['images_with_features']} images matched, {flow['people_matched']} people")
    for code, count in gone.loc[gone["target"] == "", "code"].value_counts().items():
        say(f"  {count:5d}  {code} ({schema.REASONS[code]})")
    for facts in result.targets:
        of = ", ".join(f"{count} {level}" for level, count in zip(facts.classes, facts.counts, strict=True))
        empty = int(((gone["target"] == facts.name) & (gone["code"] == "missing-value")).sum())
        without = f"; {empty} without a value" if empty else ""
        say(f"\n{facts.name} ({facts.kind}): {facts.n_images} images{f' ({of})' if of else ''}{without}")
        rows = result.scores[result.scores["target"] == facts.name]
        for (features, head), scores in rows.groupby(["features", "head"], sort=False):
            told = [
                f"{row.metric} {row.value:.3f}" + (f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else "")
                for row in scores.itertuples()
                if row.value == row.value
            ]
            say(f"  {head:9} {features}")
            say(f"            {'  '.join(told)}")
    say()
    for name, head in result.skipped:
        say(f"  ({head} is not for {name})")
    bad = gone[(gone["target"] != "") & ~gone["code"].isin(REASONS_NOT_FAILURES)]
    say(f"\n{output}: scores.csv, predictions/, splits.csv, heads/, exclusions.csv, run.json")
    say(f"next: featx report {output}")
    if len(bad):
        say(f"\n{len(bad)} targets could not be analysed:")
        for row in bad.itertuples():
            say(f"  {row.target}: {row.code}: {row.sentence}")
        raise typer.Exit(SOME_FAILED)
