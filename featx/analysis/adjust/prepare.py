"""What is done to features between their file and a head, fitted on training rows: sites, confounds, components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from featx.analysis.adjust.combat import Combat, apply_combat, fit_combat
from featx.analysis.adjust.confounds import Removal, check_finite, fit_removal, remove
from featx.analysis.scaling import REPRODUCIBLE, Floats, Scale, apply_scale, fit_scale
from featx.errors import AnalysisError, known

CONFOUNDS = {
    "ignore": "confounds are dropped (they may still be preserved by ComBat)",
    "features": "confounds are removed from the features by linear regression",
    "added": "confounds stand before the features, and are not penalised",
}
HARMONISE = {
    "none": "features stay as they are",
    "combat": "what a site adds to features, and how it stretches them, is removed by ComBat",
}

ROUNDING = 1e-10  # what is smaller, relative to the whole, is left by arithmetic in float64 alone


class Prepare(TransformerMixin, BaseEstimator):
    """Site, confounds and features of each row, made into the columns that a head is fitted on.

    The order is fixed: ComBat, then confounds, then columns without variation are set to 0, then principal
    components. All of it is fitted on the rows that `fit` is given, and on nothing else.

    Parameters
    ----------
    n_confounds : int
        Columns of C, which stand before the features.
    confounds : str
        Key of `CONFOUNDS`.
    harmonise : str
        Key of `HARMONISE`. With "combat" the first column of all is the site's code; the rows of a site that was not
        in training are not adjusted.
    n_preserved : int
        ComBat preserves the effects of the first n_preserved columns of C. The target must not be among them: that
        of a test person is not known.
    pca : None, int or float
        Principal components of the standardised columns of features: how many (fewer where the rank is lower), or
        the share of the variance that they must reach together, between 0 and 1. A head that standardises its
        columns sees every component with the same variance.

    Attributes
    ----------
    n_features_in_ : int
    n_free_ : int
        The first n_free_ columns that come out are covariates, which must not be penalised.
    varies_ : ndarray of shape (n_free_ + n_features,), bool
        False for a column that is 0 in all rows: constant in training, by the rule of
        `featx.analysis.scaling.fit_scale` for the dtype that came in, or nothing but rounding once the rest was
        removed.
    combat_ : Combat or None
    removal_ : Removal or None
    scale_ : Scale or None
        Of the columns of features, before the components.
    components_ : ndarray of shape (n_components, n_features), float64, or None
        Orthonormal; of each the largest entry is positive.

    Examples
    --------
    >>> age, feature = np.array([50.0, 60.0, 70.0, 80.0]), np.array([1.0, 4.0, 5.0, 8.0])
    >>> prepare = Prepare(n_confounds=1, confounds="features").fit(np.column_stack([age, feature]))
    >>> prepare.transform(np.array([[65.0, 5.0]])).round(9).tolist()
    [[5.0]]
    """

    def __init__(
        self,
        n_confounds: int = 0,
        confounds: str = "ignore",
        harmonise: str = "none",
        n_preserved: int = 0,
        pca: float | None = None,
    ) -> None:
        self.n_confounds = n_confounds
        self.confounds = confounds
        self.harmonise = harmonise
        self.n_preserved = n_preserved
        self.pca = pca

    def fit(self, X: NDArray[np.floating], y: object = None) -> Self:
        """Fit on training rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_lead + n_features)
            The site's code (only with "combat"), the columns of C, the features. float32 is told from float64: it
            says how large a difference of features must be to mean anything.
        y : object
            Not used.

        Raises
        ------
        AnalysisError
            Options that do not fit each other or X; NaN or infinity; what
            `featx.analysis.adjust.combat.fit_combat` refuses.
        """
        self._check_options(X.shape[1])
        self.n_features_in_ = X.shape[1]
        self.n_free_ = self.n_confounds if self.confounds == "added" else 0
        site, C, F = self._parts(X)
        raw, covariates = fit_scale(F), fit_scale(C)
        self.combat_: Combat | None = None
        self.removal_: Removal | None = None
        if self.harmonise == "combat":
            self.combat_ = fit_combat(F, site, C[:, : self.n_preserved])
            F, _ = apply_combat(self.combat_, F, site, C[:, : self.n_preserved])
        if self.confounds == "features":
            self.removal_ = fit_removal(C, F)
            F = remove(self.removal_, C, F.astype(np.float64))
        least = REPRODUCIBLE if X.dtype == np.float32 else ROUNDING
        varies = raw.varies & (F.std(axis=0, dtype=np.float64) > least * raw.scale)
        self.varies_ = np.concatenate([covariates.varies[: self.n_free_], varies])
        self.scale_: Scale | None = None
        self.components_: Floats | None = None
        if self.pca is not None:
            self.scale_ = fit_scale(np.where(varies, F.astype(np.float64), 0.0))
            self.components_ = principal_components(apply_scale(F, self.scale_), self.pca)
        return self

    def transform(self, X: NDArray[np.floating]) -> Floats:
        """Prepare rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_features_in_)

        Returns
        -------
        ndarray of shape (n, n_free_ + n_features), or (n, n_free_ + n_components), float64

        Raises
        ------
        AnalysisError
            Another number of columns; NaN or infinity.
        """
        if X.shape[1] != self.n_features_in_:
            raise AnalysisError(
                f"rows to be prepared must have the columns of the training rows; they have {X.shape[1]} and the "
                f"training rows {self.n_features_in_}; give the same features and confounds"
            )
        site, C, F = self._parts(X)
        F = F.astype(np.float64)
        if self.combat_ is not None:
            F, _ = apply_combat(self.combat_, F, site, C[:, : self.n_preserved])
        if self.removal_ is not None:
            F = remove(self.removal_, C, F)
        Z: Floats = np.hstack([C[:, : self.n_free_], F])
        Z[:, ~self.varies_] = 0.0
        if self.scale_ is None or self.components_ is None:
            return Z
        return np.hstack([Z[:, : self.n_free_], apply_scale(Z[:, self.n_free_ :], self.scale_) @ self.components_.T])

    def settings(self) -> dict[str, Any]:
        """The options and the number of columns, as values of JSON; with `arrays`, all that `restore` needs."""
        return {
            "n_confounds": int(self.n_confounds),
            "confounds": self.confounds,
            "harmonise": self.harmonise,
            "n_preserved": int(self.n_preserved),
            "pca": int(self.pca) if isinstance(self.pca, int | np.integer) else self.pca,
            "n_features_in": int(self.n_features_in_),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All fitted arrays, named by what they belong to: varies, combat_*, removal_*, scale_*, components."""
        found = {"varies": self.varies_}
        for prefix, value in (("combat", self.combat_), ("removal", self.removal_), ("scale", self.scale_)):
            if value is not None:
                found |= {f"{prefix}_{field.name}": getattr(value, field.name) for field in fields(value)}
        return found if self.components_ is None else found | {"components": self.components_}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """A fitted Prepare from what `settings` and `arrays` gave; its numbers are the same to the last bit.

        Parameters
        ----------
        settings : mapping
        arrays : mapping of str to ndarray
            Others, whose names are not Prepare's, are ignored.
        """
        options = dict(settings)
        n_features_in = options.pop("n_features_in")
        prepare = cls(**options)
        prepare.n_features_in_ = n_features_in
        prepare.n_free_ = prepare.n_confounds if prepare.confounds == "added" else 0
        prepare.varies_ = arrays["varies"]
        prepare.combat_ = _restored(Combat, "combat", arrays)
        prepare.removal_ = _restored(Removal, "removal", arrays)
        prepare.scale_ = _restored(Scale, "scale", arrays)
        prepare.components_ = arrays.get("components")
        return prepare

    def _parts(self, X: NDArray[np.floating]) -> tuple[NDArray[np.int64], Floats, NDArray[np.floating]]:
        """Site codes, confounds in float64, and features in the dtype of X; NaN and infinity are refused."""
        check_finite(X, "site, confounds and features")
        start = int(self.harmonise == "combat")
        stop = start + self.n_confounds
        site = X[:, 0].astype(np.int64) if start else np.zeros(0, dtype=np.int64)
        return site, X[:, start:stop].astype(np.float64), X[:, stop:]

    def _check_options(self, n_columns: int) -> None:
        for what, words in (("confounds", CONFOUNDS), ("harmonise", HARMONISE)):
            word = getattr(self, what)
            if word not in words:
                raise AnalysisError(f"{what!r} of Prepare must be a known word; {word!r} is not; {known(words)}")
        if not 0 <= self.n_preserved <= self.n_confounds or (self.confounds != "ignore" and self.n_confounds < 1):
            raise AnalysisError(
                "Prepare must have confounds to use, and preserve no more than it has; n_confounds is "
                f"{self.n_confounds}, n_preserved {self.n_preserved} and confounds {self.confounds!r}; change one"
            )
        lead = int(self.harmonise == "combat") + self.n_confounds
        if n_columns < lead + (self.confounds != "added"):
            raise AnalysisError(
                f"rows to be prepared must have features after {lead} columns of site and confounds; they have "
                f"{n_columns} columns in all; put site (with 'combat') and confounds before the features"
            )
        share = isinstance(self.pca, float) and 0 < self.pca < 1
        if not (self.pca is None or share or (isinstance(self.pca, int | np.integer) and self.pca >= 1)):
            raise AnalysisError(
                "'pca' of Prepare must be a number of components or a share of the variance between 0 and 1; it is "
                f"{self.pca!r}; give such as 50 or 0.9, or None"
            )


