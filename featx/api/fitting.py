"""fit and curve: scores of heads on features, and how they grow with the people who train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from featx.analysis.fit import run
from featx.analysis.learning import Curves, Drawing, learning_curves
from featx.analysis.request import Inferring, Request, Result
from featx.analysis.runs import curvedir
from featx.analysis.runs.bundle import Bundle
from featx.analysis.runs.rundir import Run, read_run
from featx.analysis.runs.runwriter import check_output, write_run
from featx.api.added import home_of
from featx.api.asking import asked_of, make_request
from featx.api.frames import IN_MEMORY, Table
from featx.api.gathering import Features, failures_of
from featx.api.words import Words, many
from featx.errors import AnalysisError

Progress = Callable[[int, int, str], None]
IN_PYTHON = "featx.{}(...) in Python, on a table or features that were in memory"
# What `featx fit` asks and a learning curve does not.
NOT_OF_CURVES = {"age": "", "folds": 5, "repeats": 1, "stratify": "target", "by_site": False, "bootstrap": 0}


@dataclass(frozen=True, repr=False)
class Fitted(Run):
    """A run, with the heads that were fitted on all people who train.

    Attributes
    ----------
    heads : mapping of str to Bundle
        By their names in a run's folder heads/, such as "age--ridge--squeezenet1_0.imagenet"; `featx.predict` takes
        them. `path` is "." where nothing was written.
    """

    heads: Mapping[str, Bundle] = field(default_factory=dict)

    def __repr__(self) -> str:
        """What it is of; its tables are shown by their names."""
        targets = ", ".join(self.predictions)
        return f"<a run of featx at {str(self.path)!r}: {targets}; scores, predictions, {len(self.heads)} heads>"


def fit(
    features: Features,
    phenotypes: Table,
    *,
    target: str | Sequence[str] = (),
    targets: str = "",
    head: str | Sequence[str] = ("ridge", "logistic"),
    use: str | Sequence[str] = (),
    output: Path | str | None = None,
    table: Words = (),
    also: Table | Sequence[Table] = (),
    kind: Words = (),
    where: str = "",
    site: str = "",
    group: str = "",
    age: str = "",
    folds: int = 10,
    inner_folds: int = 5,
    repeats: int = 1,
    scheme: str = "kfold",
    stratify: str = "",
    by_site: bool = False,
    splits: Table | None = None,
    split_column: str = "",
    test_where: str = "",
    confound: str | Sequence[str] = (),
    remove: str | Sequence[str] = (),
    harmonise: str = "none",
    preserve: str | Sequence[str] = (),
    aggregate: str = "mean",
    pca: float | None = None,
    calibrate: str = "none",
    class_weight: str = "none",
    grid: Words = (),
    device: str = "cpu",
    correct_age: str | Sequence[str] = (),
    permutations: int = 0,
    bootstrap: int = 2000,
    seed: int = 0,
    jobs: int = -1,
    home: Path | str | None = None,
    on_progress: Progress | None = None,
) -> Fitted:
    """Predict phenotypes from features, by nested cross-validation, and say how well: `featx fit` from Python.

    Every option means what it means there, and has its default (`featx fit --help`). The same request gives the same
    run, byte by byte, from both.

    Parameters
    ----------
    features : Path, str, sequence of them, or mapping of str to DataFrame or FeatureSet
        Feature files. Or what is in memory, by name: a table of numbers, one row per person or image, whose ids are
        columns (participant_id, session_id, image_id) or the index; a feature set of `featx.store.read_set`.
    phenotypes : Path, str or DataFrame
        The phenotype table; a table in memory has its ids as above.
    target, head, use, confound, remove, preserve, correct_age : str or sequence of str
        `use` is what the option --features says.
    table : mapping of str to Path, str or DataFrame, or sequence of str
        {"volumes": "volumes.tsv"}, or ["volumes=volumes.tsv"]. Likewise `kind` and `grid`.
    also : Path, str or DataFrame, or sequence of them
    splits : Path, str or DataFrame, optional
        splits.csv of an earlier run, or its table `splits`.
    output : Path or str, optional
        The folder to write; without it nothing stays on disk.
    jobs : int
        Processes; -1 takes all cores. Within ``joblib.parallel_config("dask")`` they are those of a cluster.
    home : Path or str, optional
        featx's own folder, where networks that were added are looked up.
    on_progress : callable, optional
        Called as (fits done, fits in all, what is being fitted).

    Returns
    -------
    Fitted
        The tables of the run: `scores`, `comparisons`, `predictions[target]`, `exclusions` ...; and its `heads`.

    Raises
    ------
    AnalysisError, CohortError, StoreError
        As `featx fit` refuses it.

    Examples
    --------
    >>> import featx, numpy as np, pandas as pd
    >>> rng, people = np.random.default_rng(0), [f"sub-{at:02d}" for at in range(30)]
    >>> features = pd.DataFrame(rng.normal(size=(30, 3)), index=people, columns=["a", "b", "c"])
    >>> ages = pd.DataFrame({"participant_id": people, "age": 50 + 9 * features["a"].to_numpy()})
    >>> run = featx.fit({"mine": features}, ages, target="age", folds=3, bootstrap=0, jobs=1)
    >>> best = run.scores.query("head == 'ridge' and metric == 'r'")
    >>> round(best["value"].item(), 2), list(run.heads)
    (1.0, ['age--ridge--mine'])
    """
    wish = asked_of(locals())
    place = None if output is None else Path(output)
    if place is not None:
        check_output(place)
    inferring = Inferring(bootstrap, permutations, tuple(many(correct_age)))
    request = make_request(wish, features, phenotypes, home=home_of(home), inferring=inferring)
    result = run(_told(request, "fit"), on_progress)
    if not result.jobs:
        _refuse_nothing(result.tables["exclusions"].to_dict("records"))
    return _written(result, failures_of(features), place)


def _told(request: Request, verb: str) -> Request:
    """A request that says it was made in Python, where no call of the command line could make it."""
    files = [request.phenotypes_name, *(one["file"] for one in request.sources)]
    return replace(request, command=IN_PYTHON.format(verb)) if IN_MEMORY in files else request


def _refuse_nothing(exclusions: Sequence[Mapping[Any, Any]]) -> None:
    """Where no target could be analysed an empty table would pass for an answer; the command line ends with a 3."""
    of_targets = [one["sentence"] for one in exclusions if not one["image_id"] and not one["participant_id"]]
    first = of_targets[0] if of_targets else "see their values and ids"
    raise AnalysisError(f"a target must be one that can be analysed; none is, the first because: {first}")


def _written(result: Result, failures: Sequence[Mapping[str, str]], output: Path | None) -> Fitted:
    """Write a run and read it back, so that its tables are those of the folder, whether that stays or not."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "run" if output is None else output
        write_run(result, place, failures)
        found = read_run(place)
    tables = {one.name: getattr(found, one.name) for one in fields(Run)}
    keys = [(one["target"], one["head"], one["features"], one["confounds"]) for one in found.facts["heads"]]
    stems = [Path(one["file"]).stem for one in found.facts["heads"]]
    heads = {stem: result.bundles[key] for stem, key in zip(stems, keys, strict=True)}
    return Fitted(**{**tables, "path": output or Path()}, heads=heads)


