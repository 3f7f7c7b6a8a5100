"""A small cohort with a known truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from featx import schema
from featx.store import FeatureSet


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


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of BLAS only wait for each other on arrays as small as these."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="session")
def cohort() -> tuple[dict[str, FeatureSet], pd.DataFrame]:
    """60 people; two feature sets of 8 and 100 columns; age, sex and site follow from the first columns."""
    rng = np.random.default_rng(1)
    n = 60
    ids = [f"sub-{at:03d}" for at in range(n)]
    X, wide = rng.standard_normal((n, 8)), rng.standard_normal((n, 100))
    wide[:, :8] += X
    table = pd.DataFrame(
        {
            "participant_id": ids,
            "age": (50 + 10 * X[:, 0] + rng.standard_normal(n)).round(2).astype(str),
            "sex": np.where(X[:, 1] + 0.3 * rng.standard_normal(n) > 0, "M", "F"),
            "site": np.array(["a", "b", "c"])[np.digitize(X[:, 2] + 0.3 * rng.standard_normal(n), [-0.4, 0.4])],
        }
    )
    sets = [
        feature_set("one.x/axial/t/mean", X, ids, network="one.x"),
        feature_set("two.x/axial/t/mean", wide, ids, network="two.x"),
    ]
    return {one.name: one for one in sets}, table
