"""The numbers of attention pooling: its loss with the gradient in closed form, and how it is made small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from featx.analysis.heads.minimise import minimise
from featx.analysis.scaling import Floats

MOST_STEPS = 40
TOLERANCE = 1e-4  # of the gradient in coordinates where the curvature is about 1, as in `softbins`


@dataclass(frozen=True)
class Problem:
    """What is fitted.

    Attributes
    ----------
    nuisance : ndarray of shape (n, q)
        The intercept and the free columns, orthonormal under the weights.
    R : ndarray of shape (n, n_slices, d)
        Standardised features, divided by the root of d.
    y, weights : ndarray of shape (n,)
        Numbers in units of their standard deviation, or 0 and 1; and what each row counts.
    is_class : bool
    """

    nuisance: Floats
    R: Floats
    y: Floats
    weights: Floats
    is_class: bool


@dataclass(frozen=True)
class Weights:
    """Coefficients of the nuisance columns and of the pooled features, and what scores the slices.

    Attributes
    ----------
    nuisance : ndarray of shape (q,)
    coef, query : ndarray of shape (d,)
    position : ndarray of shape (n_slices,)
    """

    nuisance: Floats
    coef: Floats
    query: Floats
    position: Floats


def attend(R: NDArray[np.floating], own: Weights) -> tuple[Floats, Floats]:
    """What every slice weighs, and what it would answer alone; both of shape (n, n_slices).

    Examples
    --------
    >>> own = Weights(np.zeros(1), np.array([1.0]), np.array([0.0]), np.log([1.0, 3.0]))
    >>> shares, answers = attend(np.array([[[10.0], [20.0]]]), own)
    >>> shares.round(3).tolist(), answers.tolist()
    ([[0.25, 0.75]], [[10.0, 20.0]])
    """
    flat = R.reshape(R.shape[0] * R.shape[1], R.shape[2])
    scores = (flat @ own.query).reshape(R.shape[:2]) + own.position
    return np.asarray(softmax(scores, axis=1)), np.asarray((flat @ own.coef).reshape(R.shape[:2]))


def value_and_slopes(problem: Problem, own: Weights, penalties: tuple[float, float]) -> tuple[float, Weights]:
    """The penalised loss and its gradient.

    The loss is half the squared error, or the log loss, summed over the weighted rows; half of the first penalty
    times |coef|^2 is added, and half of the second times |query|^2 + |position|^2.
    """
    shares, answers = attend(problem.R, own)
    pooled = np.einsum("ns,ns->n", shares, answers)
    z = problem.nuisance @ own.nuisance + pooled
    if problem.is_class:
        lost, slope = np.logaddexp(0.0, z) - problem.y * z, problem.weights * (expit(z) - problem.y)
    else:
        lost, slope = 0.5 * (z - problem.y) ** 2, problem.weights * (z - problem.y)
    of_answer = slope[:, None] * shares
    of_score = of_answer * (answers - pooled[:, None])
    flat = problem.R.reshape(shares.size, problem.R.shape[2])
    ridge, small = penalties
    value = float(problem.weights @ lost) + 0.5 * ridge * float(own.coef @ own.coef)
    value += 0.5 * small * float(own.query @ own.query + own.position @ own.position)
    return value, Weights(
        problem.nuisance.T @ slope,
        of_answer.ravel() @ flat + ridge * own.coef,
        of_score.ravel() @ flat + small * own.query,
        of_score.sum(axis=0) + small * own.position,
    )


# --- one fit --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors of the products of columns, and their eigenvalues; those of almost 0 are left out.

    Attributes
    ----------
    squares : ndarray of shape (r,)
    axes : ndarray of shape (d, r)
        Orthonormal.
    """

    squares: Floats
    axes: Floats


def spectrum(columns: Floats) -> Spectrum:
    """Decompose the smaller of both products of columns (n, d)."""
    n, d = columns.shape
    squares, U = np.linalg.eigh(columns.T @ columns if d <= n else columns @ columns.T)
    kept = squares > max(n, d) * np.finfo(np.float64).eps * squares.max(initial=0.0)
    squares, U = squares[kept], U[:, kept]
    return Spectrum(squares, U if d <= n else columns.T @ (U / np.sqrt(squares)))


