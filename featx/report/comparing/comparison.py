"""A comparison of runs as one HTML file that asks nothing of anyone: the answer first, then how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import featx
from featx import schema
from featx.analysis.comparing.arms import CONFOUNDS, NOTHING, ROLES
from featx.analysis.comparing.comparison import Compared, Comparison
from featx.analysis.comparing.costs import minutes_of
from featx.analysis.comparing.crossing import CROSSES, SAME, series
from featx.analysis.comparing.differing import ARMS, GAIN_CONFOUNDS, GAIN_VOLUMES, MOST_COMPARED, OVER_BASELINE
from featx.analysis.comparing.notes import OWN
from featx.analysis.comparing.ranking import first_metric
from featx.analysis.comparing.writing import facts_of
from featx.analysis.inference.cautions import CODES, Caution
from featx.analysis.inference.metrics import METRICS
from featx.analysis.runs.runwriter import file_stems, slug
from featx.report import contents
from featx.report.answers import Answer, in_unit
from featx.report.blocks import Grid, Panel, Section
from featx.report.comparing import standings
from featx.report.export import MOST_WITH_PDF, write_figures
from featx.report.figures.canvas import Drawing
from featx.report.figures.comparing import Mark, costing, forest, growing, matrix
from featx.report.templating import environment, write_page
from featx.report.wording import count, decimals, higher_is_better, metric_title, short_metric, with_interval

MOST_TARGETS = 20  # of more, these are shown in full and all of them in one table
_GAINS = {
    GAIN_VOLUMES: "Gain over volumes",
    GAIN_CONFOUNDS: "Gain over confounds",
    OVER_BASELINE: "Gain over the baseline",
}


@dataclass(frozen=True)
class TargetPart:
    """What the page shows of one target."""

    name: str
    answer: Answer
    sections: tuple[Section, ...]
    tests: tuple[tuple[str, tuple[Grid, ...]], ...]  # what opens them, and what they are


def write_comparison_page(
    comparison: Comparison, output: Path, *, with_figures: bool = True, is_private: bool = False
) -> None:
    """Write the page of a comparison; the same comparison gives the same bytes.

    Parameters
    ----------
    comparison : Comparison
    output : Path
        The page.
    with_figures : bool
        Whether its figures are written as files, with their numbers, into figures/ beside it.
    is_private : bool
        Whether cautions of runs, which may quote people, are told by what their codes mean. Nothing else on the page
        is of fewer people than were tested.

    Raises
    ------
    AnalysisError
        It cannot be written there, or the folder of figures holds something else.
    """
    write_page(render(comparison, with_figures=with_figures, is_private=is_private), output)
    if with_figures:
        folder = output.parent / schema.FIGURES_DIR
        write_figures(_panels(comparison), folder, with_pdf=_with_pdf(comparison))


def _with_pdf(comparison: Comparison) -> bool:
    return len(comparison.targets) <= MOST_WITH_PDF


def _panels(comparison: Comparison) -> dict[str, Panel]:
    """Figures by the name of their files: target and what they are of."""
    stems = file_stems([one.common.name for one in comparison.targets])
    found = {
        f"{stems[one.common.name]}-{slug(section.title).lower()}": panel
        for at, one in enumerate(comparison.targets[:MOST_TARGETS])
        for section in _sections(one, comparison, f"t{at}")
        for panel in section.panels
    }
    drawn = [panel for section in _more(comparison) for panel in section.panels]
    return found | {f"curve-{at}-{slug(panel.title)}": panel for at, panel in enumerate(drawn, start=1)}


def render(comparison: Comparison, *, with_figures: bool = False, is_private: bool = False) -> str:
    """The page as text; it says where the figures lie as files, if they do."""
    told = [(one.code, _sentence(one, is_private=is_private), one.target) for one in comparison.cautions]
    answers = standings.answers_of(comparison)
    parts = [
        TargetPart(one.common.name, said, tuple(_sections(one, comparison, f"t{at}")), tuple(_tests(one, comparison)))
        for at, (one, said) in enumerate(zip(comparison.targets[:MOST_TARGETS], answers, strict=False))
    ]
    facts = facts_of(comparison)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            title=" · ".join(entry.name for entry in comparison.entries),
            version=featx.__version__,
            parts=parts,
            overview=_overview(comparison, answers) if len(answers) > MOST_TARGETS else None,
            cautions=contents.cautions(
                [dict(zip(("code", "sentence", "target"), one, strict=True)) for one in dict.fromkeys(told)]
            ),
            left_out=comparison.left_out,
            more=_more(comparison),
            crossings=[standings.crossing_sentence(row) for row in comparison.crossings.to_dict("records")],
            level=f"{100 * (1 - comparison.wish.drawing.alpha):g}",
            how=_how(comparison),
            figures=schema.FIGURES_DIR if with_figures else "",
            with_pdf=_with_pdf(comparison),
            compared=_compared_grid(comparison),
            digests=[
                (f"{one['name']}: {file}", digest)
                for one in facts["compared"]
                for file, digest in one["sha256"].items()
            ],
            versions=list(facts["versions"].items()),
        )
    )


def _sentence(caution: Caution, *, is_private: bool) -> str:
    """A caution as the page tells it, without a stop at its end."""
    if is_private and caution.code not in OWN:
        return CODES.get(caution.code, "see run.json of the runs")
    return caution.sentence.rstrip(".")


# --- one target -----------------------------------------------------------------------------------------------


def _sections(one: Compared, comparison: Comparison, prefix: str) -> list[Section]:
    metric = first_metric(one.common.kind)
    found = [_ranking(one, metric, prefix), _each_with_each(one, metric, prefix)]
    found += [_gain(one, metric, question, f"{prefix}g{at}") for at, question in enumerate(_GAINS)]
    found.append(_cost(one, metric, comparison, prefix))
    return [section for section in found if section is not None]


def _letters(one: Compared) -> dict[str, str]:
    return {arm.name: letter for arm, letter in zip(one.arms, standings.letters(len(one.arms)), strict=True)}


def _axis(one: Compared, metric: str) -> str:
    unit = in_unit(metric, one.common.unit)
    better = "higher" if higher_is_better(metric) else "lower"
    return f"{metric_title(metric)}{f',{unit}' if unit else ''} ({better} is better)"


def _ranking(one: Compared, metric: str, prefix: str) -> Section:
    rows = one.ranking.to_dict("records")
    letter = _letters(one)
    marks = [
        Mark(f"{letter[row['arm']]}  {row['arm']}", row["role"], row["value"], row["low"], row["high"])
        for row in rows
        if np.isfinite(row["value"])
    ]
    drawing = forest(
        marks,
        xlabel=_axis(one, metric),
        alt=f"{one.common.name}: {short_metric(metric)} of every arm with its interval, best first",
        prefix=f"{prefix}r",
    )
    roles = [role for role in ROLES if role in {row["role"] for row in rows}]
    caption = f"Shaded: the interval of the first. {'; '.join(f'{role}: {ROLES[role]}' for role in roles)}."
    panel = Panel("", "Scores with their intervals", drawing, caption, one.ranking)
    notes = (
        "First in draws: in how many draws of people an arm is the best, which is how sure its first place is. "
        "May be as good: the interval of its difference from the first holds 0.",
    )
    return Section(
        f"{prefix}-ranking", "Ranking", notes, (panel,), grids=(standings.ranking_grid(one),), is_wide=True
    )


def _each_with_each(one: Compared, metric: str, prefix: str) -> Section | None:
    heads = [arm.name for arm in one.arms if arm.role != NOTHING]
    table = one.differences
    own = table[(table["question"] == ARMS) & (table["metric"] == metric)]
    if not len(own):
        return None
    if len(heads) > MOST_COMPARED:
        return _against_reference(one, metric, own, prefix)
    values = np.full((len(heads), len(heads)), np.nan)
    apart = np.zeros(values.shape, dtype=bool)
    for row in own.to_dict("records"):
        a, b = heads.index(row["arm_a"]), heads.index(row["arm_b"])
        values[a, b], values[b, a] = row["difference"], -row["difference"]
        apart[a, b] = apart[b, a] = row["better"] != ""
    letter = _letters(one)
    drawing = matrix(
        [letter[name] for name in heads],
        values,
        apart,
        places=standings.places_of(metric, own) or 2,
        alt=f"{one.common.name}: how much better each arm is than each other in {short_metric(metric)}",
        prefix=f"{prefix}m",
    )
    unit = in_unit(metric, one.common.unit)
    caption = f"Differences in {short_metric(metric)}{f', in{unit}' if unit else ''}; letters as in the ranking. "
    caption += "Blue: the arm of the row is better; orange: worse; white: the interval holds 0."
    panel = Panel("", "Each arm against each other", drawing, caption, own)
    return Section(f"{prefix}-pairs", "Differences", (), (panel,), is_wide=True)


def _against_reference(one: Compared, metric: str, own: pd.DataFrame, prefix: str) -> Section:
    drawing = _difference_forest(one, metric, own, one.reference.name, prefix=f"{prefix}m", of="arm_b")
    caption = f"How much better {one.reference.name} is than each of the others; to the right of 0 it is better."
    panel = Panel("", f"{one.reference.name} against each other", drawing, caption, own)
    return Section(f"{prefix}-pairs", "Differences", (), (panel,), is_wide=True)


def _difference_forest(
    one: Compared, metric: str, own: pd.DataFrame, zero: str, *, prefix: str, of: str = "arm_a"
) -> Drawing:
    letter, role = _letters(one), {arm.name: arm.role for arm in one.arms}
    marks = [
        Mark(f"{letter[row[of]]}  {row[of]}", role[row[of]], row["difference"], row["low"], row["high"])
        for row in own.to_dict("records")
    ]
    unit = in_unit(metric, one.common.unit)
    return forest(
        marks,
        xlabel=f"better by, {short_metric(metric)}{unit}",
        alt=f"{one.common.name}: differences from {zero} with their intervals",
        prefix=prefix,
        zero=zero,
    )


def _gain(one: Compared, metric: str, question: str, prefix: str) -> Section | None:
    table = one.differences
    own = table[(table["question"] == question) & (table["metric"] == metric)]
    if not len(own):
        return None
    simple = str(own["arm_b"].iloc[0])
    drawing = _difference_forest(one, metric, own, simple, prefix=prefix)
    better, worse = (int((own["better"] == side).sum()) for side in "ab")
    said = f"Of {count(len(own), 'arm')}, better than {simple} beyond chance: {better or 'none'}; worse: "
    said += f"{worse or 'none'}."
    rivals = [arm for arm in one.arms if arm.role == CONFOUNDS] if question == GAIN_CONFOUNDS else []
    if len(rivals) > 1:
        said += f" It is the best of {len(rivals)} arms on confounds alone."
    caption = "To the right of the dashed line an arm is better."
    panel = Panel("", f"Difference from {simple}", drawing, caption, own)
    return Section(f"{prefix}-gain", _GAINS[question], (said,), (panel,), is_wide=True)


def _cost(one: Compared, metric: str, comparison: Comparison, prefix: str) -> Section | None:
    """Score against minutes, where at least two arms have both."""
    letter = _letters(one)
    rows = {row["arm"]: row for row in one.ranking.to_dict("records")}
    marks = []
    for arm in one.arms:
        minutes = minutes_of(arm, one.common.name, comparison.costs)
        row = rows[arm.name]
        if np.isfinite(minutes) and minutes > 0 and np.isfinite(row["value"]):
            marks.append((Mark(letter[arm.name], arm.role, row["value"], row["low"], row["high"]), minutes))
    if len(marks) < 2:
        return None
    devices = sorted({str(one) for one in comparison.costs["device"] if one}) or ["unknown"]
    drawing = costing(
        marks,
        ylabel=_axis(one, metric),
        xlabel=f"minutes of extraction or training ({', '.join(devices)})",
        alt=f"{one.common.name}: {short_metric(metric)} against minutes of extraction or training",
        prefix=f"{prefix}c",
    )
    data = pd.DataFrame(
        [(mark.label, minutes, mark.value, mark.low, mark.high) for mark, minutes in marks],
        columns=["arm", "minutes", "value", "low", "high"],
    )
    caption = (
        "Letters as in the ranking. Minutes: a frozen network's extraction, once for all targets and folds; a "
        "network that trains, all its folds and seeds, for all targets that it learned together. Fitting of heads "
        "is left out."
    )
    panel = Panel("", "Score and cost", drawing, caption, data)
    return Section(f"{prefix}-cost", "Cost beside accuracy", (), (panel,))


def _tests(one: Compared, comparison: Comparison) -> list[tuple[str, tuple[Grid, ...]]]:
    """All metrics of all arms; then every test, metric by metric."""
    questions = list(dict.fromkeys(one.differences["question"]))
    metrics = list(dict.fromkeys(one.differences["metric"]))
    alpha = comparison.wish.drawing.alpha
    grids = {
        metric: tuple(standings.differences_grid(one, asked, metric) for asked in questions) for metric in metrics
    }
    found = [("All metrics of all arms", (standings.metrics_grid(one, alpha),))]
    return found + [(f"All tests of {short_metric(metric)}", own) for metric, own in grids.items()]


# --- all targets ----------------------------------------------------------------------------------------------


def _overview(comparison: Comparison, answers: Sequence[Answer]) -> Grid:
    rows = []
    for one, said in zip(comparison.targets, answers, strict=True):
        metric, best = first_metric(one.common.kind), one.ranking.iloc[0]
        places = decimals([(best["high"] - best["low"]) / 2], most=6 if METRICS[metric].has_unit else 3)
        value = with_interval(best["value"], best["low"], best["high"], places)
        rows.append((one.common.name, str(best["arm"]), said.headline, short_metric(metric), value))
    return Grid(f"All {len(rows)} targets", ("Target", "first", "answer", "metric", "score"), tuple(rows), 4)


def _more(comparison: Comparison) -> list[Section]:
    """What is not of one target: arms over all of them, curves, costs."""
    found = []
    if comparison.over is not None:
        note = standings.over_note(comparison.over)
        found.append(Section("over", "Over all targets", (note,), grids=(standings.over_grid(comparison.over),)))
    if len(comparison.curves):
        found.append(_growth(comparison))
    if len(comparison.costs):
        note = (
            "As far as files tell: a feature file remembers the jobs that wrote it, a training run its networks, a "
            "study its steps. Nothing is guessed: – stands where nothing is recorded. Minutes are of the device that "
            "is named and say nothing of another."
        )
        found.append(Section("costs", "Costs", (note,), grids=(standings.costs_grid(comparison.costs),)))
    return found


def _growth(comparison: Comparison) -> Section:
    panels = []
    units = {one.common.name: one.common.unit for one in comparison.targets}
    for entry in comparison.entries:
        units |= {} if entry.points is None else dict.fromkeys(set(entry.points["target"]) - set(units), "")
    for at, ((target, kind, tested), own) in enumerate(series(comparison.curves)):
        metric = first_metric(str(kind))
        shown = own[(own["metric"] == metric) & (own["role"] != NOTHING)].dropna(subset=["value"])
        if not len(shown):
            continue
        crossed = comparison.crossings
        crossed = crossed[(crossed["target"] == target) & (crossed["tested"] == tested)]
        crossed = crossed[(crossed["n_test"] == int(own["n_test"].max())) & (crossed["verdict"] == CROSSES)]
        uprights = [
            (row["arm"], row["overtaken"], row["n_cross"], row["low"], row["high"])
            for row in crossed.to_dict("records")
        ]
        unit = in_unit(metric, units.get(str(target), ""))
        drawing = growing(
            shown,
            uprights,
            ylabel=f"{metric_title(metric)}{f',{unit}' if unit else ''}",
            alt=f"{target}: {short_metric(metric)} against the people who train",
            prefix=f"curve{at}",
        )
        whom = f"{int(own['n_test'].max()):,} test images" if tested == SAME else "each size tested its own people"
        caption = f"Median and quartiles over draws; {whom}."
        caption += " Upright: where curves cross; the bar on it: its interval." if uprights else ""
        panels.append(Panel("", str(target), drawing, caption, shown))
    notes = (
        "A crossing is from how many training people on the median of one arm is better than that of another, up "
        "to the largest size; between sizes it is linear in log n. Its interval is by bootstrap over draws: of "
        "training people in a folder of curves; of a run, repeats and seeds, which say nothing of other people. "
        "Whom a folder of curves tested is not stored: it stands with runs that tested equally many.",
    )
    grids = (standings.crossings_grid(comparison.crossings),) if len(comparison.crossings) else ()
    return Section("curves", "Curves over the people who train", notes, tuple(panels), grids=grids, is_wide=True)


# --- how it was made ------------------------------------------------------------------------------------------


def _compared_grid(comparison: Comparison) -> Grid:
    rows = []
    for entry in comparison.entries:
        if entry.run is None:
            draws = entry.facts.get("drawing", {})
            rows.append(
                (entry.name, "curves", ", ".join(map(str, draws.get("sizes", []))), f"{draws.get('n_draws')} draws")
            )
            continue
        targets = ", ".join(str(one["name"]) for one in entry.facts["targets"])
        repeats = {int(one["n_repeats"]) // int(one.get("n_seeds", 1)) for one in entry.facts["targets"]}
        seeds = {int(one.get("n_seeds", 1)) for one in entry.facts["targets"]}
        said = f"{'/'.join(map(str, sorted(repeats)))} repeats, {'/'.join(map(str, sorted(seeds)))} seeds"
        rows.append((entry.name, "run", targets, said))
    return Grid("What was compared", ("Folder", "what", "targets or sizes", "repeats"), tuple(rows), 4)


def _how(comparison: Comparison) -> list[str]:
    """How runs were compared; nothing for curves alone, which say so themselves."""
    if not comparison.targets:
        return []
    wish = comparison.wish
    level = f"{100 * (1 - wish.drawing.alpha):g} %"
    trained = "who trained differs" if wish.shared_people else "the same people trained"
    return [
        f"All arms are scored on the same images in the same folds, which was checked image by image; {trained}. "
        "Repeats are those that all runs have; a network that was trained with several seeds counts with the mean "
        "of its scores over them.",
        f"Intervals: {level}, percentile bootstrap over people with {wish.drawing.n_bootstrap:,} draws, the same "
        "for all arms, so that differences are paired. They say how scores vary with who is tested, for the "
        "training sets at hand.",
        "p: corrected resampled t-test over folds (Nadeau & Bengio 2003), which also speaks of who trained; p "
        "DeLong: of two AUC (DeLong 1988), first repeat and seed; p exchange: each person's errors change places "
        f"between two arms at random, {wish.drawing.n_permutations:,} times (as Leonardsen 2025 compares "
        "networks); d: Cohen's d of paired errors of people.",
        "q: p of the t-test (p of the bootstrap where there is one fold) after Benjamini & Hochberg over all pairs, "
        "questions and targets of one metric, a pair that is asked about twice counted once.",
        "Ranks, and who is first, are over the same draws. An arm that was chosen among several by the very score "
        "that is shown looks better than it is.",
    ]