def principal_components(Z: Floats, wanted: float) -> Floats:
    """Principal axes of standardised rows, from the largest variance down.

    Parameters
    ----------
    Z : ndarray of shape (n, p)
        Columns with mean zero. The smaller of Z Z' and Z' Z is decomposed.
    wanted : int or float
        The number of axes, fewer where the rank is lower (axes with less than 1e-10 of the largest variance count
        as none); a float below 1 is the share of the variance that they reach together, with the fewest axes.

    Returns
    -------
    ndarray of shape (n_components, p)
        Orthonormal rows; the entry of largest size is positive, the first of equal ones.

    Raises
    ------
    AnalysisError
        No column varies.

    Examples
    --------
    >>> Z = np.array([[1.0, -1.0, 0.1], [-1.0, 1.0, 0.1], [0.0, 0.0, -0.2]])
    >>> (principal_components(Z, 0.9)[:, :2] ** 2).round(6).tolist()
    [[0.5, 0.5]]
    """
    n, p = Z.shape
    squares, axes = np.linalg.eigh(Z.T @ Z if p <= n else Z @ Z.T)
    squares, axes = squares[::-1], axes[:, ::-1]
    rank = int((squares > ROUNDING * squares.max(initial=0.0)).sum())
    if rank == 0:
        raise AnalysisError(
            f"principal components must have features that vary; none of {p} does in {n} training rows once sites "
            "and confounds are removed; do without components, or look at the features"
        )
    number = min(wanted, rank)
    if isinstance(wanted, float):
        share = np.cumsum(squares[:rank]) / squares[:rank].sum()
        number = 1 + int((share < wanted).sum())
    kept = axes[:, : int(number)].T
    if p > n:
        kept = kept @ Z / np.sqrt(squares[: len(kept), None])
    largest = kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)]
    return np.ascontiguousarray(kept * np.sign(largest)[:, None])


def _restored(kind: type[Any], prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    names = [field.name for field in fields(kind)]
    if f"{prefix}_{names[0]}" not in arrays:
        return None
    return kind(**{name: arrays[f"{prefix}_{name}"] for name in names})
