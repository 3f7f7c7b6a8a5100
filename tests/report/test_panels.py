"""The figures of one target."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.report import panels
from featx.report.answers import score_table
from featx.report.contents import first_repeat
from featx.report.figures.canvas import as_svg
from featx.report.panels import Scored


def scored(kind: str, predictions: pd.DataFrame, levels: dict[str, str], **facts: int) -> Scored:
    """One arm per value of `features` in the predictions, ranked as they come."""
    metric = {"continuous": "mae", "ordinal": "spearman"}.get(kind, "auc")
    label = ["features", "head", "confounds"]
    arms = predictions[label].drop_duplicates().itertuples(index=False)
    sign = 1 if kind == "continuous" else -0.1
    rows = [
        ("t", kind, *arm, metric, 1.0 + sign * at, 0.5, 1.5, 0.5, len(predictions), len(predictions))
        for at, arm in enumerate(arms)
    ]
    table = score_table(
        pd.DataFrame(rows, columns=schema.names(schema.SCORES)), "years" if kind == "continuous" else ""
    )
    drawn = panels.drawn_rows(predictions, table)
    return Scored({"name": "t", "kind": kind, **facts}, table, drawn, levels, "t0")


def predictions(observed: list[str], predicted: list[str], repeat: int = 0, **more) -> pd.DataFrame:
    ids = [f"sub-{at}" for at in range(len(observed))]
    table = pd.DataFrame({"image_id": ids, "observed": observed, "predicted": predicted, "repeat": repeat})
    return table.assign(**{"features": "a", "head": "ridge", "confounds": "ignored"} | more)


def dots(svg: str) -> int:
    """Points of the picture: markers that are used in its data, not in its ticks."""
    return len(re.findall(r"<use [^>]*(?:style=\"fill: #0072b2[^\"]*\")", svg))


def test_only_the_first_of_repeats_is_drawn_and_it_is_said() -> None:
    table = pd.concat([predictions(["1", "2", "3"], ["1", "2", "4"], at) for at in range(3)])
    (panel,) = panels.panels(scored("continuous", table, {}, n_repeats=3))
    assert dots(as_svg(panel.drawing)) == 3
    assert "first of 3 repeats" in panel.caption
    (panel,) = panels.panels(scored("continuous", table[table["repeat"] == 0], {}, n_repeats=1))
    assert "repeats" not in panel.caption


def test_a_residualised_arm_is_drawn_on_what_is_scored() -> None:
    raw = predictions(["10", "20", "30"], ["12", "19", "30"])
    left = predictions(["10", "20", "30"], ["12", "19", "30"], confounds="target", **{schema.CONFOUND_PART: 100.0})
    table = pd.concat([raw, left])
    first, second = panels.panels(scored("continuous", table, {}))
    assert "less confounds" in as_svg(second.drawing)
    assert "less what the confounds say of the target" in second.caption
    assert "less" not in first.caption
    assert "−90" in as_svg(second.drawing) or "−80" in as_svg(second.drawing)  # ticks of observed less 100
    assert "−80" not in as_svg(first.drawing)


def test_levels_are_the_axis_of_an_ordinal_target() -> None:
    table = predictions(["1", "2", "2"], ["1.5", "1.9", "2.5"])
    (panel,) = panels.panels(scored("ordinal", table, {"1": "mild", "2": "severe"}))
    assert "mild" in as_svg(panel.drawing)
    assert "severe" in as_svg(panel.drawing)
    assert "median of each true level" in panel.caption


def probabilities(observed: list[str], of_m: list[float], **more) -> pd.DataFrame:
    guess = ["M" if one > 0.5 else "F" for one in of_m]
    return predictions(observed, guess, probability_F=1 - np.array(of_m), probability_M=of_m, **more)


def test_two_classes_have_a_roc_and_a_calibration_for_each_arm() -> None:
    two = pd.concat([probabilities(["F", "M", "M"], [0.2, 0.8, 0.4], features=one) for one in ("a", "b")])
    found = panels.panels(scored("binary", two, {"F": "F", "M": "M"}))
    assert [panel.letter for panel in found] == ["", "A", "B"]
    assert "The class that is found is M" in found[0].caption


@pytest.mark.parametrize("observed", [["M", "M"], ["F", "F"]])
def test_test_people_of_one_class_have_no_curve(observed: list[str]) -> None:
    one = probabilities(observed, [0.2, 0.8])
    assert panels.panels(scored("binary", one, {"F": "F", "M": "M"})) == []
    assert panels.panels(scored("multiclass", one, {"F": "F", "M": "M"})) == []


def test_a_class_without_test_people_is_not_drawn_and_it_is_said() -> None:
    one = probabilities(["F", "M", "M"], [0.2, 0.8, 0.4])
    (panel,) = panels.panels(scored("multiclass", one, {"F": "F", "M": "M", "X": "X"}))
    assert "1 class not drawn" in panel.caption


def test_the_best_arm_is_the_one_drawn_for_many_classes() -> None:
    alone = probabilities(["F", "M", "M"], [0.2, 0.8, 0.4], features="-", confounds="only")
    best = probabilities(["F", "M", "M"], [0.2, 0.8, 0.4])
    (panel,) = panels.panels(scored("multiclass", pd.concat([alone, best]), {"F": "F", "M": "M"}))
    assert panel.letter == "B"
    assert panel.title == "ridge on a"


def test_age_bias_is_drawn_raw_beside_corrected() -> None:
    table = predictions(["20", "50", "80"], ["30", "50", "70"])
    assert panels.bias_panel(scored("continuous", table, {})) is None
    table = table.assign(corrected_cole=[20.0, 50.0, 80.0], corrected_beheshti=[25.0, 50.0, 75.0])
    panel = panels.bias_panel(scored("continuous", table, {}))
    assert panel is not None
    assert dots(as_svg(panel.drawing)) == 9
    for word in ("raw", "after Cole", "after Beheshti", "age (years)"):
        assert word in as_svg(panel.drawing)
    panel = panels.bias_panel(scored("continuous", table.drop(columns="corrected_cole"), {}))
    assert panel is not None
    assert "Cole" not in as_svg(panel.drawing)


def test_letters_are_of_the_rows_that_are_drawn() -> None:
    table = pd.concat([predictions(["1", "2"], ["1", "2"], features=f"set{at}") for at in range(8)])
    one = scored("continuous", table, {})
    assert list(one.drawn) == list("ABCDEF")
    assert all(set(rows["features"]) == {row.features} for row in one.rows for rows in (one.drawn[row.letter],))
    assert len(first_repeat(table)) == 16


def test_a_strip_leaves_out_what_there_is_not() -> None:
    whole = panels.strip(1.0, 0.5, 1.5, 2.0, (0.0, 2.0))
    assert whole.count("<line") == 2
    assert whole.count("<circle") == 1
    nan = float("nan")
    assert "<line" not in panels.strip(1.0, nan, nan, nan, (1.0, 1.0))
    assert "<circle" not in panels.strip(nan, nan, nan, nan, (0.0, 1.0))
