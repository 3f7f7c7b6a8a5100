"""Arms of one target against each other: differences with intervals, tests, effect sizes, and which are equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.targets import BINARY
from featx.analysis.comparing.arms import CONFOUNDS, NOTHING, VOLUMES, Arm
from featx.analysis.comparing.columns import DIFFERENCES
from featx.analysis.comparing.matching import Common
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.folds.strata import CLASSES, Labels, Values
from featx.analysis.inference.metrics import METRICS, surprise
from featx.analysis.inference.paired import corrected_t, delong, difference, fold_scores
from featx.analysis.inference.permutation import fdr
from featx.analysis.inference.scores import Bootstrapped, bootstrap, by_definition
from featx.analysis.scaling import Floats

ARMS, OVER_BASELINE = "arms", "over the baseline"
GAIN_CONFOUNDS, GAIN_VOLUMES = "gain over confounds", "gain over volumes"
MOST_COMPARED = 12  # arms that are compared each with each; of more, each with the reference
MEANS = ("mae", "log_loss", "brier", "accuracy")  # metrics that are means of what each image adds
CHUNK = 256  # exchanges that are held at a time

Scored = Mapping[str, Mapping[str, Bootstrapped]]  # by arm's name and metric


@dataclass(frozen=True)
class Drawing:
    """How much is drawn.

    Attributes
    ----------
    alpha : float
        Intervals hold 1 - alpha of the draws.
    n_bootstrap, n_permutations, random_state : int
    """

    alpha: float = 0.05
    n_bootstrap: int = 2000
    n_permutations: int = 2000
    random_state: int = 0


@dataclass(frozen=True)
class Pair:
    """Two arms and what is asked of them."""

    question: str
    a: Arm
    b: Arm


def score(common: Common, arms: Sequence[Arm], drawing: Drawing) -> dict[str, dict[str, Bootstrapped]]:
    """Every metric of every arm on the same draws of people."""
    found = {}
    for arm in arms:
        own = bootstrap(
            common.kind,
            common.observed,
            arm.predicted,
            common.units,
            n_bootstrap=drawing.n_bootstrap,
            random_state=drawing.random_state,
        )
        found[arm.name] = by_definition(own) if arm.role == NOTHING else own
    return found


def ends(draws: Floats, alpha: float) -> tuple[float, float]:
    """Ends of the percentile interval that holds 1 - alpha of the draws; NaN where most draws are.

    Examples
    --------
    >>> ends(np.arange(201.0), 0.1)
    (10.0, 190.0)
    """
    defined = draws[np.isfinite(draws)]
    if not len(draws) or len(defined) <= len(draws) / 2:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [50 * alpha, 100 - 50 * alpha])
    return float(low), float(high)


def gap(a: Bootstrapped, b: Bootstrapped, metric: str, alpha: float) -> tuple[float, float, float]:
    """How much better one arm is than another on the same draws, with the ends of the interval.

    Examples
    --------
    >>> gap(Bootstrapped(3.0, np.array([3.0, 3.5])), Bootstrapped(4.0, np.array([4.0, 4.5])), "mae", 0.05)
    (1.0, 1.0, 1.0)
    """
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    return sign * (a.value - b.value), *ends(sign * (a.draws - b.draws), alpha)


# --- who is compared with whom --------------------------------------------------------------------------------


def pairs_of(ranked: Sequence[Arm], reference: Arm) -> Iterator[Pair]:
    """What is asked: each arm against each (of many, against the reference), and what each adds to what is simpler.

    Parameters
    ----------
    ranked : sequence of Arm
        Best first. Of several arms on confounds, or on volumes, the best is what others are held against.
    reference : Arm
    """
    heads = [arm for arm in ranked if arm.role != NOTHING]
    if len(heads) <= MOST_COMPARED:
        yield from (Pair(ARMS, a, b) for a, b in combinations(heads, 2))
    else:
        yield from (Pair(ARMS, reference, arm) for arm in heads if arm is not reference)
    for question, role in ((OVER_BASELINE, NOTHING), (GAIN_CONFOUNDS, CONFOUNDS), (GAIN_VOLUMES, VOLUMES)):
        simple = best_of(ranked, role)
        others = heads if question == OVER_BASELINE else [arm for arm in heads if arm.role not in (role, CONFOUNDS)]
        if simple is not None:
            yield from (Pair(question, arm, simple) for arm in others)


def best_of(ranked: Sequence[Arm], *roles: str) -> Arm | None:
    """The first arm of a role."""
    return next((arm for arm in ranked if arm.role in roles), None)


# --- the table ------------------------------------------------------------------------------------------------


def differences(
    common: Common, pairs: Sequence[Pair], scored: Scored, drawing: Drawing, margin: float | None
) -> pd.DataFrame:
    """All pairs in all metrics; q is left empty (`with_q`).

    Parameters
    ----------
    common : Common
    pairs : sequence of Pair
    scored : mapping
        From `score`.
    drawing : Drawing
    margin : float, optional
        Differences in the first metric up to this one count as none.

    Returns
    -------
    DataFrame
        Columns of `featx.analysis.comparing.columns.DIFFERENCES`.
    """
    arms = {arm.name: arm for pair in pairs for arm in (pair.a, pair.b)}
    folds = {name: fold_means(common, arm) for name, arm in arms.items()}
    first = next(iter(next(iter(scored.values()))))
    rows = []
    exchanged = _exchanges(common, pairs, drawing)
    for at, pair in enumerate(pairs):
        for metric, own in scored[pair.a.name].items():
            other = scored[pair.b.name][metric]
            _, low, high = gap(own, other, metric, drawing.alpha)
            found = difference(own, other, higher_is_better=METRICS[metric].higher_is_better)
            tested = corrected_t(
                folds[pair.a.name][metric], folds[pair.b.name][metric], n_train=common.n_train, n_test=common.n_test
            )
            p, effect = exchanged.get(metric, {}).get(at, (np.nan, np.nan))
            rows.append(
                {
                    "target": common.name,
                    "question": pair.question,
                    "arm_a": pair.a.name,
                    "arm_b": pair.b.name,
                    "metric": metric,
                    "value_a": own.value,
                    "value_b": other.value,
                    "difference": found.value,
                    "low": low,
                    "high": high,
                    "better": "a" if low > 0 else "b" if high < 0 else "",
                    "p_bootstrap": found.p,
                    "p_corrected_t": tested.p,
                    "p_delong": _delong(common, pair) if metric == "auc" else np.nan,
                    "p_permutation": p,
                    "effect": effect,
                    "q": np.nan,
                    "equal": "" if margin is None or metric != first else equal_within(low, high, margin),
                }
            )
    return pd.DataFrame(rows, columns=schema.names(DIFFERENCES))


def equal_within(low: float, high: float, margin: float) -> str:
    """Whether an interval lies within the margin; "" where there is no interval.

    Examples
    --------
    >>> equal_within(-0.2, 0.4, 0.5), equal_within(-0.2, 0.6, 0.5), equal_within(float("nan"), 0.1, 0.5)
    ('yes', 'no', '')
    """
    if np.isnan([low, high]).any():
        return ""
    return "yes" if -margin < low and high < margin else "no"


def with_q(table: pd.DataFrame, one_fold: Sequence[str] = ()) -> pd.DataFrame:
    """False discovery rate over all tests of a metric; a pair that is asked about twice is one test.

    Parameters
    ----------
    table : DataFrame
        Of all targets.
    one_fold : sequence of str
        Targets of which one fold tested once: of these it is p_bootstrap that counts.
    """
    p = table["p_corrected_t"].mask(table["target"].isin(one_fold), table["p_bootstrap"])
    pair = [tuple(sorted(both)) for both in zip(table["arm_a"], table["arm_b"], strict=True)]
    tests = pd.DataFrame({"target": table["target"], "pair": pair, "metric": table["metric"], "p": p})
    once = tests.drop_duplicates(["target", "pair", "metric"])
    q = once.groupby("metric", sort=False)["p"].transform(lambda one: fdr(one.to_numpy(dtype=np.float64)))
    told = once.assign(q=q).set_index(["target", "pair", "metric"])["q"]
    return table.assign(q=told.loc[pd.MultiIndex.from_frame(tests[["target", "pair", "metric"]])].to_numpy())


def fold_means(common: Common, arm: Arm) -> dict[str, Floats]:
    """Every metric in every fold of every repeat by itself, mean over seeds, which are no draws of people."""
    found: dict[str, list[float]] = {}
    for repeat, fold in enumerate(common.fold):
        seeds = arm.predicted[repeat * arm.n_seeds : (repeat + 1) * arm.n_seeds]
        for number in np.unique(fold[fold != TRAIN_ONLY]):
            rows = np.flatnonzero(fold == number)
            each = fold_scores(common.kind, common.observed, [one[rows] for one in seeds], [rows] * len(seeds))
            for metric, values in each.items():
                found.setdefault(metric, []).append(float(values.mean()))
    return {metric: np.array(values) for metric, values in found.items()}


def _delong(common: Common, pair: Pair) -> float:
    tested = common.fold[0] != TRAIN_ONLY
    if common.kind != BINARY or pair.b.role == NOTHING or len(set(common.units[tested])) < tested.sum():
        return float("nan")  # the baseline ranks nobody; rows of one person are not independent
    a, b = (arm.predicted[0][tested, 1] for arm in (pair.a, pair.b))
    return delong(common.observed[tested] == 1, a, b, groups=common.units[tested]).p


# --- errors that change places --------------------------------------------------------------------------------


def row_errors(kind: str, metric: str, observed: Values, predicted: Floats) -> Floats:
    """What every image adds to a metric that is a mean, as an error.

    Parameters
    ----------
    kind : str
        Of the target.
    metric : str
        One of `MEANS`.
    observed : ndarray of shape (n,)
    predicted : ndarray of shape (n,) or (n, n_classes)
        NaN stays NaN.

    Examples
    --------
    >>> row_errors("continuous", "mae", np.array([1.0, 2.0]), np.array([1.5, 1.0])).tolist()
    [0.5, 1.0]
    """
    if kind not in CLASSES:
        return np.asarray(np.abs(observed - predicted))
    if metric == "log_loss":
        return surprise(observed, predicted)
    if metric == "accuracy":
        wrong = (predicted.argmax(axis=1) != observed).astype(np.float64)
        return np.asarray(np.where(np.isnan(predicted).any(axis=1), np.nan, wrong))
    squares = (predicted - (observed[:, None] == np.arange(predicted.shape[1]))) ** 2
    return np.asarray(squares[:, 1] if squares.shape[1] == 2 else squares.sum(axis=1))


def errors_of(common: Common, arm: Arm, metric: str) -> Floats:
    """Errors of every image in every repeat, mean over seeds, shape (n_repeats, n); NaN where it was not tested."""
    each = np.array([row_errors(common.kind, metric, common.observed, one) for one in arm.predicted])
    return np.asarray(each.reshape(len(common.fold), arm.n_seeds, -1).mean(axis=1))


def _exchanges(common: Common, pairs: Sequence[Pair], drawing: Drawing) -> dict[str, dict[int, tuple[float, float]]]:
    """By metric and place of the pair: p of the exchanged errors, Cohen's d."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for metric in (one for one in MEANS if pairs and common.kind in METRICS[one].kinds):
        errors = {arm.name: errors_of(common, arm, metric) for pair in pairs for arm in (pair.a, pair.b)}
        gained = [errors[pair.b.name] - errors[pair.a.name] for pair in pairs]
        p = exchange_p(gained, common.units, n=drawing.n_permutations, random_state=drawing.random_state)
        found[metric] = {at: (float(p[at]), effect_of(one, common.units)) for at, one in enumerate(gained)}
    return found


