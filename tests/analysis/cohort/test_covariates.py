from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

from featx.analysis.cohort.covariates import (
    FORMS,
    Encoding,
    check_rank,
    design,
    encode,
    natural_spline,
    parse_confound,
    read_labels,
)
from featx.errors import AnalysisError, CohortError, TargetError


def people(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    columns = {
        "age": rng.uniform(20, 80, n).round(2).astype(str),
        "site": rng.choice(["HH", "IOP", "Guys"], n),
        "scanner": rng.choice(["1", "2"], n),
    }
    return pd.DataFrame(columns, dtype=object, index=[f"sub-{at}" for at in range(n)])


@pytest.mark.parametrize("spec", ["age:sqare", "age:square2", "age:spline0", ":spline", "a:b"])
def test_unknown_forms_are_refused(spec: str) -> None:
    with pytest.raises(AnalysisError, match=f"got '{spec}'; write COLUMN or COLUMN:FORM, where FORM is linear"):
        parse_confound(spec)


def test_a_column_with_a_colon_needs_its_form() -> None:
    assert parse_confound("a:b:linear").column == "a:b"
    assert {parse_confound(f"age:{form}").form for form in FORMS} == set(FORMS)


def test_numbers_are_linear_and_text_has_a_column_for_every_level() -> None:
    table = people()
    encoding = encode(table, ["age", "site", "scanner:category"])
    assert encoding.names == ("age", "site=Guys", "site=HH", "site=IOP", "scanner=1", "scanner=2")
    assert encoding.blocks == {"age": slice(0, 1), "site": slice(1, 4), "scanner:category": slice(4, 6)}
    C = design(encoding, table)
    assert (C.shape, C.dtype) == ((40, 6), np.float64)
    np.testing.assert_array_equal(C[:, 0], table["age"].astype(float))
    np.testing.assert_array_equal(C[:, 2], table["site"] == "HH")
    np.testing.assert_array_equal(C[:, 4], table["scanner"] == "1")


def test_nothing_asked_is_no_column() -> None:
    encoding = encode(people(), [])
    assert design(encoding, people()).shape == (40, 0)
    check_rank(design(encoding, people()), encoding)


def test_missing_and_unseen() -> None:
    encoding = encode(people(), ["age:spline", "site", "scanner"])
    new = pd.DataFrame({"age": ["50", None, "51"], "site": ["Oslo", "HH", None], "scanner": ["1", "2", "3"]})
    C = design(encoding, new)
    assert np.isfinite(C).tolist() == [[True] * 8, [False] * 4 + [True] * 4, [True] * 4 + [False] * 3 + [True]]
    assert C[0, 4:7].tolist() == [0, 0, 0]


def test_squares() -> None:
    table = people()
    C = design(encode(table, ["age:square"]), table)
    age = table["age"].to_numpy(dtype=float)
    np.testing.assert_allclose(C[:, 1], ((age - age.mean()) / age.std()) ** 2)
    assert encode(table, ["age:square"]).names == ("age", "age^2")


@pytest.mark.parametrize("n_inner", [1, 3, 5])
def test_splines_span_all_natural_cubic_splines(n_inner: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(20, 80, 200)
    encoding = encode(pd.DataFrame({"age": x.astype(str)}), [f"age:spline{n_inner}"])
    knots = np.array(encoding.terms[0].knots)
    assert len(knots) == n_inner + 2
    np.testing.assert_allclose(knots, np.quantile(x, np.linspace(0, 1, n_inner + 2)))
    basis = np.column_stack([np.ones(200), design(encoding, pd.DataFrame({"age": x.astype(str)}))])
    assert basis.shape[1] == n_inner + 2
    any_spline = CubicSpline(knots, rng.standard_normal(len(knots)), bc_type="natural")(x)
    fit = basis @ np.linalg.lstsq(basis, any_spline, rcond=None)[0]
    np.testing.assert_allclose(fit, any_spline, atol=1e-9)


def test_splines_are_linear_beyond_the_ends() -> None:
    for ends in ([-30.0, 0.0, 20.0], [80.0, 90.0, 120.0]):
        low, middle, high = natural_spline(np.array(ends), [20, 35, 60, 80])
        share = (ends[1] - ends[0]) / (ends[2] - ends[0])
        np.testing.assert_allclose(middle, low + share * (high - low), atol=1e-9)


def test_settings_survive_json() -> None:
    table = people()
    encoding = encode(table, ["age:spline", "age:square", "site"])
    again = Encoding.restore(json.loads(json.dumps(encoding.settings())))
    assert again == encoding
    np.testing.assert_array_equal(design(again, table[::-1]), design(encoding, table)[::-1])
    assert [one["column"] for one in encoding.settings()["specs"]] == ["age", "age", "site"]


@pytest.mark.parametrize(
    "spec, values, match",
    [
        ("it", ["1", "2", "3", "old"], "'it' holds 'old', at participant 'sub-3'; write n/a .* 'it:category'"),
        ("it", ["1", "2", "inf", None], "'it' holds 'inf', at participant 'sub-2'"),
        ("it:spline", ["a", "b", "a", "b"], "'it' holds 'a', at participant 'sub-0'"),
        ("it:spline", ["1", "2", "1", "2"], "5 different knots at quantiles; 'it' has 3"),
        ("it", [None] * 4, "'it' is empty for all matched people"),
        ("it", ["w", "x", "y", "z"], "at most half as many levels .* 'it' has 4 of 4"),
        ("height", ["1"] * 4, "'height' is not; known are 'it'"),
    ],
)
def test_bad_confounds_are_refused(spec: str, values: list[object], match: str) -> None:
    table = pd.DataFrame({"it": pd.Series(values, dtype=object)})
    table.index = pd.Index([f"sub-{at}" for at in range(4)])
    with pytest.raises(CohortError, match=match):
        encode(table, [spec])


def test_new_people_may_not_lack_the_column() -> None:
    encoding = encode(people(), ["age"])
    with pytest.raises(CohortError, match="'age' is not; known are 'site'"):
        design(encoding, people()[["site"]])
    with pytest.raises(CohortError, match="'age' holds 'old', at participant 'sub-0'"):
        design(encoding, people().assign(age="old"))


def refused(table: pd.DataFrame, *specs: str, site: np.ndarray | None = None) -> tuple[str, str]:
    encoding = encode(table, specs)
    with pytest.raises(TargetError) as caught:
        check_rank(design(encoding, table), encoding, site)
    return caught.value.code, str(caught.value)


def test_confounds_that_say_something_pass() -> None:
    table = people().assign(sex=["M", "F"] * 20)
    encoding = encode(table, ["age:spline", "site", "scanner:category", "sex"])
    check_rank(design(encoding, table), encoding, read_labels(table, "site"))
    few = table.iloc[:12]
    check_rank(design(encoding, few), encoding)


def test_constant_confounds() -> None:
    table = people().assign(one="7", level="x", year=[repr(2010.0 + 1e-9 * at) for at in range(40)])
    for spec in ("one", "level", "one:square", "year"):
        code, sentence = refused(table, "age", spec)
        assert code == "constant-confound"
        assert f"must vary; {spec!r} is the same for all 40" in sentence
    some = table["scanner"] == "1"
    encoding = encode(table, ["scanner:category"])
    with pytest.raises(TargetError, match="'scanner:category' is the same for all"):
        check_rank(design(encoding, table)[some], encoding)


def test_collinear_confounds_name_who_determines_them() -> None:
    table = people()
    field = table["site"].map({"HH": "1.5", "IOP": "3", "Guys": "1.5"})
    table = table.assign(field=field, months=(table["age"].astype(float) * 12).astype(str))
    code, sentence = refused(table, "scanner", "field:category", "site")
    assert code == "collinear-confound"
    assert "'field:category' follows linearly from 'site', for the 40" in sentence
    assert "'age' follows linearly from 'months'" in refused(table, "age", "months")[1]
    assert "'age' follows linearly from 'age:spline'" in refused(table, "age", "age:spline")[1]
    a, b = (table[name].astype(float) for name in ("age", "scanner"))
    both = table.assign(sum=(a + 10 * b).astype(str))
    assert "'sum' follows linearly from 'age' and 'scanner'" in refused(both, "sum", "site", "age", "scanner")[1]


def test_confounds_that_follow_from_the_site() -> None:
    table = people()
    table = table.assign(field=table["site"].map({"HH": "1.5", "IOP": "3", "Guys": "1.5"}))
    site = read_labels(table, "site")
    code, sentence = refused(table, "age", "field", site=site)
    assert code == "collinear-confound"
    assert "'field' follows linearly from the site" in sentence
    itself = encode(table, ["age", "site"])
    check_rank(design(itself, table), itself, site)


def test_labels() -> None:
    table = pd.DataFrame({"family": ["007", None, "7"]}, dtype=object)
    assert read_labels(table, "family").tolist() == ["007", "", "7"]
    with pytest.raises(CohortError, match="a site or group must be a column .* 'famly' is not; known are 'family'"):
        read_labels(table, "famly")
