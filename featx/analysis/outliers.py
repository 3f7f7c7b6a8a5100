"""Which images are unlike the others: robust distances in numbers and in features. Ranks, and no cut-offs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.analysis.features import combine
from featx.errors import CohortError
from featx.featureset import FeatureSet

Floats = NDArray[np.float64]

LOW, HIGH, BOTH = -1, 1, 0
# The side on which a number is worse. Other numbers of `featx.schema.QUALITY` rank nobody: grey values have no worse
# side, and what is bright outside the template's brain is next to nothing in most brains, so that it has no spread.
WORSE = {
    "snr": LOW,
    "cnr": LOW,
    "efc": HIGH,
    "fber": LOW,
    "sharpness": LOW,
    "litres": BOTH,
    "overlap": LOW,
    "likeness": LOW,
    "offset_mm": HIGH,
    "feature_distance": HIGH,
}
MAD_TO_SD = 1.4826
MEAN_TO_SD = 1.2533
IMAGES_PER_COMPONENT = 5
MOST_OF_ONE = 10.0  # robust standard deviations, of a feature or a component
WEISZFELD = 20  # steps towards the spatial median
NARROWEST = 1e-4  # of the widest component: features that are sums of others (logits, say) differ by rounding
ROUNDING = 1e-10  # of a sum of squares

Row = dict[str, str]


@dataclass(frozen=True)
class Outliers:
    """How far images are on the worse side of the others.

    Attributes
    ----------
    rank : ndarray of shape (n_images,), int
        From 1, the furthest; ties in their order.
    distance : ndarray of shape (n_images,), float
        The largest robust z-score on the worse side; 0 where there is none.
    worst_by : tuple of str
        The number it is of; "" where there is none.
    """

    rank: NDArray[np.intp]
    distance: Floats
    worst_by: tuple[str, ...]


def robust_z(values: Floats) -> Floats:
    """Distances from the median in robust standard deviations.

    The unit is the median absolute deviation x 1.4826 or, where that is 0 (more than half of the values are equal),
    the mean absolute deviation x 1.2533 (Iglewicz & Hoaglin 1993). NaN stays NaN; of equal values all are 0.

    Examples
    --------
    >>> robust_z(np.array([1.0, 2, 3, 4, np.nan, 100])).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, nan, 65.43]
    """
    median, unit = centre_and_unit(values)
    return (values - median) / unit if unit > 0 else np.where(np.isnan(values), np.nan, 0.0)


def number(text: str) -> float:
    """A number of a table; NaN where there is none, or none that is finite.

    Examples
    --------
    >>> number("1.5"), number(""), number("inf")
    (1.5, nan, nan)
    """
    value = float(text or "nan")
    return value if np.isfinite(value) else float("nan")


def centre_and_unit(values: Floats) -> tuple[float, float]:
    """Median and robust standard deviation of what is not NaN, as in `robust_z`; (NaN, 0) of nothing."""
    there = values[~np.isnan(values)]
    if not there.size:
        return float("nan"), 0.0
    median = float(np.median(there))
    away = np.abs(there - median)
    return median, float(MAD_TO_SD * np.median(away) or MEAN_TO_SD * away.mean())


def worst_first(numbers: Mapping[str, Floats]) -> Outliers:
    """Order images by the number in which each is furthest on the worse side, in units of `robust_z`.

    Parameters
    ----------
    numbers : mapping of str to ndarray of shape (n_images,)
        By name; those that are not in `WORSE` are left aside. NaN says nothing of an image.

    Examples
    --------
    >>> found = worst_first({"snr": np.array([20.0, 21, 5, 22]), "litres": np.array([1.4, 1.5, 1.4, 1.3])})
    >>> found.rank.tolist(), found.worst_by[2]
    ([4, 2, 1, 3], 'snr')
    """
    names = [name for name in numbers if name in WORSE]
    n = len(next(iter(numbers.values())))
    away = np.zeros((len(names) + 1, n))  # the last row: nothing on the worse side
    for row, name in zip(away, names, strict=False):
        z = robust_z(numbers[name])
        row[:] = np.nan_to_num(np.abs(z) if WORSE[name] == BOTH else WORSE[name] * z, nan=0.0)
    distance, by = away.max(axis=0), away.argmax(axis=0)
    rank = np.empty(n, dtype=np.intp)
    rank[np.argsort(-distance, kind="stable")] = np.arange(1, n + 1)
    words = tuple(names[at] if far > 0 else "" for at, far in zip(by, distance, strict=True))
    return Outliers(rank, distance, words)


def feature_distances(X: NDArray[np.floating]) -> Floats:
    """How far images are from all others, in features: robust standard deviations beyond the usual (0 to 0.5).

    Features are centred by their medians and divided by their robust standard deviations (as in `robust_z`) or, where
    that is more, by a tenth of their largest value: many a feature of a network is 0 but in one image. Principal
    components are those of directions, every image at length 1 from the spatial median, so that no single one makes a
    component of its own (Locantore et al. 1999, Test 8:1); one per five images is kept, and none narrower than a
    ten-thousandth of the widest, which is rounding. Two distances are taken, as in ROBPCA (Hubert et al. 2005,
    Technometrics 47:64): the score distance, within the components, each in its own robust standard deviations and
    ten at most, and the orthogonal distance, of what the components leave. Either to the power 2/3 is near normal
    (Wilson & Hilferty 1931), and is told as a `robust_z` over the images; the larger one counts.

    With at least five images per feature all components are kept, and this is a robust Mahalanobis distance, bounded
    in each component. With fewer, what lies apart in a narrow direction that is not kept is seen by its plain size
    alone, which may be nothing beside that of the other directions.

    Parameters
    ----------
    X : ndarray of shape (n_images, n_features)
        Finite. Three arrays of this size are held.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(60, 8))
    >>> X[7] += 6
    >>> int(feature_distances(X).argmax())
    7
    """
    away = X.astype(np.float64) - np.median(X, axis=0)
    away = away[:, np.abs(away).max(axis=0) > 0]
    if not away.size:
        return np.zeros(len(X))
    away /= [max(centre_and_unit(column)[1], np.abs(column).max() / MOST_OF_ONE) for column in away.T]
    away -= _spatial_median(away)
    scores = away @ _axes(away, max(1, len(X) // IMAGES_PER_COMPONENT))
    middle, width = np.array([centre_and_unit(column) for column in scores.T]).T
    kept = width > NARROWEST * width.max()
    z = (scores[:, kept] - middle[kept]) / width[kept]
    within = np.square(z.clip(-MOST_OF_ONE, MOST_OF_ONE)).sum(axis=1)
    whole = np.square(away).sum(axis=1)
    beyond = whole - np.square(scores[:, kept]).sum(axis=1)
    beyond[beyond < ROUNDING * whole] = 0.0
    distances = robust_z(np.cbrt(within))
    return np.maximum(distances, robust_z(np.cbrt(beyond))) if beyond.any() else distances


def _spatial_median(X: Floats) -> Floats:
    """The point of the least sum of distances from the rows: where they lie in a narrow direction, so does it."""
    middle = np.zeros(X.shape[1])
    for _ in range(WEISZFELD):
        length = np.linalg.norm(X - middle, axis=1)
        weight = 1 / np.maximum(length, 1e-6 * length.mean())
        middle = weight @ X / weight.sum()
    return middle


def _axes(away: Floats, most: int) -> Floats:
    """Principal components of the directions of rows, orthonormal, the widest first; none that are mere rounding."""
    length = np.linalg.norm(away, axis=1, keepdims=True)
    directions = np.divide(away, length, out=np.zeros_like(away), where=length > 0)
    is_wide = len(away) <= away.shape[1]
    variance, vectors = np.linalg.eigh(directions @ directions.T if is_wide else directions.T @ directions)
    variance, vectors = variance[::-1], vectors[:, ::-1]
    n = min(most, int((variance > ROUNDING * variance[0]).sum()))
    axes: Floats = directions.T @ vectors[:, :n] / np.sqrt(variance[:n]) if is_wide else vectors[:, :n]
    return axes


def distances_in(sets: Sequence[FeatureSet]) -> dict[str, float]:
    """Distances of images, by image, in feature sets that are put side by side.

    Of slices that were kept apart, their mean is taken. Images that are not in all of the sets have no distance.
    """
    features = combine([dataclasses.replace(one, X=one.X.mean(axis=1)) if one.X.ndim == 3 else one for one in sets])
    distances = feature_distances(features.X)
    return {str(image_id): float(far) for image_id, far in zip(features.images.image_id, distances, strict=True)}


def _finite(row: Row) -> Row:
    names = {one.name for one in schema.QUALITY if one.dtype == "float"}
    return {name: text if name not in names or np.isfinite(number(text)) else "" for name, text in row.items()}


def quality_rows(measured: Sequence[Row], distances: Mapping[str, float] | None = None) -> list[Row]:
    """Rows of `featx.schema.QUALITY`, ranked, the worst first.

    Parameters
    ----------
    measured : sequence of dict
        The ids and the numbers of each image as text, "" where there is none; one that is not finite becomes "".
    distances : mapping of str to float, optional
        Of `distances_in`.

    Raises
    ------
    CohortError
        None of the images has a distance, though some were given.
    """
    if not measured:
        return []
    ids = [row[schema.IMAGE_ID] for row in measured]
    rows = [dict.fromkeys(schema.names(schema.QUALITY), "") | _finite(row) for row in measured]
    if distances is not None:
        far = np.array([distances.get(one, np.nan) for one in ids])
        if np.isnan(far).all():
            raise CohortError(
                f"images and features must have images in common; none of the {len(ids)} images, such as {ids[0]!r}, "
                f"is among the {len(distances)} with features; give the features of these images"
            )
        place = np.empty(len(far), dtype=np.intp)
        place[np.argsort(-far, kind="stable")] = np.arange(1, len(far) + 1)  # NaN sorts last
        for row, distance, at in zip(rows, far, place, strict=True):
            if not np.isnan(distance):
                row["feature_distance"], row["feature_rank"] = f"{distance:.6g}", str(at)
    found = worst_first({name: np.array([number(row[name]) for row in rows]) for name in WORSE})
    for row, rank, distance, by in zip(rows, found.rank, found.distance, found.worst_by, strict=True):
        row["rank"], row["outlier"], row["worst_by"] = str(rank), f"{distance:.4g}", by
    return sorted(rows, key=lambda row: int(row["rank"]))
