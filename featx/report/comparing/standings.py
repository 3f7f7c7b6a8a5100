"""What a comparison says, in sentences and tables of text: the answer of every target first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from featx.analysis.comparing.arms import (
    COMBINED,
    CONFOUNDS,
    CONTROL,
    FROZEN,
    NOTHING,
    SCRATCH,
    TRAINED,
    VOLUMES,
    VOXELS,
    Arm,
)
from featx.analysis.comparing.comparison import Compared, Comparison
from featx.analysis.comparing.crossing import AHEAD, BEHIND, CROSSES
from featx.analysis.comparing.differing import best_of, ends, gap
from featx.analysis.comparing.matching import Common
from featx.analysis.comparing.ranking import OverTargets, first_metric
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.inference.metrics import METRICS
from featx.report.answers import Answer, in_unit
from featx.report.blocks import Grid
from featx.report.wording import (
    BETTER,
    NO_BETTER,
    UNKNOWN,
    WORSE,
    count,
    decimals,
    number,
    p_value,
    short_metric,
    with_interval,
)

AGAINST = (SCRATCH, TRAINED, VOLUMES, VOXELS, CONFOUNDS, COMBINED)  # in the headline; the others stand below it
BESIDE = (FROZEN, CONTROL, NOTHING)
_SUBJECTS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {  # words, and whether they are many
        FROZEN: ("Frozen features of {features}", True),
        COMBINED: ("{features} together", True),
        VOLUMES: ("Numbers of the table {features}", True),
        VOXELS: ("Voxels ({features})", True),
        CONTROL: ("Features of random weights ({features})", True),
        TRAINED: ("Training {features} further ({head})", False),
        SCRATCH: ("Training {features} from scratch", False),
        CONFOUNDS: ("Confounds alone", True),
        NOTHING: ("The baseline", False),
    }
)
_OPPONENTS: Mapping[str, str] = MappingProxyType(
    {
        FROZEN: "frozen features of {features}",
        COMBINED: "{features} together",
        VOLUMES: "{features}",
        VOXELS: "voxels",
        CONTROL: "random weights",
        TRAINED: "training further ({head})",
        SCRATCH: "training from scratch",
        CONFOUNDS: "confounds alone",
        NOTHING: "the baseline",
    }
)


def letters(n: int) -> list[str]:
    """Names of one or two letters.

    Examples
    --------
    >>> letters(3), letters(28)[-2:]
    (['A', 'B', 'C'], ['AA', 'AB'])
    """
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [alphabet[at] if at < 26 else alphabet[at // 26 - 1] + alphabet[at % 26] for at in range(n)]


def places_of(metric: str, table: pd.DataFrame, low: str = "low", high: str = "high") -> int | None:
    """Decimals for a column of one metric."""
    halves = ((table[high] - table[low]) / 2).astype(float)
    return decimals([one for one in halves if one > 0], most=6 if METRICS[metric].has_unit else 3)


# --- the answer -----------------------------------------------------------------------------------------------


def answer(compared: Compared, alpha: float) -> Answer:
    """The reference against the best arm of every other part, and who is first.

    Parameters
    ----------
    compared : Compared
    alpha : float
    """
    subject, metric = compared.reference, first_metric(compared.common.kind)
    gaps = [
        (other, found)
        for role in (*AGAINST, *BESIDE)
        if (other := best_of([arm for arm in compared.arms if arm is not subject], role)) is not None
        and not math.isnan((found := _gap(compared, other, metric, alpha))[1])
    ]
    words, is_many = _SUBJECTS[subject.role]
    who = words.format(features=subject.features, head=subject.head)
    main = [one for one in gaps if one[0].role in AGAINST] or gaps
    unit = f"{in_unit(metric, compared.common.unit)} {short_metric(metric)}"
    places = decimals([(found[2] - found[1]) / 2 for _, found in gaps], most=6 if METRICS[metric].has_unit else 3)
    beside = [one for one in gaps if one not in main]
    said = standing(main, unit, places, is_many=is_many, role=subject.role)
    more = standing(beside, "", places, is_many=is_many, role=subject.role)
    also = f"{'They' if is_many else 'It'} also {more}." if more else ""
    nothing = f"{who} cannot be held against others: there are none, or no interval was drawn."
    return Answer(
        compared.common.name,
        _verdict(main),
        f"{who} {said}." if said else nothing,
        _first(compared, metric),
        " ".join(one for one in (also, _equal(compared, metric)) if one),
        _caution(compared),
    )


Gap = tuple[float, float, float]


def _gap(compared: Compared, other: Arm, metric: str, alpha: float) -> Gap:
    return gap(compared.scored[compared.reference.name][metric], compared.scored[other.name][metric], metric, alpha)


def _verdict(gaps: Sequence[tuple[Arm, Gap]]) -> str:
    """Better only where it is better than all, beyond chance."""
    if not gaps:
        return UNKNOWN
    if any(high < 0 for _, (_, _, high) in gaps):
        return WORSE
    return BETTER if all(low > 0 for _, (_, low, _) in gaps) else NO_BETTER


def standing(gaps: Sequence[tuple[Arm, Gap]], unit: str, places: int | None, *, is_many: bool, role: str = "") -> str:
    """How one stands to others, as the end of a sentence: what it beats, what may be chance, what it is behind.

    Parameters
    ----------
    gaps : sequence of (Arm, (difference, low, high))
        Positive where it is better than the arm.
    unit : str
        Told with the first number.
    places : int, optional
        Decimals.
    is_many : bool
        Whether the subject of the sentence is many.
    role : str
        That of the subject: an arm of the same part is told by its name, for it may have the same features.
    """
    found: dict[str, list[str]] = {}
    for sign in (1, 0, -1):
        for other, (value, low, high) in gaps:
            if (low > 0) - (high < 0) != sign:
                continue
            if value == 0:
                lead = f"{'are' if is_many else 'is'} as good as"
            elif value < 0:
                value, low, high = -value, -high, -low
                lead = ("are" if is_many else "is") + (" behind" if sign else " worse than")
            else:
                lead = ("beat" if is_many else "beats") if sign else ("are" if is_many else "is") + " better than"
            number_, bracket, rest = with_interval(value, low, high, places).partition(" [")
            words = "{name}" if other.role == role else _OPPONENTS[other.role]
            opponent = words.format(name=other.name, features=other.features, head=other.head)
            by = f"{number_}{unit}{bracket}{rest}"
            found.setdefault(lead, []).append(f"{opponent} by {by}" if value else f"{opponent} (apart by {by})")
            unit = ""
    parts = []
    for lead, own in found.items():
        chance = f", which may be chance{' in each case' if len(own) > 1 else ''}" if lead.endswith("than") else ""
        parts.append(f"{lead} {_and(own)}{chance}")
    return "; ".join(parts)


def _and(parts: Sequence[str]) -> str:
    """Parts of a sentence, the last after 'and'.

    Examples
    --------
    >>> _and(["a"]), _and(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _first(compared: Compared, metric: str) -> str:
    """Who is first, how sure that is, who cannot be told from it, and on whom."""
    table, common = compared.ranking, compared.common
    best = table.iloc[0]
    value = with_interval(best["value"], best["low"], best["high"], places_of(metric, table))
    heads = table[table["role"] != NOTHING]
    said = f"First of {count(len(heads), 'arm')}: {best['arm']}, {short_metric(metric)} {value}"
    said += in_unit(metric, common.unit)
    if not math.isnan(best["first"]):
        said += f", the best in {best['first']:.0%} of the draws of people"
    others = heads[heads["rank"] > 1]
    alike, unknown = ([str(one) for one in others.loc[others["apart"] == word, "arm"]] for word in ("no", ""))
    said += f"; not distinguishable from it: {', '.join(alike)}" if alike else ""
    said += f"; without an interval of the difference from it: {', '.join(unknown)}" if unknown else ""
    if len(others) and not alike and not unknown:
        said += "; all others are worse beyond chance"
    return f"{said}. All on the same {_whom(common)}."


def _whom(common: Common) -> str:
    """How many were tested, and how often."""
    n_people, folds = len(set(common.people)), len(set(common.fold[0]) - {TRAIN_ONLY})
    of = "" if n_people == len(common.images) else f" of {count(n_people, 'person', 'people')}"
    each = f", mean over {len(common.fold)} repeats" if len(common.fold) > 1 else ""
    return f"{count(len(common.images), 'image')}{of} in {count(folds, 'fold')}{each}"


def _equal(compared: Compared, metric: str) -> str:
    """Which arms are equal to the reference within the margin; "" where no margin was given."""
    if compared.margin is None:
        return ""
    own = compared.differences
    own = own[(own["metric"] == metric) & (own["equal"] == "yes")]
    name = compared.reference.name
    others = {
        *own.loc[own["arm_a"] == name, "arm_b"],
        *own.loc[own["arm_b"] == name, "arm_a"],
    }
    equal = [arm.name for arm in compared.arms if arm.name in others]
    unit = in_unit(metric, compared.common.unit)
    within = f"within {compared.margin:g}{unit} {short_metric(metric)}"
    return f"Equal to {name} {within}: {', '.join(equal)}." if equal else f"No arm is equal to {name} {within}."


def _caution(compared: Compared) -> str:
    rivals = [arm for arm in compared.arms if arm.role == compared.reference.role]
    if len(rivals) < 2:
        return ""
    return (
        f"{compared.reference.name} is held against the best arm of each other part. It is itself one of "
        f"{len(rivals)} of its part; a part that offers more arms, of which the best is taken by this very score, "
        "looks better than it is."
    )


def answers_of(comparison: Comparison) -> list[Answer]:
    """The answer of every target."""
    return [answer(one, comparison.wish.drawing.alpha) for one in comparison.targets]


# --- tables ---------------------------------------------------------------------------------------------------


def ranking_grid(compared: Compared) -> Grid:
    """Arms, best first, with how sure their places are."""
    metric, table = first_metric(compared.common.kind), compared.ranking
    places = places_of(metric, table)
    rows = []
    for letter, row in zip(letters(len(table)), table.to_dict("records"), strict=True):
        behind = with_interval(row["behind"], row["behind_low"], row["behind_high"], places)
        ranks = number(row["rank_low"], 0), number(row["rank_high"], 0)
        rows.append(
            (
                f"{letter} {row['arm']}",
                with_interval(row["value"], row["low"], row["high"], places),
                behind if row["rank"] > 1 else "–",
                "–" if math.isnan(row["first"]) else f"{row['first']:.1%}",
                ranks[0] if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}",
                "" if row["rank"] == 1 else {"yes": "worse", "no": "may be as good", "": "–"}[row["apart"]],
            )
        )
    unit = in_unit(metric, compared.common.unit)
    score = f"{short_metric(metric)}{f' (in{unit})' if unit else ''}"
    columns = ("Arm", score, "behind the first", "first in draws", "rank over draws", "against the first")
    return Grid(f"{compared.common.kind}; best first by {short_metric(metric)}", columns, tuple(rows), 1)


