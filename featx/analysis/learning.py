"""Learning curves: scores on fixed test people, against the number of people who trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import Exclusion, exclusion
from featx.analysis.crossval import BASELINE, IGNORED, RESIDUAL, Answer, cross_validate
from featx.analysis.fit import make_data, make_task
from featx.analysis.folds.splits import Split, inner_folds
from featx.analysis.folds.strata import CLASSES, NUMBERS, Rows, make_folds, smallest
from featx.analysis.inference.metrics import METRICS, metrics_of
from featx.analysis.jobs import make_plan
from featx.analysis.request import NO_FEATURES, Job, Request, check_request
from featx.analysis.rows import concat
from featx.analysis.suiting import check_features, passes, suits
from featx.errors import AnalysisError, TargetError

MOST_PARTS = 20  # of equal size that people are dealt to, of which some test

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Drawing:
    """How training people are drawn.

    Attributes
    ----------
    sizes : tuple of int or float
        Numbers of people (groups, where there are any), or shares of those who do not test (a float up to 1.0).
    n_draws : int
        Of each size.
    with_replacement : bool
        Else the people of a small size are among those of the next larger one of the same draw.
    test_share : float
        Of the people, where the splits do not say who tests; taken as the nearest fraction of 20 parts or fewer.
    """

    sizes: tuple[int | float, ...]
    n_draws: int = 20
    with_replacement: bool = False
    test_share: float = 0.2


@dataclass(frozen=True)
class Curves:
    """What came out.

    Attributes
    ----------
    points : DataFrame
        Columns of `featx.schema.CURVE`.
    exclusions : tuple of dict
        Columns of `featx.schema.EXCLUSIONS`.
    """

    points: pd.DataFrame
    exclusions: tuple[Exclusion, ...]


def learning_curves(request: Request, drawing: Drawing, on_progress: Progress | None = None) -> Curves:
    """Score every arm on the same test people, trained on the same draws of people.

    Parameters
    ----------
    request : Request
        Its outer folds say who tests where they are given (fold 0 of the first repeat); else a stratified share does.
    drawing : Drawing
    on_progress : callable, optional
        Called as (fits done, fits in all, what is being fitted).

    Raises
    ------
    AnalysisError
        The drawing makes no sense. A size that a target has not people enough for is a row of the exclusions.
    """
    check_request(request)
    check_features(request)
    check_drawing(drawing)
    plan = make_plan(request)
    exclusions = list(plan.exclusions)
    drawn = {job.target.name: draw_splits(request, job, drawing, exclusions) for job in plan.jobs}
    todo = [
        (one, job, head)
        for one in passes(request)
        for job in plan.jobs
        for head in job.heads
        if drawn[job.target.name] and suits(request, job, head, one)
    ]
    total = sum(len(drawn[job.target.name]) for _, job, _ in todo)
    done = 0
    parts = [_baseline_rows(job, drawn[job.target.name]) for job in plan.jobs if drawn[job.target.name]]
    data, made = None, ""
    for one, job, head in todo:
        if data is None or made != one.features:
            data, made = make_data(request, plan, one.features)[0], one.features
        task = make_task(request, plan, head, job.target.kind, one, classes=job.target.classes)
        own = data.take(job.target.rows)

        def step(what: str = f"{job.target.name} from {one.features}, {head}") -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total, what)

        for splits in _by_size(drawn[job.target.name]):
            only = [split for _, split in splits]
            try:
                answers = cross_validate(own, job.target.y, only, task, n_jobs=request.n_jobs, on_fit=step)
            except AnalysisError as error:
                sentence = f"{head} on {one.features}, confounds {one.confounds}, size {splits[0][0]}: {error}"
                exclusions.append(exclusion("unfitted", sentence, target=job.target.name))
                continue
            parts.append(_rows(job, splits, answers, (one.features, head, one.confounds)))
    return Curves(concat(parts, schema.CURVE), tuple(exclusions))


def _by_size(splits: Sequence[tuple[int, Split]]) -> list[list[tuple[int, Split]]]:
    """Splits size by size: what cannot be fitted to few people can be to more."""
    places = sorted({split.fold for _, split in splits})
    return [[one for one in splits if one[1].fold == place] for place in places]


def check_drawing(drawing: Drawing) -> None:
    """Refuse sizes, draws or a share that make no sense."""
    if not drawing.sizes:
        raise AnalysisError("a learning curve must have sizes; it has none; give --n, say 50,100,200 or 0.25,0.5,1.0")
    for size in drawing.sizes:
        if size <= 0 or (isinstance(size, float) and size > 1.0):
            raise AnalysisError(
                f"a size must be a number of people, or a share above 0 and up to 1.0; got {size}; write 50, or 0.5"
            )
    if drawing.n_draws < 1:
        raise AnalysisError(f"a learning curve must have a draw or more; it has {drawing.n_draws}; choose 1 or more")
    if not 1 / MOST_PARTS <= drawing.test_share <= 0.5:
        raise AnalysisError(
            f"the share of test people must be from {1 / MOST_PARTS} to 0.5; it is {drawing.test_share}; "
            "choose, say, 0.2"
        )


# --- who trains, who tests ------------------------------------------------------------------------------------


def draw_splits(request: Request, job: Job, drawing: Drawing, exclusions: list[Exclusion]) -> list[tuple[int, Split]]:
    """Numbers of people and splits for one target: repeat is the draw, fold the place of the size.

    A size that cannot be drawn goes to the exclusions.
    """
    try:
        test = _test_rows(request, job, drawing)
    except TargetError as error:
        exclusions.append(exclusion(error.code, error.sentence, target=job.target.name))
        return []
    pool = np.setdiff1d(np.arange(len(job.target.y)), test)
    units = job.units.astype(str)
    n_pool = len(np.unique(units[pool]))
    problem = (job.target.y, units, job.target.kind, job.target.name)
    splits = []
    for at, size in enumerate(drawing.sizes):
        n = round(size * n_pool) if isinstance(size, float) else int(size)
        try:
            if n > n_pool and not drawing.with_replacement:
                raise TargetError("too-few-people", _too_many(job.target.name, n, n_pool))
            for draw in range(drawing.n_draws):
                train = _draw(job, pool, n, (request.folding.random_state, draw), drawing.with_replacement)
                _check_classes(job, train)
                splits.append((n, Split(draw, at, train, test, inner_folds(problem, request.folding, train))))
        except TargetError as error:
            splits = [one for one in splits if one[1].fold != at]
            exclusions.append(exclusion(error.code, f"size {n}: {error.sentence}", target=job.target.name))
    return splits


def _too_many(name: str, n: int, n_pool: int) -> str:
    return (
        f"a size must not be above the number of people who do not test, {n_pool} for {name!r}; got {n}; "
        "choose smaller sizes, or draw with replacement"
    )


def _check_classes(job: Job, train: Rows) -> None:
    if job.target.kind in CLASSES and len(np.unique(job.target.y[train])) < len(job.target.classes):
        raise TargetError(
            "too-few-people",
            f"every class must be among the people who are drawn to train; {job.target.name!r} has one without; "
            "choose larger sizes",
        )


def _test_rows(request: Request, job: Job, drawing: Drawing) -> Rows:
    name, kind = job.target.name, job.target.kind
    if request.folding.scheme != "kfold":
        test = np.flatnonzero(job.design.fold[0] == 0)
        if not len(test):
            raise TargetError(
                "too-few-people",
                f"the test people of a learning curve must have values; {name!r} has none in fold 0 of the splits "
                "that were given; give other splits, or let a share of the people test",
            )
        return test
    share = Fraction(drawing.test_share).limit_denominator(MOST_PARTS)
    least = smallest(job.target.y, job.units, kind)
    if least < share.denominator:
        raise TargetError(
            "too-few-people",
            f"a target must have {share.denominator} people or more{'' if kind in NUMBERS else ' in each class'} for "
            f"{share} of them to test; {name!r} has {least}; choose another share, or add people",
        )
    state = request.folding.random_state
    fold = make_folds(job.target.y, job.units, kind=kind, n_splits=share.denominator, random_state=state)
    return np.flatnonzero(fold < share.numerator)


def _draw(job: Job, pool: Rows, n: int, seed: tuple[int, int], with_replacement: bool) -> Rows:
    """Rows of n units of the pool, classes in about their shares; a unit's rows come together."""
    rng = np.random.default_rng(list(seed))
    units, first, unit = np.unique(job.units[pool].astype(str), return_index=True, return_inverse=True)
    codes = np.asarray(job.target.y[pool][first]) if job.target.kind in CLASSES else np.zeros(len(units))
    if with_replacement:
        chosen = np.concatenate(
            [rng.choice(np.flatnonzero(codes == code), share) for code, share in _shares(codes, n).items() if share]
        )
    else:
        key = rng.random(len(units))
        place = np.empty(len(units))
        for code in np.unique(codes):
            own = np.flatnonzero(codes == code)
            place[own[np.argsort(key[own])]] = (np.arange(len(own)) + 0.5) / len(own)
        chosen = np.lexsort((key, place))[:n]
    rows_of = [pool[unit == one] for one in range(len(units))]
    return np.concatenate([rows_of[one] for one in chosen])