def inverse_root(of: Spectrum, penalty: float, vector: Floats) -> Floats:
    """The inverse root of the columns' products plus a penalty, times a vector of shape (d,).

    Examples
    --------
    >>> columns = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    >>> inverse_root(spectrum(columns), 0.25, np.ones(3)).round(4).tolist()
    [0.3288, 2.0, 0.199]
    """
    change = 1 / np.sqrt(of.squares + penalty) - 1 / np.sqrt(penalty)
    return np.asarray(vector / np.sqrt(penalty) + of.axes @ (change * (of.axes.T @ vector)))


def refine(
    problem: Problem, start: Weights, penalties: tuple[float, float], coefs: Spectrum | None = None
) -> Weights:
    """Weights of a smaller `value_and_slopes` than at a start, by steps that go down from it.

    The coordinates are those of Gauss and Newton at the start: there a step of length 1 is about the right one.

    Parameters
    ----------
    problem : Problem
    start : Weights
    penalties : (float, float)
    coefs : Spectrum, optional
        Of the features as the start pools them, where it is known.
    """
    (_, n_slices, d), q = problem.R.shape, problem.nuisance.shape[1]
    root = _root_of_curvature(problem)
    shares, answers = attend(problem.R, start)
    of_score = shares * (answers - np.einsum("ns,ns->n", shares, answers)[:, None])
    of_coef = coefs or spectrum(root * _weighed(shares, problem.R))
    scores = spectrum(root * np.concatenate([_weighed(of_score, problem.R), of_score], axis=1))
    unit = 0.5 if problem.is_class else 1.0

    def weights_at(step: Floats) -> Weights:
        score = inverse_root(scores, penalties[1], step[q + d :])
        return Weights(
            start.nuisance + step[:q] / unit,
            start.coef + inverse_root(of_coef, penalties[0], step[q : q + d]),
            start.query + score[:d],
            start.position + score[d:],
        )

    def objective(step: Floats) -> tuple[float, Floats]:
        value, slopes = value_and_slopes(problem, weights_at(step), penalties)
        score = inverse_root(scores, penalties[1], np.concatenate([slopes.query, slopes.position]))
        coef = inverse_root(of_coef, penalties[0], slopes.coef)
        return value, np.concatenate([slopes.nuisance / unit, coef, score])

    tolerance = TOLERANCE * float(np.sqrt(problem.weights.sum()))
    found = minimise(objective, np.zeros(q + 2 * d + n_slices), tolerance, MOST_STEPS)
    return weights_at(found.x)


def _root_of_curvature(problem: Problem) -> Floats:
    """Of the loss in the linear predictor, at most; shape (n, 1)."""
    return np.asarray(np.sqrt((0.25 if problem.is_class else 1.0) * problem.weights)[:, None])


def _weighed(shares: Floats, R: Floats) -> Floats:
    """Sum over the slices, each by its share, shape (n, d)."""
    return np.asarray((shares[:, None, :] @ R)[:, 0, :])


def solve(problem: Problem, penalties: Sequence[float], query_penalties: Sequence[float]) -> Iterator[list[Weights]]:
    """For every penalty, the solution on the mean of the slices and what is refined from there.

    Parameters
    ----------
    problem : Problem
    penalties : sequence of float
        Of the coefficients.
    query_penalties : sequence of float
        From strong to weak: each fit begins at the one before, the first at the mean.

    Yields
    ------
    list of Weights
        1 + the number of query penalties.
    """
    _, n_slices, d = problem.R.shape
    pooled = replace(problem, R=problem.R.mean(axis=1, keepdims=True))
    of_mean = spectrum(_root_of_curvature(problem) * pooled.R[:, 0])
    nothing = Weights(np.zeros(problem.nuisance.shape[1]), np.zeros(d), np.zeros(d), np.zeros(1))
    for penalty in penalties:
        mean = refine(pooled, nothing, (penalty, 1.0), of_mean)  # one slice has all the weight, whatever the query
        found = [replace(mean, position=np.zeros(n_slices))]
        for query_penalty in query_penalties:
            known = of_mean if len(found) == 1 else None
            found.append(refine(problem, found[-1], (penalty, query_penalty), known))
        yield found