def metrics_grid(compared: Compared, alpha: float) -> Grid:
    """All metrics of all arms with their intervals."""
    names = list(next(iter(compared.scored.values())))
    cells: dict[str, list[tuple[float, float, float]]] = {
        metric: [
            (compared.scored[arm.name][metric].value, *ends(compared.scored[arm.name][metric].draws, alpha))
            for arm in compared.arms
        ]
        for metric in names
    }
    places = {
        metric: decimals(
            [(one[2] - one[1]) / 2 for one in own if one[2] > one[1]], 6 if METRICS[metric].has_unit else 3
        )
        for metric, own in cells.items()
    }
    rows = [
        (f"{letter} {arm.name}", *(with_interval(*cells[metric][at], places[metric]) for metric in names))
        for at, (letter, arm) in enumerate(zip(letters(len(compared.arms)), compared.arms, strict=True))
    ]
    return Grid("All metrics", ("Arm", *map(short_metric, names)), tuple(rows), 1)


_TESTS = {"p_corrected_t": "p", "p_delong": "p DeLong", "p_permutation": "p exchange", "q": "q", "effect": "d"}


def differences_grid(compared: Compared, question: str, metric: str) -> Grid:
    """Every pair of one question in one metric, with its tests."""
    table = compared.differences
    own = table[(table["question"] == question) & (table["metric"] == metric)]
    letter = {arm.name: one for arm, one in zip(compared.arms, letters(len(compared.arms)), strict=True)}
    shown = {name: title for name, title in _TESTS.items() if own[name].notna().any()}
    has_margin = bool((own["equal"] != "").any())
    places = places_of(metric, own)
    rows = []
    for row in own.to_dict("records"):
        tests = [number(row[name], 2) if name == "effect" else p_value(row[name]) for name in shown]
        names = [f"{letter[row[side]]} {row[side]}" for side in ("arm_a", "arm_b")]
        cells = (with_interval(row["difference"], row["low"], row["high"], places), *tests)
        rows.append((*names, *cells, *([row["equal"]] if has_margin else [])))
    unit = in_unit(metric, compared.common.unit)
    caption = f"{question}: differences in {short_metric(metric)}{f' (in{unit})' if unit else ''}"
    columns = ("This", "against", "difference", *shown.values(), *(["equal"] if has_margin else []))
    return Grid(caption[0].upper() + caption[1:], columns, tuple(rows), 2)