def exchange_p(gained: Sequence[Floats], people: Labels, *, n: int, random_state: int = 0) -> Floats:
    """Paired permutation test of mean errors: would the difference be as large if arms were exchanged at random?

    Each person's errors change places between two arms, or do not, by the toss of a coin, all images and repeats of
    the person together (as Leonardsen 2025 compares networks).

    Parameters
    ----------
    gained : sequence of ndarray of shape (n_repeats, n)
        Of every pair of arms, error of one less that of the other; NaN where a repeat did not test an image.
    people : ndarray of shape (n,)
    n : int
        Exchanges; the same for every pair.
    random_state : int

    Returns
    -------
    ndarray of shape (n_pairs,)
        Two-sided, what was observed counted as one of them: (1 + as large) / (1 + n); NaN without exchanges.

    Examples
    --------
    >>> people = np.array(list("abcdefgh"))
    >>> exchange_p([np.ones((1, 8)), np.zeros((1, 8))], people, n=99).round(2).tolist()
    [0.01, 1.0]
    """
    _, person = np.unique(people.astype(str), return_inverse=True)
    totals = np.array([_totals(one, person) for one in gained])
    observed = np.abs(totals.sum(axis=1))
    rng = np.random.default_rng(random_state)
    as_large = np.zeros(len(totals))
    for start in range(0, n, CHUNK):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (min(CHUNK, n - start), totals.shape[1]))
        as_large += (np.abs(signs @ totals.T) >= observed * (1 - 1e-9)).sum(axis=0)
    return np.asarray((1 + as_large) / (1 + n)) if n else np.full(len(totals), np.nan)