def _shares(codes: NDArray[np.generic], n: int) -> dict[float, int]:
    """How many of each class, in the pool's shares, n in all."""
    labels, counts = np.unique(codes, return_counts=True)
    exact = n * counts / counts.sum()
    shares = np.floor(exact).astype(int)
    for at in np.argsort(shares - exact, kind="stable")[: n - shares.sum()]:
        shares[at] += 1
    return {float(label): int(share) for label, share in zip(labels, shares, strict=True)}


# --- rows -----------------------------------------------------------------------------------------------------


def _rows(
    job: Job, splits: Sequence[tuple[int, Split]], answers: Sequence[Answer], label: tuple[str, str, str]
) -> pd.DataFrame:
    rows = []
    for (n, split), answer in zip(splits, answers, strict=True):
        observed, predicted = job.target.y[split.test], answer.predicted
        if label[2] in RESIDUAL:
            observed, predicted = observed - answer.offset, predicted - answer.offset
        whole = np.ones((1, len(split.test)))
        for metric, one in metrics_of(job.target.kind).items():
            value = float(one.function(observed, predicted, whole)[0])
            if label[1] == BASELINE and METRICS[metric].baseline is not None:
                value = float(METRICS[metric].baseline or np.nan)
            rows.append((split.repeat, n, len(split.train), len(split.test), metric, value))
    table = pd.DataFrame(rows, columns=["draw", "n_train", "n_images", "n_test", "metric", "value"])
    table = table.assign(
        target=job.target.name, kind=job.target.kind, features=label[0], head=label[1], confounds=label[2]
    )
    return table[schema.names(schema.CURVE)]


def _baseline_rows(job: Job, splits: Sequence[tuple[int, Split]]) -> pd.DataFrame:
    answers = []
    for _, split in splits:
        own = job.target.y[split.train]
        n = len(split.test)
        if job.target.kind in NUMBERS:
            predicted = np.full(n, float(own.mean()))
        else:
            shares = np.bincount(own.astype(np.int64), minlength=len(job.target.classes)) / len(own)
            predicted = np.tile(shares, (n, 1))
        answers.append(Answer(predicted, np.zeros(n)))
    return _rows(job, splits, answers, (NO_FEATURES, BASELINE, IGNORED))