def over_grid(over: OverTargets) -> Grid:
    """Arms over all targets."""
    rows = [
        (str(row["arm"]), number(row["mean_rank"], 2), f"{row['n_first']} of {row['n_targets']}")
        for row in over.table.to_dict("records")
    ]
    return Grid("Arms over all targets, best first", ("Arm", "mean rank", "first"), tuple(rows), 1)


def over_note(over: OverTargets) -> str:
    """What the tests over targets say."""
    said = f"Ranks by the first metric of each of {count(over.n_targets, 'target')}; equal scores share their rank."
    if math.isnan(over.p):
        return f"{said} Too few for a test of ranks."
    return (
        f"{said} Friedman's test that all arms rank alike: χ² {number(over.chi2, 1)}, p {p_value(over.p)}. Mean "
        f"ranks that differ by less than {number(over.critical_difference, 2)} cannot be told apart (Nemenyi; "
        "Demšar 2006)."
    )


def crossings_grid(table: pd.DataFrame) -> Grid:
    """Where arms overtake others."""
    rows = [
        (str(row["target"]), str(row["arm"]), str(row["overtaken"]), crossing_words(row), f"{row['n_test']:,}")
        for row in table.to_dict("records")
    ]
    columns = ("Target", "This", "overtakes", "from so many people on", "test images")
    return Grid("Where curves cross", columns, tuple(rows), 4)


