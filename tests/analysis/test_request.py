from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from featx.analysis.request import check_request, versions
from featx.errors import AnalysisError

from .conftest import Cohort, ask

CONFOUNDS = {"confounds": ("volume",), "modes": ("ignored",)}
SPLITS = pd.DataFrame({"target": ["*"], "image_id": [""], "participant_id": ["1"], "repeat": [0], "fold": [0]})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"heads": ["ridge", "logistic", "boosting"], "n_jobs": -1},
        {"adjusting": {"confounds": ("volume",), "modes": ("only", "added", "features", "target", "both")}},
        {"adjusting": {**CONFOUNDS, "harmonise": "combat", "preserve": ("volume",)}, "columns": {"site": "scanner"}},
        {"folding": {"scheme": "given"}, "given_splits": SPLITS},
        {"folding": {"scheme": "site"}, "columns": {"site": "scanner"}},
        {"folding": {"n_inner": 3}, "adjusting": {"calibrate": "platt"}},
    ],
)
def test_what_can_be_is_let_pass(cohort: Cohort, changed: dict[str, Any]) -> None:
    check_request(ask(cohort, **changed))


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"heads": ["rigde"]}, "'rigde' is not; known are"),
        ({"heads": []}, "at least one head"),
        ({"targets": []}, "at least one target"),
        ({"combinations": {}}, "at least one feature set"),
        ({"kinds": {"age": "number"}}, "'number' is not, for 'age'; known are 'binary'"),
        ({"kinds": {"sex": "binary"}}, "a kind must be for a target .* 'sex' is none; known are 'age'"),
        (
            {"inferring": {"correct_age": ("sex",)}},
            "a correction of age must be for .* 'sex' is none; known are 'age'",
        ),
        ({"folding": {"n_splits": 1}}, "n_splits must be at least 2; it is 1"),
        ({"folding": {"n_inner": 0}}, "n_inner must be at least 2; it is 0"),
        ({"folding": {"n_repeats": 0}}, "n_repeats must be at least 1; it is 0"),
        ({"folding": {"random_state": 2**32}}, "random_state must be below 2.*; it is 4294967296; choose"),
        ({"folding": {"random_state": -1}}, "random_state must be at least 0; it is -1"),
        ({"folding": {"scheme": "loso"}}, "a scheme of folds must be known; 'loso' is not; known are 'given'"),
        ({"folding": {"scheme": "site"}}, "folds by site must know the column of the sites; none is named"),
        ({"folding": {"by_site": True}}, "folds by site must know the column"),
        ({"folding": {"scheme": "given"}}, "given folds must come with a table of splits"),
        ({"given_splits": SPLITS}, "given folds must come with a table of splits, and only they"),
        ({"inferring": {"n_bootstrap": -1}}, "n_bootstrap must be at least 0; it is -1"),
        ({"inferring": {"n_permutations": -1}}, "n_permutations must be at least 0; it is -1"),
        ({"n_jobs": 0}, "n_jobs must be a number of processes, .* it is 0; choose"),
        ({"combinations": {"x": ("nowhere",)}}, "'nowhere' is not; known are 'one.x/axial"),
        (
            {"adjusting": {"modes": ("gone",)}},
            "a way to treat confounds must be known; 'gone' is not; known are 'add",
        ),
        ({"adjusting": {"modes": ("added",)}}, "confounds must be named to be treated as 'added'; none is"),
        ({"adjusting": {"calibrate": "beta"}}, "a calibration must be known; 'beta' is not; known are 'isotonic'"),
        ({"adjusting": {"harmonise": "x"}}, "a harmonisation must be known; 'x' is not; known are 'combat', 'none'"),
        ({"adjusting": {"harmonise": "combat"}}, "a site column must be named to harmonise by combat; none is"),
        ({"adjusting": {**CONFOUNDS, "preserve": ("volume",)}}, "there is none; add --harmonise combat"),
        (
            {"adjusting": {**CONFOUNDS, "preserve": ("age",), "harmonise": "combat"}, "columns": {"site": "scanner"}},
            "must be one of the confounds; 'age' is none; known are 'volume'",
        ),
        (
            {"folding": {"n_inner": 2}, "adjusting": {"calibrate": "platt"}},
            "n_inner must be at least 3 for a calibration or a correction of age; it is 2",
        ),
        (
            {"folding": {"n_inner": 2}, "inferring": {"correct_age": ("age",)}},
            "n_inner must be at least 3 for a calibration or a correction of age; it is 2",
        ),
    ],
)
def test_requests_that_cannot_be_are_refused_first(cohort: Cohort, changed: dict[str, Any], match: str) -> None:
    with pytest.raises(AnalysisError, match=match):
        check_request(ask(cohort, **changed))


def test_versions_are_of_what_computes() -> None:
    assert {"python", "featx", "numpy", "scipy", "sklearn", "pandas", "xgboost", "joblib"} == set(versions())
