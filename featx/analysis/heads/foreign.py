"""Any regressor or classifier of scikit-learn as a head, under the name ``sklearn:module.Class``."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.confounds import check_finite
from featx.analysis.heads.inputs import apply_prepare
from featx.analysis.heads.logistic import check_classes
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, BundleError, DependencyError, first_line, known

PREFIX = "sklearn:"
_STEP = "estimator"
_SCHEMA = "schema.json"
_ADDRESS = re.compile(r'("__id__": |"file": ")(\d+)')
_PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")
# What scikit-learn's estimators are made of, beyond the types that skops trusts; nothing else is loaded.
_OWN_TYPES = re.compile(
    r"sklearn\.("
    r"tree\._tree\.Tree"
    r"|ensemble\._hist_gradient_boosting\.predictor\.TreePredictor"
    r"|neighbors\._kd_tree\.KDTree\w*|neighbors\._ball_tree\.BallTree\w*"
    r"|metrics\._dist_metrics\.\w+Distance(32|64)?"
    r"|gaussian_process\.kernels\.\w+|gaussian_process\._gpc\._BinaryGaussianProcessClassifierLaplace"
    r"|neural_network\._stochastic_optimizers\.(Adam|SGD)Optimizer"
    r"|calibration\.(_CalibratedClassifier|_SigmoidCalibration)"
    r"|_loss\.loss\.\w+"
    r")"
)


def find_class(path: str) -> type:
    """The class that a path within scikit-learn names.

    Parameters
    ----------
    path : str
        Such as "svm.SVR".

    Raises
    ------
    AnalysisError
        Nothing of that name, no regressor or classifier, or one that must be given other estimators.

    Examples
    --------
    >>> find_class("svm.SVR").__name__
    'SVR'
    """
    module, _, name = path.rpartition(".")
    found: Any = None
    if _PATH.fullmatch(path):
        try:
            found = getattr(importlib.import_module(f"sklearn.{module}"), name, None)
        except ImportError:
            found = None
    if not (isinstance(found, type) and found.__module__.startswith("sklearn.")):
        raise AnalysisError(
            f"a head of scikit-learn must be written sklearn:module.Class; {PREFIX + path!r} names no class of it; "
            "write for example sklearn:svm.SVR"
        )
    needed = [
        one.name
        for one in list(inspect.signature(found).parameters.values())
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if not (issubclass(found, RegressorMixin) or issubclass(found, ClassifierMixin)) or needed:
        why = f"must be given {', '.join(needed)}" if needed else "is neither"
        raise AnalysisError(
            f"a head of scikit-learn must be a regressor or a classifier that stands alone; {PREFIX + path!r} {why}; "
            "choose another"
        )
    return found


def is_classifier(path: str) -> bool:
    """Whether a path within scikit-learn names a classifier; otherwise it names a regressor.

    Examples
    --------
    >>> is_classifier("ensemble.RandomForestClassifier"), is_classifier("svm.SVR")
    (True, False)
    """
    return issubclass(find_class(path), ClassifierMixin)


def make_estimator(path: str, settings: Mapping[str, Any], grid: Mapping[str, Any]) -> Any:
    """An unfitted estimator, with those of the settings that it has, and with a grid that it understands.

    Parameters
    ----------
    path : str
    settings : mapping of str to value
        random_state, n_jobs, class_weight; None is not set.
    grid : mapping of str to list of values

    Raises
    ------
    AnalysisError
        Unknown parameters in the grid, values that are no list, class weights for an estimator without them.
    """
    made = find_class(path)()
    parameters = made.get_params(deep=False)
    for name, values in grid.items():
        if name not in parameters:
            raise AnalysisError(
                f"a grid must be of the estimator's own parameters; {PREFIX + path!r} has no {name!r}; "
                f"{known(parameters)}"
            )
        if not isinstance(values, list | tuple) or not len(values):
            raise AnalysisError(
                f"a grid must list the values of a parameter; {name!r} of {PREFIX + path!r} is {values!r}; "
                "write [one, or, more]"
            )
    if settings.get("class_weight") is not None and "class_weight" not in parameters:
        raise AnalysisError(
            f"class weights must be asked of a head that can use them; {PREFIX + path!r} has no class_weight; "
            "leave them out, or choose another head"
        )
    return made.set_params(**{key: own for key, own in settings.items() if key in parameters and own is not None})


def predict_fitted(estimator: Any, Z: NDArray[np.floating], *, is_class: bool) -> Floats:
    """Numbers of shape (n,), or probabilities of shape (n, n_classes), of a fitted pipeline."""
    answer = estimator.predict_proba(Z) if is_class else estimator.predict(Z)
    return np.asarray(answer, dtype=np.float64)


class _Foreign(BaseEstimator):
    """What the regressor and the classifier share."""

    path: str
    cv: Any
    prepare: Any
    grid: Mapping[str, Any] | None
    random_state: int
    n_jobs: int

    def _fit(self, X: NDArray[np.floating], y: NDArray[Any], scoring: str, class_weight: str | None = None) -> Self:
        check_finite(X, "features")
        settings = {"random_state": self.random_state, "n_jobs": self.n_jobs, "class_weight": class_weight}
        grid = dict(self.grid or {})
        made = make_estimator(self.path, settings, grid)
        is_class = isinstance(self, ClassifierMixin)
        if is_class:
            _check_gives_probabilities(self.path, made, grid)
        before = [] if self.prepare is None else [("prepare", self.prepare)]
        pipeline = Pipeline([*before, ("scale", StandardScaler()), (_STEP, made)])
        pairs = list(check_cv(self.cv, y, classifier=is_class).split(X, y))
        if is_class:
            for train, _ in pairs:
                check_classes(y, train)
        search = GridSearchCV(
            pipeline, {f"{_STEP}__{name}": list(values) for name, values in grid.items()}, cv=pairs, scoring=scoring
        )
        search.error_score = "raise"
        try:
            best = search.fit(X, y).best_estimator_
        except AnalysisError:
            raise
        except (ValueError, ArithmeticError) as error:
            raise AnalysisError(
                f"a head of scikit-learn must be one that can be fitted; {PREFIX + self.path!r} cannot, to "
                f"{len(y)} rows ({first_line(error)}); change its grid, or choose another head"
            ) from error
        self.chosen_ = {name: _as_json(search.best_params_[f"{_STEP}__{name}"]) for name in grid}
        self.prepare_ = best.named_steps.get("prepare")
        self.estimator_ = Pipeline(best.steps[len(before) :])
        return self

    def _answer(self, X: NDArray[np.floating], is_class: bool) -> Floats:
        return predict_fitted(self.estimator_, apply_prepare(self.prepare_, X), is_class=is_class)


def _check_gives_probabilities(path: str, made: Any, grid: Mapping[str, Any]) -> None:
    """Refuse a classifier whose answers are labels alone; a first value of the grid may change that."""
    trial = type(made)(**made.get_params(deep=False))
    trial.set_params(**{name: values[0] for name, values in grid.items()})
    if not hasattr(trial, "predict_proba"):
        way = (
            "write probability = [true] in its grid" if "probability" in made.get_params() else "choose another head"
        )
        raise AnalysisError(
            f"a head for classes must give probabilities; {PREFIX + path!r} gives labels alone; {way}"
        )


def _as_json(value: Any) -> float | int | str:
    """A value of a grid as a number or text, for contracts and tables."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, int | float | str) else str(value)


