"""A small cohort with a known truth, and how runs on it are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from featx import schema
from featx.analysis.folds.splits import Folding
from featx.analysis.request import Adjusting, Columns, Inferring, Request, Result
from featx.featureset import FeatureSet

Cohort = tuple[dict[str, FeatureSet], pd.DataFrame]

ONE, TWO = "one.x/axial/t/mean", "two.x/axial/t/mean"


def provenance(**changed: str) -> dict[str, str]:
    fields = {name: f"some {name}" for name in schema.names(schema.PROVENANCE)}
    return fields | changed


def feature_set(name: str, X: np.ndarray, images: list[str], **changed: str) -> FeatureSet:
    """Images are named participant or participant_session."""
    order = np.argsort(images)
    ids = np.array(images, dtype=object)[order]
    people = np.array([one.split("_")[0] for one in ids], dtype=object)
    sessions = np.array([(one.split("_") + [""])[1] for one in ids], dtype=object)
    return FeatureSet(name, np.asarray(X, np.float32)[order], ids, people, sessions, provenance(**changed))


def take(one: FeatureSet, rows: np.ndarray) -> FeatureSet:
    """Some images of a feature set."""
    ids = (one.image_id[rows], one.participant_id[rows], one.session_id[rows])
    return FeatureSet(one.name, one.X[rows], *ids, one.provenance)


def ask(cohort: Cohort, **changed: Any) -> Request:
    """A request of ridge for age from the first set; fields of its parts may be given as a dict."""
    sets, table = cohort
    values: dict[str, Any] = {
        "sets": sets,
        "combinations": {"one": (ONE,)},
        "phenotypes": table,
        "targets": ["age"],
        "heads": ["ridge"],
        **changed,
    }
    parts: Mapping[str, Any] = {
        "folding": Folding,
        "columns": Columns,
        "adjusting": Adjusting,
        "inferring": Inferring,
    }
    usual = {"folding": {"n_splits": 4, "n_inner": 3}, "inferring": {"n_bootstrap": 50}}
    for name, part in parts.items():
        values[name] = part(**(usual.get(name, {}) | values.get(name, {})))
    return Request(**values)


def excluded(result: Result) -> dict[str, str]:
    """Code by target, of the targets that could not be analysed."""
    rows = result.tables["exclusions"]
    rows = rows[(rows["target"] != "") & (rows["image_id"] == "")]
    return dict(zip(rows["target"], rows["code"], strict=True))


def sentence(result: Result, target: str) -> str:
    """Why a target could not be analysed."""
    rows = result.tables["exclusions"]
    return str(rows.loc[(rows["target"] == target) & (rows["image_id"] == ""), "sentence"].iloc[0])


def only(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    """Rows with these cells."""
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    return table


def value(scores: pd.DataFrame, **where: str) -> float:
    (found,) = only(scores, **where)["value"]
    return float(found)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of BLAS only wait for each other on arrays as small as these."""
    with threadpool_limits(limits=1):
        yield


def make_cohort(n: int = 60, seed: int = 1) -> Cohort:
    """Two feature sets of 8 and 100 columns.

    age, level, sex and site follow from the first columns; volume from age and a column; scanner and family from
    nothing.
    """
    rng = np.random.default_rng(seed)
    ids = [f"sub-{at:03d}" for at in range(n)]
    X, wide = rng.standard_normal((n, 8)), rng.standard_normal((n, 100))
    wide[:, :8] += X
    age = (50 + 10 * X[:, 0] + rng.standard_normal(n)).round(2)
    table = pd.DataFrame(
        {
            "participant_id": ids,
            "age": age.astype(str),
            "sex": np.where(X[:, 1] + 0.3 * rng.standard_normal(n) > 0, "M", "F"),
            "site": np.array(["a", "b", "c"])[np.digitize(X[:, 2] + 0.3 * rng.standard_normal(n), [-0.4, 0.4])],
            "level": (1 + np.digitize(X[:, 0] + 0.3 * rng.standard_normal(n), [-0.7, 0.0, 0.7])).astype(str),
            "volume": (1200 - age + 20 * X[:, 3] + 5 * rng.standard_normal(n)).round(2).astype(str),
            "scanner": np.array(["x", "y", "z"])[np.arange(n) % 3],
            "family": [f"f{at // 2}" for at in range(n)],
        }
    )
    sets = [feature_set(ONE, X, ids, network="one.x"), feature_set(TWO, wide, ids, network="two.x")]
    return {one.name: one for one in sets}, table


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    return make_cohort()
