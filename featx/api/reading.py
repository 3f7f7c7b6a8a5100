"""What featx wrote, and what it knows, as tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.features import combine
from featx.analysis.heads import HEADS
from featx.analysis.runs import rundir
from featx.analysis.runs.bundle import Bundle, read_bundle
from featx.api.added import added_sheets, home_of
from featx.api.gathering import gather
from featx.networks import NETWORKS
from featx.networks.sheet import Network


def read_features(path: Path | str, set_name: str | None = None, *, aggregate: str = "mean") -> pd.DataFrame:
    """Features of a feature file as a table.

    Parameters
    ----------
    path : Path or str
    set_name : str, optional
        What `featx fit --features` takes: a set, the beginning of a name (a whole network), names joined by "+",
        "all". Without it: all sets side by side.
    aggregate : str
        How slices that are kept apart become one row: mean, max, std, concat.

    Returns
    -------
    DataFrame
        float32, a row per image that is in all the sets. The index has the levels image_id, participant_id and
        session_id; columns are "SET/0", "SET/1" ... `featx.fit` takes it in `features`, by a name.

    Raises
    ------
    StoreError, CohortError
        The file is damaged, or holds no such set.

    Examples
    --------
    >>> import featx
    >>> X = featx.read_features("features.h5", "squeezenet1_0.imagenet/axial/features/mean")  # doctest: +SKIP
    """
    there = gather([path], {}, use=[set_name or "all"], how=aggregate)
    (names,) = there.combinations.values()
    found = combine([there.sets[name] for name in names], missing="drop")
    columns = [f"{one.name}/{at}" for one in found.sets for at in range(one.n_features)]
    ids = (found.images.image_id, found.images.participant_id, found.images.session_id)
    index = pd.MultiIndex.from_arrays(ids, names=[schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID])
    return pd.DataFrame(np.asarray(found.X), index=index, columns=columns)


def read_run(path: Path | str) -> rundir.Run:
    """A run of `featx.fit` or `featx.train`, read back: its tables as DataFrames, run.json as `facts`.

    Parameters
    ----------
    path : Path or str
        The folder.

    Raises
    ------
    AnalysisError
        It is no run, or not whole.

    Examples
    --------
    >>> import featx
    >>> featx.read_run("run/").scores.query("target == 'age' and metric == 'mae'")  # doctest: +SKIP
    """
    return rundir.read_run(Path(path))


def read_head(path: Path | str) -> Bundle:
    """A fitted head of RUN/heads/, as `featx.predict` takes it; its `contract` says what it is and wants.

    Parameters
    ----------
    path : Path or str
        The .npz file.

    Raises
    ------
    BundleError
        It is no head, or damaged.
    """
    return read_bundle(Path(path))


def list_networks(home: Path | str | None = None) -> pd.DataFrame:
    """Networks that `featx.extract` knows by name, and those that were added: `featx networks list` as a table.

    Parameters
    ----------
    home : Path or str, optional
        featx's own folder, where networks that were added are.

    Returns
    -------
    DataFrame
        A row per network, whose index is its name: family, n_parameters, grid, skull_stripped, registered, takes,
        views, taps, poolings (joined by blanks), licence and size_bytes of its official weights, training,
        age_range_years, labels, reference, and the extra of featx that it needs.

    Examples
    --------
    >>> import featx
    >>> featx.list_networks().loc["squeezenet1_0.imagenet", "n_parameters"].item()
    1248424
    """
    sheets = [*NETWORKS.values(), *added_sheets(home_of(home))[0]]
    return pd.DataFrame([_facts(one) for one in sheets]).set_index("name")


def _facts(sheet: Network) -> dict[str, object]:
    weights = sheet.weights
    return {
        "name": sheet.name,
        "family": sheet.family,
        "n_parameters": sheet.n_parameters,
        "grid": sheet.recipe.grid.name,
        "skull_stripped": sheet.recipe.skull_stripped,
        "registered": sheet.recipe.registered,
        "takes": sheet.takes,
        "views": " ".join(view.name for view in sheet.recipe.views),
        "taps": " ".join(sheet.taps),
        "poolings": " ".join(sheet.poolings),
        "licence": weights.licence if weights else "",
        "size_bytes": weights.size_bytes if weights else 0,
        "training": sheet.training,
        "age_range_years": sheet.age_range_years,
        "labels": " ".join(sheet.labels),
        "reference": sheet.reference,
        "extra": sheet.extra,
    }


def list_heads() -> pd.DataFrame:
    """Heads that `featx.fit` knows by name: `featx heads` as a table.

    Returns
    -------
    DataFrame
        A row per head, whose index is its name: title, kinds of target (joined by blanks), pipeline (what is done in
        every fold), grid (what the inner folds choose), reference.

    Examples
    --------
    >>> import featx
    >>> featx.list_heads().loc["ridge", "kinds"]
    'continuous ordinal'
    """
    rows = [
        {
            "name": name,
            "title": head.title,
            "kinds": " ".join(head.estimators),
            "pipeline": head.pipeline,
            "grid": head.grid,
            "reference": head.reference,
        }
        for name, head in HEADS.items()
    ]
    return pd.DataFrame(rows).set_index("name")
