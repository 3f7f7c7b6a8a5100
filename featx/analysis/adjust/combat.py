"""ComBat: what a site adds to features and how it stretches them, removed with covariates preserved.

The model is ``x = mean + (w - mean_w) @ coef + scale * (gamma_site + sqrt(delta_site) * e)`` for each feature. gamma
and delta are shrunk by parametric empirical Bayes over the features (Johnson, Li & Rabinovic 2007, Biostatistics
8:118; for images Fortin et al. 2017, NeuroImage 161:149, and 2018, NeuroImage 167:104). It is fitted on training
rows. To adjust a new row its site and its preserved covariates are used, and nothing else of the person.

**A site that was not seen in training is not adjusted**: gamma is 0 and delta is 1, so that its rows stay where they
are relative to the training people's mean. `apply_combat` says which rows that were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.analysis.adjust.confounds import RANK, check_finite, column_slices, pseudo_inverse
from featx.analysis.scaling import REPRODUCIBLE, Floats, fit_scale
from featx.errors import AnalysisError

Codes = NDArray[np.int64]

TOLERANCE = 1e-10  # of the sites' variances, relative
MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Combat:
    """A fitted ComBat.

    Attributes
    ----------
    sites : ndarray of shape (n_sites,), int64
        Codes of the training sites, sorted.
    mean_covariates : ndarray of shape (k,), float64
    mean : ndarray of shape (p,), float64
        Of the training rows.
    coef : ndarray of shape (k, p), float64
        Effects of the preserved covariates, within sites.
    scale : ndarray of shape (p,), float64
        Pooled standard deviation within sites (divisor n) about the covariates' effects.
    gamma, delta : ndarray of shape (n_sites, p), float64
        Location in units of scale, and variance in units of scale squared. 0 and 1 for a feature that is constant
        in training, which passes unchanged. A feature that is constant within every site, but not over them, gets
        its plain gamma and 1: it becomes constant.
    """

    sites: Codes
    mean_covariates: Floats
    mean: Floats
    coef: Floats
    scale: Floats
    gamma: Floats
    delta: Floats


def fit_combat(X: NDArray[np.floating], site: NDArray[np.integer], covariates: NDArray[np.floating]) -> Combat:
    """Fit ComBat on training rows.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Features. The arithmetic is in float64, on some columns at a time.
    site : ndarray of shape (n,), int
        Codes.
    covariates : ndarray of shape (n, k)
        Whose effects are preserved; without intercept, k may be 0. They need not be independent of each other (all
        levels of a category), but none may be told by the site.

    Raises
    ------
    AnalysisError
        NaN or infinity; fewer than two sites; a site with one row, or with rows that are all equal; a covariate
        that the site tells.
    """
    sites, at, counts = np.unique(np.asarray(site, dtype=np.int64), return_inverse=True, return_counts=True)
    _check_sites(sites, counts)
    W = np.asarray(covariates, dtype=np.float64)
    check_finite(X, "features")
    check_finite(W, "preserved covariates")
    scale, mean_covariates = fit_scale(X), W.mean(axis=0)
    between = _site_means(W, at) - mean_covariates
    within = W - mean_covariates - between[at]
    _check_told(W - mean_covariates, within, np.ptp(W, axis=0))
    inverse = pseudo_inverse(within, np.ptp(W, axis=0))
    coef = np.empty((W.shape[1], X.shape[1]))
    location, variance = np.empty((2, len(sites), X.shape[1]))
    for some in column_slices(X):
        x = X[:, some] - scale.mean[some]
        means = _site_means(x, at)
        x -= means[at]
        coef[:, some] = inverse @ x
        location[:, some] = means - between @ coef[:, some]
        variance[:, some] = _site_means((x - within @ coef[:, some]) ** 2, at) * (counts / (counts - 1))[:, None]
    pooled = (counts - 1) @ variance / len(X)
    stretched = scale.varies & (pooled > (REPRODUCIBLE * scale.scale) ** 2)
    unit = np.where(stretched, np.sqrt(pooled), 1.0)
    gamma, delta = np.where(scale.varies, location, 0.0) / unit, np.ones_like(location)
    own = variance[:, stretched] / pooled[stretched]
    _check_varied(sites, counts, own)
    gamma[:, stretched], delta[:, stretched] = shrink(gamma[:, stretched], own, counts)
    return Combat(sites, mean_covariates, scale.mean, coef, unit, gamma, delta)


def shrink(location: Floats, variance: Floats, counts: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Posterior modes of the sites' locations and variances, given those of all features.

    The prior of a site's locations is normal and that of its variances inverse gamma; their parameters are the
    moments over features (divisor p - 1). The two conditional modes are taken in turn until they stay. Where a
    prior has no spread, as with a single feature, its mean is the answer.

    Parameters
    ----------
    location, variance : ndarray of shape (n_sites, p)
        Of standardised features within each site; the variance's divisor is the number of its rows less 1.
    counts : ndarray of shape (n_sites,)
        Rows of each site.

    Returns
    -------
    gamma, delta : ndarray of shape (n_sites, p)

    Raises
    ------
    AnalysisError
        The modes do not settle.
    """
    if location.shape[1] == 0:
        return location, variance
    n = counts[:, None].astype(np.float64)
    middle, spread = _moments(location)
    m, s2 = _moments(variance)
    delta = np.where(variance > 0, variance, m)
    for _ in range(MOST_ROUNDS):
        gamma = (spread * n * location + delta * middle) / (spread * n + delta)
        squares = (n - 1) * variance + n * (location - gamma) ** 2
        # (squares / 2 + b) / (n / 2 + a - 1) with a = 2 + m^2 / s2 and b = m + m^3 / s2, times s2 / s2
        new = (s2 * (squares / 2 + m) + m**3) / (s2 * (n / 2 + 1) + m**2)
        change = (np.abs(new - delta) / new).max()
        delta = new
        if change <= TOLERANCE:
            return gamma, delta
    raise AnalysisError(
        f"ComBat's estimates must settle; after {MOST_ROUNDS} rounds on {location.shape[1]} features they still "
        f"change by {change:.1g} of themselves; look for features far out of scale, or do without harmonisation"
    )


