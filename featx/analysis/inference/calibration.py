"""Probabilities that mean what they say: maps fitted on inner out-of-fold ones, and how far off some are.

Two maps: Platt's, a logistic curve with two numbers, and isotonic regression, a rising staircase with ramps that
needs more people (Niculescu-Mizil & Caruana 2005, ICML: about a thousand). For more than two classes each has a map
of its own against the rest, and the mapped probabilities are divided by their sum (Zadrozny & Elkan 2002, KDD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from featx.analysis.inference.points import calibration_points
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, BundleError, known

PLATT, ISOTONIC = "platt", "isotonic"
METHODS = (PLATT, ISOTONIC)
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Platt:
    """Calibrated log odds are ``slope * log odds + intercept``."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Isotonic:
    """Corners of a rising curve, straight between them and level beyond; each of shape (n_corners,)."""

    probability: Floats
    calibrated: Floats


@dataclass(frozen=True)
class Calibration:
    """A fitted map of probabilities.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    n_classes : int
    curves : tuple of Platt or Isotonic
        One for two classes (for the second of them), else one per class.
    """

    method: str
    n_classes: int
    curves: tuple[Platt | Isotonic, ...]

    def apply(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities, of the same shape (n, n_classes); see `calibrate`."""
        return calibrate(self, probabilities)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; `restore_calibration` reads it back, equal to the last digit."""
        curves = [
            {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(one).items()}
            for one in self.curves
        ]
        return {"method": self.method, "n_classes": self.n_classes, "curves": curves}


def restore_calibration(stored: Mapping[str, Any]) -> Calibration:
    """A calibration from what `Calibration.as_json` gave.

    Raises
    ------
    BundleError
        It is not of that form.

    Examples
    --------
    >>> restore_calibration({"method": "platt", "n_classes": 2, "curves": [{"slope": 0.8, "intercept": 0.1}]}).curves
    (Platt(slope=0.8, intercept=0.1),)
    """
    try:
        method, n_classes = stored["method"], int(stored["n_classes"])
        curves = tuple(_read_curve(method, one) for one in stored["curves"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"a stored calibration must hold method, n_classes and curves; it does not ({error!r}); "
            "fit the head again"
        ) from error
    if method not in METHODS or len(curves) != (1 if n_classes == 2 else n_classes):
        raise BundleError(
            f"a stored calibration must have a known method and as many curves as it needs; it is {method!r} with "
            f"{len(curves)} for {n_classes} classes; {known(METHODS)}; fit the head again"
        )
    return Calibration(method, n_classes, curves)


def _read_curve(method: str, stored: Mapping[str, Any]) -> Platt | Isotonic:
    if method == PLATT:
        return Platt(float(stored["slope"]), float(stored["intercept"]))
    corners = (np.asarray(stored[name], dtype=np.float64) for name in ("probability", "calibrated"))
    return Isotonic(*corners)


# --- fit ------------------------------------------------------------------------------------------------------


def fit_calibration(method: str, observed: NDArray[np.int64], probabilities: Floats) -> Calibration:
    """Fit the map of probabilities of all classes.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    observed : ndarray of shape (n,)
        Class codes of training people.
    probabilities : ndarray of shape (n, n_classes)
        Inner out-of-fold probabilities of the same people.

    Raises
    ------
    AnalysisError
        Unknown method; a probability is not finite; a class is nobody's, or everybody's.

    Examples
    --------
    >>> p = np.array([0.2, 0.4, 0.6, 0.9])
    >>> found = fit_calibration("platt", np.array([0, 1, 0, 1]), np.column_stack([1 - p, p]))
    >>> found.apply(np.array([[0.5, 0.5]])).round(2).tolist()
    [[0.52, 0.48]]
    """
    if method not in METHODS:
        raise AnalysisError(f"a calibration must be known; {method!r} is not; {known(METHODS)}")
    n_classes = probabilities.shape[1]
    fit = fit_platt if method == PLATT else fit_isotonic
    classes = [1] if n_classes == 2 else range(n_classes)
    return Calibration(method, n_classes, tuple(fit(observed == one, probabilities[:, one]) for one in classes))


def fit_platt(observed: ArrayLike, probability: ArrayLike) -> Platt:
    """Platt's logistic curve of the log odds (Platt 1999, Advances in Large Margin Classifiers, 61).

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class. The curve is fitted to his smoothed targets, (n1 + 1) / (n1 + 2) for the n1
        rows in it and 1 / (n0 + 2) for the n0 others, so that separated classes have a finite slope.
    probability : array-like of shape (n,)
        Predicted probability of the class; nearer to 0 or 1 than 2e-16 counts as that. Where all are equal, the
        slope is 0.

    Raises
    ------
    AnalysisError
        As for `fit_calibration`.

    Examples
    --------
    >>> fitted = fit_platt([0, 0, 1, 1], [0.3, 0.4, 0.6, 0.7])
    >>> round(fitted.slope, 2), abs(round(fitted.intercept, 2))
    (1.6, 0.0)
    """
    positive, score = _checked(observed, probability)
    n1, n0 = positive.sum(), (~positive).sum()
    target = np.where(positive, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    return Platt(*_logistic_line(_log_odds(score), target))


def fit_isotonic(observed: ArrayLike, probability: ArrayLike) -> Isotonic:
    """Isotonic regression of the class on its probability.

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class.
    probability : array-like of shape (n,)
        Predicted probability of the class. New ones beyond the range of these get the value at its end; the curve
        can say exactly 0 or 1.

    Raises
    ------
    AnalysisError
        As for `fit_calibration`.

    Examples
    --------
    >>> curve = fit_isotonic([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.8])
    >>> curve.probability.tolist(), curve.calibrated.tolist()
    ([0.1, 0.2, 0.4, 0.8], [0.0, 0.5, 0.5, 1.0])
    """
    positive, score = _checked(observed, probability)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score, positive.astype(np.float64))
    return Isotonic(fitted.X_thresholds_, fitted.y_thresholds_)


def _checked(observed: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    positive, score = np.asarray(observed, dtype=bool), np.asarray(probability, dtype=np.float64)
    bad = int((~np.isfinite(score)).sum())
    if bad:
        raise AnalysisError(
            f"probabilities must be finite to be calibrated; {bad} of {len(score)} are not; look at the features"
        )
    if positive.all() or not positive.any():
        raise AnalysisError(
            f"a calibration must have rows in and out of every class; got {int(positive.sum())} of {len(positive)} "
            "in one; leave the calibration out, or add people"
        )
    return positive, score


def _log_odds(probability: Floats) -> Floats:
    return np.asarray(logit(np.clip(probability, EPS, 1 - EPS)))


def _logistic_line(z: Floats, target: Floats) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of targets between 0 and 1 on z; slope 0 for a constant z."""
    centre, spread = float(z.mean()), float(z.std())
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return 0.0, float(logit(target.mean()))
    design = np.column_stack([(z - centre) / spread, np.ones(len(z))])

    def loss(line: Floats) -> float:
        return float(np.mean(np.logaddexp(0.0, design @ line) - target * (design @ line)))

    def gradient(line: Floats) -> Floats:
        return np.asarray(design.T @ (expit(design @ line) - target) / len(z))

    def curvature(line: Floats) -> Floats:
        p = expit(design @ line)
        return np.asarray((design.T * (p * (1 - p))) @ design / len(z))

    start = np.array([0.0, float(logit(target.mean()))])
    found = optimize.minimize(
        loss, start, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-10}
    ).x
    return float(found[0] / spread), float(found[1] - found[0] * centre / spread)


# --- apply ----------------------------------------------------------------------------------------------------


def calibrate(calibration: Calibration, probabilities: Floats) -> Floats:
    """Calibrated probabilities, adding up to one.

    Parameters
    ----------
    calibration : Calibration
    probabilities : ndarray of shape (n, n_classes)
        NaN stays NaN. Where the maps of all of several classes say 0, the classes share alike.

    Returns
    -------
    ndarray of shape (n, n_classes)

    Raises
    ------
    AnalysisError
        The classes are not as many as were fitted.
    """
    if probabilities.shape[1] != calibration.n_classes:
        raise AnalysisError(
            f"probabilities must be of the classes that were calibrated; they are of {probabilities.shape[1]}, and "
            f"{calibration.n_classes} were; use the head that the calibration was fitted with"
        )
    if calibration.n_classes == 2:
        second = _on_curve(calibration.curves[0], probabilities[:, 1])
        return np.column_stack([1.0 - second, second])
    columns = zip(calibration.curves, probabilities.T, strict=True)
    mapped = np.column_stack([_on_curve(curve, own) for curve, own in columns])
    total = mapped.sum(axis=1, keepdims=True)
    even = np.full_like(mapped, 1 / calibration.n_classes)
    shares: Floats = np.divide(mapped, total, out=even, where=total != 0)
    return shares


def _on_curve(curve: Platt | Isotonic, probability: Floats) -> Floats:
    if isinstance(curve, Platt):
        return np.asarray(expit(curve.slope * _log_odds(probability) + curve.intercept))
    return np.asarray(np.interp(probability, curve.probability, curve.calibrated))


# --- how far off ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CalibrationSummary:
    """How far probabilities of a class are from what was observed.

    Attributes
    ----------
    intercept, slope : float
        Of the logistic regression of the class on the predicted log odds (Cox 1958, Biometrika 45:562): 0 and 1 for
        calibrated ones. A slope below 1 says that they are too extreme. NaN where the log odds are all equal or
        separate the classes.
    error : float
        Mean over ten bins of about equally many rows of the distance between the mean probability and the observed
        share, each counting by its rows (expected calibration error; Naeini et al. 2015, AAAI).
    brier : float
        Mean squared error of the probability.
    brier_skill : float
        Share by which that is less than when everybody is given the observed share of the class; NaN for one class.
    """

    intercept: float
    slope: float
    error: float
    brier: float
    brier_skill: float


def calibration_summary(observed: ArrayLike, probability: ArrayLike) -> CalibrationSummary:
    """How far probabilities are off, in a few numbers.

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class.
    probability : array-like of shape (n,)
        Predicted probability of the class, without NaN.

    Examples
    --------
    >>> found = calibration_summary([0, 1, 0, 1], [0.25, 0.5, 0.75, 0.75])
    >>> round(found.slope, 2), round(found.brier, 4), round(found.brier_skill, 2)
    (0.7, 0.2344, 0.06)
    """
    positive, score = np.asarray(observed, dtype=bool), np.asarray(probability, dtype=np.float64)
    brier, share = float(np.mean((score - positive) ** 2)), float(positive.mean())
    skill = 1 - brier / (share * (1 - share)) if 0 < share < 1 else float("nan")
    bins = calibration_points(positive, score)
    error = float(np.average((bins["observed"] - bins["predicted"]).abs(), weights=bins["n"]))
    slope = intercept = float("nan")
    if _overlap(positive, score):
        slope, intercept = _logistic_line(_log_odds(score), positive.astype(np.float64))
    return CalibrationSummary(intercept, slope, error, brier, skill)


def _overlap(positive: NDArray[np.bool_], score: Floats) -> bool:
    """Whether the classes' ranges overlap by more than a point, without which no logistic slope is finite."""
    inside, outside = score[positive], score[~positive]
    return bool(len(inside) and len(outside) and inside.min() < outside.max() and outside.min() < inside.max())
