"""Numbers and verdicts as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from featx.analysis.inference.metrics import METRICS
from featx.analysis.request import NO_FEATURES

MINUS = "−"
BETTER, NO_BETTER, WORSE, UNKNOWN = "better", "no better", "worse", "unknown"
VERDICTS = {
    BETTER: "better than {}",
    NO_BETTER: "no better than {}",
    WORSE: "worse than {}",
    UNKNOWN: "not compared with {}: there is no interval, or nothing to hold it against",
}
CHANCE = {"r": 0.0, "spearman": 0.0, "kendall": 0.0}  # of metrics that a constant baseline leaves undefined
TREATED = {
    "ignored": "",
    "only": "confounds only",
    "added": "confounds added",
    "features": "confounds removed from the features",
    "target": "confounds removed from the target",
    "both": "confounds removed from features and target",
}
_SHORT = {
    "spearman": "Spearman's ρ",
    "kendall": "Kendall's τ",
    "mae": "MAE",
    "rmse": "RMSE",
    "r": "r",
    "r2": "R²",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "delta_r": "r of delta with age",
    "error": "error",
    "calibration intercept": "intercept",
    "calibration slope": "slope",
    "calibration brier_skill": "Brier skill",
}


def short_metric(name: str) -> str:
    """A metric's name as a column head; an unknown one is its own name.

    Examples
    --------
    >>> short_metric("r2"), short_metric("dice")
    ('R²', 'dice')
    """
    return _SHORT.get(name, name)


def metric_title(name: str) -> str:
    """A metric's name in words."""
    return METRICS[name].title if name in METRICS else name


def higher_is_better(name: str) -> bool:
    """Whether more is better; an unknown metric counts as such."""
    return METRICS[name].higher_is_better if name in METRICS else True


def treatment(confounds: str) -> str:
    """How confounds were treated, in words; "" where they were ignored.

    Examples
    --------
    >>> treatment("both"), treatment("ignored"), treatment("doubled")
    ('confounds removed from features and target', '', 'confounds doubled')
    """
    return TREATED.get(confounds, f"confounds {confounds}")


def arm(features: str, head: str, confounds: str) -> str:
    """An arm in words.

    Examples
    --------
    >>> arm("a/b", "ridge", "ignored"), arm("-", "ridge", "only"), arm("-", "baseline", "ignored")
    ('ridge on a/b', 'ridge on confounds only', 'baseline')
    """
    words = features_words(features, confounds)
    return f"{head} on {words}" if words else head


def features_words(features: str, confounds: str) -> str:
    """What an arm's head is given, in words.

    Examples
    --------
    >>> features_words("a/b", "ignored"), features_words("a/b", "added"), features_words("-", "only")
    ('a/b', 'a/b, confounds added', 'confounds only')
    """
    return ", ".join(one for one in ("" if features == NO_FEATURES else features, treatment(confounds)) if one)


def held_against(metric: str) -> str:
    """What a metric is compared with.

    Examples
    --------
    >>> held_against("mae"), held_against("spearman")
    ('the baseline', 'chance')
    """
    return "chance" if metric in CHANCE else "the baseline"


def verdict(metric: str, low: float, high: float, baseline: float) -> str:
    """How a score stands to the baseline: better or worse only where its whole interval is.

    Examples
    --------
    >>> verdict("mae", 5.1, 6.4, 14.8), verdict("auc", 0.44, 0.71, 0.5), verdict("r2", -0.4, -0.1, 0.0)
    ('better', 'no better', 'worse')
    >>> verdict("auc", float("nan"), float("nan"), 0.5)
    'unknown'
    """
    if not all(math.isfinite(value) for value in (low, high, baseline)):
        return UNKNOWN
    if low <= baseline <= high:
        return NO_BETTER
    return BETTER if (low > baseline) == higher_is_better(metric) else WORSE


def decimals(halfwidths: Iterable[float], most: int = 6) -> int | None:
    """Decimals that tell the ends of an interval apart and little more; None where there is no interval.

    The middle one of a column's half-widths decides for all of it.

    Examples
    --------
    >>> decimals([0.6, 1.2, 0.7]), decimals([0.035]), decimals([250.0]), decimals([])
    (1, 2, 0, None)
    >>> decimals([0.00002], most=3)
    3
    """
    found = [value for value in halfwidths if math.isfinite(value) and value > 0]
    return min(most, max(0, -math.floor(math.log10(statistics.median_low(found) / 2)))) if found else None


def number(value: float, places: int | None = None) -> str:
    """A number for reading: with these decimals, or with three significant digits.

    Examples
    --------
    >>> number(5.8731, 1), number(0.91234), number(14803.4), number(-0.02, 2), number(float("nan"))
    ('5.9', '0.912', '14,803', '−0.02', '–')
    >>> number(-0.001, 1), number(1234567890123.0), number(0.0000123)
    ('0.0', '1.23e+12', '1.23e-05')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    if value != 0 and not 1e-4 <= abs(value) < 1e9 and (places is None or abs(value) >= 1e9):
        return f"{value:.3g}".replace("-", MINUS, 1) if value < 0 else f"{value:.3g}"
    if places is None:
        places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{places}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else text.replace("-", MINUS)


def with_interval(value: float, low: float, high: float, places: int | None = None) -> str:
    """A value with the ends of its interval, where it has one.

    Examples
    --------
    >>> with_interval(5.87, 5.31, 6.44, 1), with_interval(0.5, float("nan"), float("nan"), 2)
    ('5.9 [5.3, 6.4]', '0.50')
    """
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return number(value, places)
    return f"{number(value, places)} [{number(low, places)}, {number(high, places)}]"


def p_value(p: float) -> str:
    """A p or q for reading.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.5), p_value(2e-5), p_value(float("nan")), p_value(0.00996), p_value(1.0)
    ('0.031', '0.50', '< 0.001', '–', '0.010', '1.00')
    """
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def count(value: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    Examples
    --------
    >>> count(1, "image"), count(1200, "image"), count(0, "person", "people")
    ('1 image', '1,200 images', '0 people')
    """
    return f"{value:,} {one if value == 1 else many or one + 's'}"