class ForeignRegressor(RegressorMixin, _Foreign):
    """A regressor of scikit-learn after standardisation, its grid searched on the inner folds by squared error.

    Parameters
    ----------
    path : str
        Class within scikit-learn, such as "svm.SVR".
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set. Free columns are penalised like others.
    grid : mapping of str to list of values, optional
        By parameter of the class; without one it is fitted as it is.
    random_state, n_jobs : int
        For classes that have such parameters.

    Attributes
    ----------
    chosen_ : dict of str to number or text
    estimator_ : Pipeline
        Fitted scaler and estimator, for prepared columns.
    prepare_ : Prepare or None
    """

    def __init__(
        self,
        path: str,
        cv: Any = 5,
        prepare: Any = None,
        *,
        grid: Mapping[str, Any] | None = None,
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.path = path
        self.cv = cv
        self.prepare = prepare
        self.grid = grid
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Search the grid on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            See `find_class` and `make_estimator`; features that are not finite.
        """
        return self._fit(X, np.asarray(y, dtype=np.float64), "neg_mean_squared_error")

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        return self._answer(X, False)


class ForeignClassifier(ClassifierMixin, _Foreign):
    """A classifier of scikit-learn; as `ForeignRegressor`, but by log loss, and with one parameter more.

    Parameters
    ----------
    class_weight : None or "balanced"
        For classes that have such a parameter; others refuse it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    """

    def __init__(
        self,
        path: str,
        cv: Any = 5,
        prepare: Any = None,
        *,
        grid: Mapping[str, Any] | None = None,
        random_state: int = 0,
        n_jobs: int = 1,
        class_weight: str | None = None,
    ) -> None:
        self.path = path
        self.cv = cv
        self.prepare = prepare
        self.grid = grid
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Search the grid on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            As for `ForeignRegressor`; a classifier without probabilities; an inner fold without a class.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        return self._fit(X, codes, "neg_log_loss", self.class_weight)

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every class, shape (n, n_classes)."""
        return self._answer(X, True)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likeliest class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest


# --- stored without pickle ------------------------------------------------------------------------------------


def to_skops(estimator: Any) -> bytes:
    """A fitted estimator of scikit-learn as the bytes of a skops file.

    Raises
    ------
    DependencyError
        skops is not installed.
    """
    return _canonical(_skops().dumps(estimator))


def _canonical(data: bytes) -> bytes:
    """The same file without addresses of memory and the time of day: equal estimators have equal bytes.

    skops names objects and arrays by their address. They are counted instead, in the order in which they are told of.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text = parts.pop(_SCHEMA).decode()
    numbers: dict[str, str] = {}
    for found in _ADDRESS.finditer(text):
        numbers.setdefault(found[2], str(len(numbers) + 1))
    named = {numbers[name.partition(".")[0]] + "." + name.partition(".")[2]: part for name, part in parts.items()}
    counted = _ADDRESS.sub(lambda found: found[1] + numbers[found[2]], text)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, part in sorted((named | {_SCHEMA: counted.encode()}).items()):
            member = zipfile.ZipInfo(name)
            member.create_system = 3  # Unix, whatever wrote it
            archive.writestr(member, part)
    return buffer.getvalue()


def from_skops(data: bytes) -> Any:
    """The estimator that `to_skops` stored. Nothing is built of bytes that name other types than scikit-learn's own.

    Raises
    ------
    BundleError
        The bytes are damaged, or name a type that scikit-learn's estimators are not made of.
    DependencyError
        skops is not installed.
    """
    skops = _skops()
    try:
        foreign = skops.get_untrusted_types(data=data)
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"a stored estimator must be a whole skops file; it is not ({first_line(error)}); take the original, or "
            "fit again"
        ) from error
    bad = [name for name in foreign if not _OWN_TYPES.fullmatch(name)]
    if bad:
        raise BundleError(
            f"a stored estimator must be made of scikit-learn's own types; it names {', '.join(sorted(bad))}; "
            "take the original, or fit again"
        )
    return skops.loads(data, trusted=foreign)


def _skops() -> Any:
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        raise DependencyError(
            "a head of scikit-learn must have skops to be stored and read; it is not installed; pip install skops"
        ) from error