def apply_combat(
    combat: Combat, X: NDArray[np.floating], site: NDArray[np.integer], covariates: NDArray[np.floating]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Adjust rows.

    Parameters
    ----------
    combat : Combat
    X : ndarray of shape (n, p)
        NaN stays NaN.
    site : ndarray of shape (n,), int
    covariates : ndarray of shape (n, k)

    Returns
    -------
    adjusted : ndarray of shape (n, p), float64
    unseen : ndarray of shape (n,), bool
        Rows of sites that were not in training; they are as they were.
    """
    W = covariates - combat.mean_covariates
    adjusted = X.astype(np.float64)
    for code, gamma, delta in zip(combat.sites, combat.gamma, combat.delta, strict=True):
        rows = np.flatnonzero(site == code)
        narrower = 1.0 / np.sqrt(delta)
        expected = combat.mean + W[rows] @ combat.coef
        adjusted[rows] = adjusted[rows] * narrower + (1.0 - narrower) * expected - combat.scale * gamma * narrower
    return adjusted, ~np.isin(site, combat.sites)


def _site_means(x: Floats, at: NDArray[np.intp]) -> Floats:
    return np.stack([x[at == number].mean(axis=0) for number in range(at.max() + 1)])


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and variance over the features, shape (n_sites, 1) each; one feature has the variance 0."""
    ddof = min(1, values.shape[1] - 1)
    return values.mean(axis=1, keepdims=True), values.var(axis=1, ddof=ddof, keepdims=True)


def _check_sites(sites: Codes, counts: NDArray[np.intp]) -> None:
    if len(sites) < 2:
        raise AnalysisError(
            f"ComBat must have two or more sites to compare; {len(sites)} is in the {counts.sum()} training rows; "
            "do without harmonisation, or make folds that leave more sites in training"
        )
    if counts.min() < 2:
        least = int(np.argmin(counts))
        raise AnalysisError(
            f"ComBat must have two or more training rows of every site; site {sites[least]} has {counts[least]}; "
            "merge it with another site, leave it out, or do without harmonisation"
        )


def _check_varied(sites: Codes, counts: NDArray[np.intp], variance: Floats) -> None:
    same = np.flatnonzero((variance < REPRODUCIBLE**2).all(axis=1))
    if variance.shape[1] and len(same):
        raise AnalysisError(
            f"ComBat must have training rows of every site that differ; the {counts[same[0]]} of site "
            f"{sites[same[0]]} are equal in all features; merge it with another site, leave it out, or do without "
            "harmonisation"
        )


def _check_told(centred: Floats, within: Floats, units: Floats) -> None:
    """Refuse covariates of which some combination varies over the rows and not within sites."""
    units = np.where(units > 0, units, 1.0)
    _, singular, Vt = np.linalg.svd(within / units, full_matrices=False)
    kept = Vt[singular > RANK]
    centred = centred / units
    left = np.linalg.norm(centred - centred @ kept.T @ kept, axis=0)
    if left.max(initial=0.0) > REPRODUCIBLE * np.linalg.norm(centred):
        raise AnalysisError(
            f"preserved covariates must vary within sites; the site tells covariate {left.argmax()} (counted from 0) "
            f"of {len(left)}, alone or together with others; do not preserve it"
        )
