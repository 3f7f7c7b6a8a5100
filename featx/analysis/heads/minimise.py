"""The least value of a smooth function, by L-BFGS with a line search that rounding of the value cannot stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from featx.analysis.scaling import Floats

MEMORY = 12
MOST_STEPS = 2000
_MOST_TRIALS = 30
_ENOUGH = 1e-4  # of the decrease that the slope promises
_STEEP = 0.9  # of the slope may remain after a step

Objective = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class Minimum:
    """Where a function is least.

    Attributes
    ----------
    x : ndarray of shape (d,)
    value : float
    n_steps : int
    converged : bool
        False where the gradient is not as small as it was to be.
    """

    x: Floats
    value: float
    n_steps: int
    converged: bool


def minimise(objective: Objective, start: Floats, tolerance: float, most_steps: int = MOST_STEPS) -> Minimum:
    """Follow L-BFGS steps (Nocedal 1980, Math Comput 35:773) until the gradient is small.

    A step is taken when it lowers the value enough, or, where the value's last digits say nothing any more, when the
    slopes say that it does (Hager & Zhang 2005, SIAM J Optim 16:170).

    Parameters
    ----------
    objective : callable
        Value and gradient at a point, both finite.
    start : ndarray of shape (d,)
    tolerance : float
        Largest Euclidean norm of the gradient at the end.
    most_steps : int

    Examples
    --------
    >>> centre = np.array([1.0, -2.0])
    >>> found = minimise(lambda x: (float((x - centre) @ (x - centre)), 2 * (x - centre)), np.zeros(2), 1e-9)
    >>> found.x.round(6).tolist(), found.converged
    ([1.0, -2.0], True)
    """
    x, (value, gradient) = start, objective(start)
    pairs: deque[tuple[Floats, Floats, float]] = deque(maxlen=MEMORY)
    for n_steps in range(most_steps):
        if np.sqrt(gradient @ gradient) <= tolerance:
            return Minimum(x, value, n_steps, True)
        direction = _direction(gradient, pairs)
        found = _search(objective, (x, value, gradient), direction)
        if found is None:
            return Minimum(x, value, n_steps, False)
        new_x, value, new_gradient = found
        step, change = new_x - x, new_gradient - gradient
        curvature = float(step @ change)
        if curvature > 0:
            pairs.append((step, change, curvature))
        x, gradient = new_x, new_gradient
    return Minimum(x, value, most_steps, False)


def _direction(gradient: Floats, pairs: deque[tuple[Floats, Floats, float]]) -> Floats:
    """The quasi-Newton direction; before the first step the way down."""
    direction = -gradient
    shares = []
    for step, change, curvature in reversed(pairs):
        share = float(step @ direction) / curvature
        direction = direction - share * change
        shares.append(share)
    if pairs:
        _, change, curvature = pairs[-1]
        direction = direction * (curvature / float(change @ change))
    for (step, change, curvature), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - float(change @ direction) / curvature) * step
    return direction


def _search(
    objective: Objective, at: tuple[Floats, float, Floats], direction: Floats
) -> tuple[Floats, float, Floats] | None:
    """A point along a direction with less value and less slope; None where there is none to be found."""
    x, value, gradient = at
    slope = float(gradient @ direction)
    rounding = 16 * np.finfo(np.float64).eps * max(abs(value), 1.0)
    low, high, length = 0.0, np.inf, 1.0
    low_slope = slope
    for _ in range(_MOST_TRIALS):
        point = x + length * direction
        new_value, new_gradient = objective(point)
        new_slope = float(new_gradient @ direction)
        lowered = new_value <= value + _ENOUGH * length * slope
        equal = new_value <= value + rounding and new_slope <= (2 * _ENOUGH - 1) * slope
        if not (lowered or equal):
            high, high_slope = length, new_slope
        elif new_slope < _STEEP * slope:
            low, low_slope = length, new_slope
        else:
            return point, new_value, new_gradient
        if np.isinf(high):
            length *= 4
        else:
            length = _between(low, high, low_slope, high_slope)
    return None


def _between(low: float, high: float, low_slope: float, high_slope: float) -> float:
    """Where the slope would be 0 if it were a line, kept away from both ends."""
    width = high - low
    guess = low - low_slope * width / (high_slope - low_slope) if high_slope > 0 > low_slope else low + 0.5 * width
    return float(np.clip(guess, low + 0.1 * width, high - 0.1 * width))