def crossing_words(row: Mapping[Any, Any]) -> str:
    """One crossing in words.

    Parameters
    ----------
    row : mapping
        Columns of `featx.analysis.comparing.columns.CROSSINGS`.

    Examples
    --------
    >>> about = {"n_low": 20, "n_high": 140, "low": float("nan"), "high": 120.2, "share": 0.9}
    >>> crossing_words({**about, "verdict": "crosses", "n_cross": 66.4})
    '66 [below 20, 120]'
    >>> crossing_words({**about, "verdict": "behind throughout", "n_cross": float("nan")})
    'not within 20 to 140: behind throughout'
    """
    n_low, n_high = int(row["n_low"]), int(row["n_high"])
    if row["verdict"] != CROSSES:
        return f"not within {n_low:,} to {n_high:,}: {row['verdict']}"
    n, low, high, share = (float(row[name]) for name in ("n_cross", "low", "high", "share"))
    if math.isnan(share):
        return f"{n:,.0f}; one draw only, so there is no interval"
    below = f"below {n_low:,}" if math.isnan(low) else f"{low:,.0f}"
    above = f"beyond {n_high:,}" if math.isnan(high) else f"{high:,.0f}"
    return f"{n:,.0f} [{below}, {above}]"


def costs_grid(table: pd.DataFrame) -> Grid:
    """What is recorded of costs; an empty cell says that nothing is."""
    rows = [
        (
            str(row["run"]),
            str(row["what"]),
            str(row["of"]),
            str(row["device"]) or "–",
            str(row["told_by"]),
            "–" if pd.isna(row["minutes"]) else number(float(row["minutes"]), 1),
            "–" if pd.isna(row["n"]) else f"{int(row['n']):,}",
        )
        for row in table.to_dict("records")
    ]
    columns = ("Run", "what", "of", "device", "told by", "minutes", "images or networks")
    return Grid("Minutes that were recorded", columns, tuple(rows), 5)


def crossing_sentence(row: Mapping[Any, Any]) -> str:
    """A crossing as a sentence, for the answer."""
    words = crossing_words(row)
    if row["verdict"] == CROSSES:
        return f"{row['arm']} overtakes {row['overtaken']} from {words} training people on."
    said = {AHEAD: "is ahead of", BEHIND: "does not overtake"}.get(str(row["verdict"]), "falls behind")
    return f"{row['arm']} {said} {row['overtaken']} within {row['n_low']} to {row['n_high']} training people."
