"""FeatureExtractor: a frozen network as a transformer of scikit-learn, from images to rows of features."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from featx.api.added import home_of
from featx.api.pictured import items_of
from featx.api.rows import Loading, Wanted, load, rows_of
from featx.api.wanting import batch_size_of, check_torch
from featx.api.words import Words, many
from featx.errors import AnalysisError, known
from featx.networks.described import read_recipe

if TYPE_CHECKING:
    from typing import Self

ON_ERROR = ("raise", "nan")


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Images to the pooled features of a frozen network, as a step of a scikit-learn pipeline.

    Nothing is learned from images or targets, so that no fold can leak into another. The network is loaded once for
    all clones in a process; a row that was made is kept, so that folds do not make it again (`memory`). Images are
    held against the network's contract, as `featx extract` does, and an image that breaks it is refused.

    Parameters
    ----------
    network : str
        NAME, or NAME@WEIGHTS such as "resnet18.imagenet@random:0"; see `featx.list_networks`.
    tap, axis, pool : str or sequence of str, optional
        Where the network is read, along which axes, and how positions become one row; its own default without.
    weights : Path, str or mapping, optional
        A file (or random:SEED, reinit:SEED); the official ones without, downloaded once.
    slices, size, channels, missing, resample, accept, recipe, precision
        As in `featx.extract`.
    device : str
        "auto", "cpu" or "cuda".
    batch_size : int or "auto"
        Images per forward pass.
    workers : int
        Threads that decode ahead; -1 chooses.
    on_error : str
        "raise": an image that cannot be used ends it, with the sentence that says why. "nan": it gets a row of NaN,
        and a warning tells how many did.
    memory : Path or str, optional
        A folder that keeps rows for other processes (``n_jobs``) and later days. Without it they are kept in this
        process, up to 1 GiB.
    home : Path or str, optional
        featx's own folder, where official weights are kept; ~/.cache/featx without.

    Attributes
    ----------
    device_ : str
        What it runs on.
    weights_sha256_ : str
        Of the network's tensors.
    feature_sets_ : dict of str to int
        Names of its feature sets (as in a feature file), and how many features each has.

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> brain_age = make_pipeline(FeatureExtractor("squeezenet1_0.imagenet"), StandardScaler(), RidgeCV())
    >>> brain_age.fit(["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"], [54, 61])  # doctest: +SKIP
    """

    def __init__(
        self,
        network: str = "squeezenet1_0.imagenet",
        *,
        tap: str | Sequence[str] = (),
        axis: str | Sequence[str] = (),
        pool: str | Sequence[str] = (),
        weights: Path | str | Mapping[str, str] | None = None,
        slices: int | None = None,
        size: str | int = "",
        channels: str = "",
        missing: str | Sequence[str] = (),
        resample: bool = False,
        accept: str | Sequence[str] = (),
        recipe: Path | str | Mapping[str, Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: str | int = "auto",
        workers: int = -1,
        on_error: str = "raise",
        memory: Path | str | None = None,
        home: Path | str | None = None,
    ) -> None:
        self.network = network
        self.tap = tap
        self.axis = axis
        self.pool = pool
        self.weights = weights
        self.slices = slices
        self.size = size
        self.channels = channels
        self.missing = missing
        self.resample = resample
        self.accept = accept
        self.recipe = recipe
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self.workers = workers
        self.on_error = on_error
        self.memory = memory
        self.home = home

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, and load the network. Nothing is learned.

        Parameters
        ----------
        X : list, ndarray, Series or DataFrame
            Images, as `transform` takes them; none is read.
        y : ignored

        Returns
        -------
        FeatureExtractor
            Itself.

        Raises
        ------
        IndexingError, AnalysisError, NetworkError, WeightsError, DeviceError, DependencyError
            X holds no images; a parameter is of no use.
        """
        items_of(X)
        there = self._load()
        self.device_ = there.device
        self.weights_sha256_ = there.job.sets[0].provenance["weights_sha256"]
        self.feature_sets_ = {name: math.prod(shape) for name, shape in there.shapes.items()}
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features of images.

        Parameters
        ----------
        X : list, ndarray, Series or DataFrame
            Of paths and URLs, of `featx.images.image.Image`, or of images in memory with an affine, such as those of
            nibabel. Of a DataFrame the column "path" (with "member" and "mask") as in `featx.index`, or its only one.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            float32; a DataFrame where ``set_output(transform="pandas")`` asks for it.

        Raises
        ------
        IndexingError
            X holds no images.
        ImageError
            An image cannot be used (``on_error="raise"``).
        """
        items = items_of(X)
        return rows_of(
            items,
            self._load(),
            memory=None if self.memory is None else Path(self.memory),
            workers=self.workers,
            batch_size=batch_size_of(self.batch_size),
            on_error=self.on_error,
        )

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the features: that of their set, and their place in it.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of shape (n_features,), object (str)
        """
        shapes = self._load().shapes
        names = [f"{name}/{at}" for name, shape in shapes.items() for at in range(math.prod(shape))]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """X is a list of images; nothing is learned."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags

    def _load(self) -> Loading:
        """The network, which this process loads once for all that are alike."""
        check_torch("extract")
        batch_size_of(self.batch_size)
        if self.on_error not in ON_ERROR:
            raise AnalysisError(
                f"on_error must say what becomes of an image that cannot be used; {self.on_error!r} is no such word; "
                f"{known(ON_ERROR)}"
            )
        if not isinstance(self.network, str):
            raise AnalysisError(
                f"an extractor must have one network; got {self.network!r}; put several side by side with "
                "sklearn.pipeline.make_union"
            )
        wish: dict[str, Any] = {
            "taps": tuple(many(self.tap)),
            "views": tuple(many(self.axis)),
            "poolings": tuple(many(self.pool)),
        }
        wish |= {"n_slices": self.slices, "size": str(self.size), "channels": self.channels}
        wish |= {"missing": tuple(many(self.missing)), "resampling": self.resample}
        wanted = Wanted(
            network=self.network,
            weights=_words(self.weights),
            wish=tuple(wish.items()),
            recipe=_recipe_text(self.recipe),
            accept=tuple(many(self.accept)),
            device=self.device,
            precision=self.precision,
            home=home_of(self.home),
        )
        return load(wanted)


def _words(weights: Path | str | Words | None) -> tuple[str, ...]:
    if isinstance(weights, Mapping):
        return tuple(f"{name}={one}" for name, one in weights.items())
    return () if weights is None else tuple(str(one) for one in many(weights))


def _recipe_text(recipe: Path | str | Mapping[str, Any] | None) -> str:
    """What a recipe of one's own holds, so that a file that changes is another one."""
    if recipe is None:
        return ""
    return json.dumps(read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else dict(recipe), sort_keys=True)