# --- curves ---------------------------------------------------------------------------------------------------


def curve(
    features: Features,
    phenotypes: Table,
    *,
    target: str | Sequence[str] = (),
    targets: str = "",
    head: str | Sequence[str] = ("ridge", "logistic"),
    use: str | Sequence[str] = (),
    output: Path | str | None = None,
    sizes: str | float | Sequence[int | float] = "0.1,0.2,0.4,0.6,0.8,1.0",
    draws: int = 20,
    with_replacement: bool = False,
    test_share: float = 0.2,
    table: Words = (),
    also: Table | Sequence[Table] = (),
    kind: Words = (),
    where: str = "",
    site: str = "",
    group: str = "",
    inner_folds: int = 5,
    scheme: str = "kfold",
    splits: Table | None = None,
    split_column: str = "",
    test_where: str = "",
    confound: str | Sequence[str] = (),
    remove: str | Sequence[str] = (),
    harmonise: str = "none",
    preserve: str | Sequence[str] = (),
    aggregate: str = "mean",
    pca: float | None = None,
    calibrate: str = "none",
    class_weight: str = "none",
    grid: Words = (),
    device: str = "cpu",
    seed: int = 0,
    jobs: int = -1,
    home: Path | str | None = None,
    on_progress: Progress | None = None,
) -> Curves:
    """Score heads on fixed test people, trained on more and more people: `featx curve` from Python.

    Parameters
    ----------
    features, phenotypes, home, on_progress
        As in `fit`, and so is every option of that name.
    sizes : int or float, sequence of these, or str
        What the option --n says: numbers of people, or shares (a float up to 1.0) of those who do not test.
    draws : int
        Of people, for each size.
    with_replacement : bool
    test_share : float
    output : Path or str, optional
        The folder to write, with its figures; without it nothing is written.

    Returns
    -------
    Curves
        `points`, a DataFrame with one row per draw and metric; `exclusions`.

    Raises
    ------
    AnalysisError, CohortError, StoreError
        As `featx curve` refuses it.

    Examples
    --------
    >>> import featx
    >>> curves = featx.curve("features.h5", "people.tsv", target="age", sizes=[20, 40, 80])  # doctest: +SKIP
    >>> curves.points.query("metric == 'mae'").groupby("n_train")["value"].median()  # doctest: +SKIP
    """
    wish = asked_of({**locals(), **NOT_OF_CURVES})
    place = None if output is None else Path(output)
    if place is not None:
        curvedir.check_output(place)
    request = make_request(wish, features, phenotypes, home=home_of(home))
    drawing = Drawing(sizes_of(sizes), draws, with_replacement, test_share)
    curves = learning_curves(request, drawing, on_progress)
    if curves.points.empty:
        _refuse_nothing(curves.exclusions)
    if place is not None:
        write_all(request, drawing, curves, place)
    return curves


def sizes_of(sizes: str | float | Sequence[int | float]) -> tuple[int | float, ...]:
    """Numbers of people, or shares of them, as they are or as the option --n says them.

    Raises
    ------
    AnalysisError
        A word is no number.

    Examples
    --------
    >>> sizes_of("50,0.5"), sizes_of([50, 0.5]), sizes_of(50)
    ((50, 0.5), (50, 0.5), (50,))
    """
    if not isinstance(sizes, str):
        return tuple(many(sizes))
    try:
        return tuple(float(word) if "." in word else int(word) for word in sizes.split(",") if word.strip())
    except ValueError:
        raise AnalysisError(
            f"--n must be numbers of people or shares, separated by commas; got {sizes!r}; write 50,100 or 0.5,1.0"
        ) from None


def write_all(request: Request, drawing: Drawing, curves: Curves, output: Path) -> None:
    """Curves as a folder, with their figures."""
    from featx.report.figures.canvas import as_file
    from featx.report.figures.curves import learning_curves as drawn_curves

    curvedir.write_curves(request, drawing, curves, output)
    for name, figure in drawn_curves(curves.points, request.units).items():
        (output / f"{name}.svg").write_bytes(as_file(figure, "svg"))