def _totals(gained: Floats, person: NDArray[np.intp]) -> Floats:
    """What each person adds to the mean over repeats of the mean over images."""
    tested = np.isfinite(gained)
    shares = np.where(tested, gained, 0.0) / np.maximum(tested.sum(axis=1, keepdims=True), 1) / len(gained)
    return np.asarray(np.bincount(person, shares.sum(axis=0)), dtype=np.float64)


def effect_of(gained: Floats, people: Labels) -> float:
    """Cohen's d of paired errors: mean over standard deviation of what people gain (d_z, Lakens 2013).

    Parameters
    ----------
    gained : ndarray of shape (n_repeats, n)
        NaN where a repeat did not test an image.
    people : ndarray of shape (n,)
        Their images and repeats are averaged first.

    Returns
    -------
    float
        NaN with fewer than two people, or where all gain the same.

    Examples
    --------
    >>> round(effect_of(np.array([[0.0, 2.0, 3.0]]), np.array(["a", "b", "c"])), 2)
    1.09
    """
    _, person = np.unique(people.astype(str), return_inverse=True)
    tested = np.isfinite(gained)
    count = np.bincount(person, tested.sum(axis=0))
    total = np.bincount(person, np.where(tested, gained, 0.0).sum(axis=0))
    means = total[count > 0] / count[count > 0]
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    return float(means.mean() / spread) if spread > 0 else float("nan")
