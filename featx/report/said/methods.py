"""A methods section, written from what a run really did: each sentence stands only where its option was used.

Works are cited as ``[@key]``, a key of `featx.report.said.citations.CITATIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from featx.analysis.adjust.confounds import MODES
from featx.analysis.crossval import ADDED, IGNORED, ONLY
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.heads import HEADS
from featx.analysis.runs.rundir import Run
from featx.report.said.citations import bibtex, cited, numbered, words
from featx.report.said.described import features, libraries, library_keys, listed, mark, trained
from featx.report.said.published import published
from featx.report.wording import count, metric_title

_HEAD_KEYS = {
    "ridge": ("hoerl1970",),
    "elasticnet": ("zou2005",),
    "elasticnet-logistic": ("zou2005", "friedman2010"),
    "pc-elastic-net": ("holderrieth2022", "zou2005"),
    "pc-elastic-net-logistic": ("holderrieth2022", "zou2005"),
    "boosting": ("xgboost2016",),
    "cumulative-logit": ("mccullagh1980",),
    "softbins": ("peng2021",),
}
_CALIBRATED = {"platt": ("a logistic curve", "platt1999"), "isotonic": ("isotonic regression", "zadrozny2002")}
_SOLVERS = {"logistic": ", solved by way of a bound of the Hessian [@bohning1992]"}
_SOURCES = {
    "Holderrieth, Smith & Peng 2022": "holderrieth2022",
    "Leonardsen et al. 2022": "leonardsen2022",
    "Dhinagar et al. 2023": "dhinagar2023",
}
_FOREIGN = "sklearn:"
_SOFTWARE = {"numpy": "numpy2020", "scipy": "scipy2020", "sklearn": "sklearn2011", "nibabel": "nibabel"}


@dataclass(frozen=True)
class Paragraph:
    """One paragraph under its title."""

    title: str
    text: str


@dataclass(frozen=True)
class Methods:
    """A methods section.

    Attributes
    ----------
    paragraphs : tuple of Paragraph
        Works are numbers in brackets.
    references : tuple of str
        In the order of the numbers.
    bibtex : str
        The same works as BibTeX.
    """

    paragraphs: tuple[Paragraph, ...]
    references: tuple[str, ...]
    bibtex: str

    @property
    def markdown(self) -> str:
        """The section as Markdown."""
        parts = ["# Methods", *(f"## {one.title}\n\n{one.text}" for one in self.paragraphs)]
        if self.references:
            parts += ["## References", "\n".join(f"{at}. {one}" for at, one in enumerate(self.references, 1))]
        return "\n\n".join(parts) + "\n"


def methods(
    run: Run, training: Mapping[str, Any] | None = None, *, is_private: bool = False, protocol: str = ""
) -> Methods:
    """The methods section of a run.

    Parameters
    ----------
    run : Run
    training : mapping, optional
        training.json of a run of `featx train`.
    is_private : bool
        Whether the condition on people is left out, which may name them, and how many had no row.
    protocol : str
        Whose published numbers stand beside the run's, a key of `featx.report.said.published.PROTOCOLS`; "" for none.
    """
    parts = {
        "Images and features": features(run.facts),
        "People": _people(run, is_private),
        "Cross-validation": _folds(run),
        "Heads": _heads(run),
        "Networks that were trained": trained(training),
        "Confounds and sites": _adjusting(run),
        "Scores": _scores(run),
        "Tests": _tests(run),
        "Published numbers": _published(protocol),
        "Software": _software(run, training),
    }
    found = [Paragraph(title, text) for title, sentences in parts.items() if (text := " ".join(sentences))]
    order = cited("\n".join(one.text for one in found))
    return Methods(
        tuple(Paragraph(one.title, numbered(one.text, order)) for one in found),
        tuple(words(key) for key in order),
        bibtex(order),
    )


def _arguments(run: Run, part: str) -> Mapping[str, Any]:
    return (run.facts.get("arguments") or {}).get(part) or {}


# --- people and folds -----------------------------------------------------------------------------------------


def _people(run: Run, is_private: bool) -> Iterator[str]:
    flow, where = run.facts.get("flow") or {}, _arguments(run, "columns").get("where", "")
    met = "a condition that stands in run.json" if is_private else f"the condition {where}"
    if not is_private and {"images_with_all_features", "images_matched", "people_matched"} <= set(flow):
        kept = f" and met {met}" if where else ""
        n, people = int(flow["images_matched"]), int(flow["people_matched"])
        whose = "" if n == people else f", of {count(people, 'person', 'people')},"
        before = count(flow["images_with_all_features"], "image")
        yield f"Of {before} with features, {n:,}{whose} had a row in the phenotype table{kept}."
    elif where:
        yield f"Only people who met {met} were kept."
    for one in run.facts["targets"]:
        unit = f", in {one['unit']}" if one.get("unit") else ""
        levels = [str(level) for level in one.get("classes") or ()]
        of = f" with the levels {listed(levels)}" if levels and len(levels) <= 8 else ""
        if len(run.facts["targets"]) <= 12:
            n, people = int(one.get("n_images", 0)), int(one.get("n_people", 0))
            whom = count(people, "person", "people")
            yield f"{one['name']} ({one['kind']}{unit}){of}: {count(n, 'image')} of {whom}."
    if len(run.facts["targets"]) > 12:
        yield f"{len(run.facts['targets'])} phenotypes were predicted, each from the people who had a value."


def _folds(run: Run) -> Iterator[str]:
    if not len(run.splits):
        return
    folding, columns = _arguments(run, "folding"), _arguments(run, "columns")
    tested = run.splits[run.splits["fold"] != TRAIN_ONLY]
    n_folds = sorted({int(n) for n in tested.groupby(["target", "repeat"])["fold"].nunique()})
    n_repeats = int(run.splits["repeat"].max()) + 1
    has_cohort = bool((run.splits["fold"] == TRAIN_ONLY).any())
    span = " to ".join(map(str, dict.fromkeys((n_folds[0], n_folds[-1])))) if n_folds else "0"
    if has_cohort and n_folds == [1]:
        yield "Heads were fitted on the training people and tested once on people who trained nothing."
    elif folding.get("scheme") == "site":
        yield f"Each of {span} sites was left out in turn, whole, and predicted by heads fitted on the others."
    else:
        drawn = "given" if folding.get("scheme") == "given" else "drawn"
        how = f", {n_repeats} times repeated" if n_repeats > 1 else ""
        yield f"Every prediction is out of fold: {span}-fold cross-validation{how}, with folds that were {drawn}."
    side = "on one side" if has_cohort and n_folds == [1] else "in one fold"
    yield f"All images of a person were {side}."
    if columns.get("group"):
        yield f"Whoever shares a value of {columns['group']} was {side} as well."
    if folding.get("scheme") == "kfold":
        yield from _strata(columns, folding)
    if folding.get("n_inner") and (run.facts.get("arguments") or {}).get("heads"):
        yield (
            f"Parameters of heads were chosen on {folding['n_inner']} inner folds of the training people; who tested "
            "chose nothing."
        )
    if "random_state" in folding:
        yield f"The seed of folds and draws was {folding['random_state']}."


def _strata(columns: Mapping[str, Any], folding: Mapping[str, Any]) -> Iterator[str]:
    stratify = columns.get("stratify", "")
    by = {"target": "the target (classes, or quantiles of numbers)", "none": "", "": ""}.get(stratify, stratify)
    by = " and ".join(one for one in (by, "site" if folding.get("by_site") else "") if one)
    if by:
        yield f"Folds were stratified by {by}."


# --- heads and adjustment --------------------------------------------------------------------------------------


def _heads(run: Run) -> Iterator[str]:
    used = [name for name in dict.fromkeys(run.scores["head"]) if name in HEADS or name.startswith(_FOREIGN)]
    for name in used:
        sheet = HEADS.get(name)
        if sheet is not None:
            chosen = "" if sheet.grid in ("", "nothing") else f"; chosen by inner folds: {sheet.grid}"
            title = sheet.title[0].upper() + sheet.title[1:] + mark(*_HEAD_KEYS.get(name, ()))
            yield f"{title}: {sheet.pipeline}{_SOLVERS.get(name, '')}{chosen}."
        else:
            grid = (run.facts.get("arguments") or {}).get("grids", {}).get(name)
            chosen = f"; chosen by inner folds: {grid}" if grid else ""
            title = f"scikit-learn's {name.removeprefix(_FOREIGN)}{mark('sklearn2011')}"
            yield f"{title}, on standardised columns{chosen}."
    if used:
        yield "Whatever was fitted, scaling included, was fitted on training people only."
    if _arguments(run, "options").get("class_weight") == "balanced":
        yield "Classes were weighted by the inverse of their size."
    pca = _arguments(run, "adjusting").get("pca")
    if pca is not None:
        kept = f"{pca} principal components" if isinstance(pca, int) else f"components with {pca:g} of the variance"
        yield f"Heads were given {kept} of the features, found in the training people of each fold and whitened."


def _adjusting(run: Run) -> Iterator[str]:
    adjusting, site = _arguments(run, "adjusting"), _arguments(run, "columns").get("site", "")
    confounds = [_confound(str(one)) for one in adjusting.get("confounds") or ()]
    used = set(run.scores["confounds"])
    if confounds:
        yield f"Confounds were {listed(confounds)}; their coefficients were fitted in each fold's training people."
        ways = [words for mode, words in MODES.items() if mode in used and mode != IGNORED]
        if ways:
            yield f"They were treated in {count(len(ways), 'way')}: {'; '.join(ways)}."
        if {ONLY, ADDED} <= used:
            yield "What features add is the difference of heads with both from heads with confounds alone."
    if adjusting.get("harmonise") == "combat":
        kept = [_confound(str(one)) for one in adjusting.get("preserve") or ()]
        combat = f"by ComBat{mark('johnson2007', 'fortin2018')}, fitted in the training people"
        preserved = f", the effect of {listed(kept)} preserved" if kept else ""
        yield f"Features were harmonised over {site} {combat}{preserved}."


def _confound(spec: str) -> str:
    """A confound in words.

    Examples
    --------
    >>> _confound("age:spline"), _confound("site")
    ('age (spline)', 'site')
    """
    name, _, form = spec.partition(":")
    return f"{name} ({form})" if form else name


# --- scores and tests ------------------------------------------------------------------------------------------


def _scores(run: Run) -> Iterator[str]:
    names = list(dict.fromkeys(run.scores["metric"]))
    if not names:
        return
    yield (
        f"Measures were {listed([metric_title(one) for one in names])}, over all predictions of a repeat together"
        + (", and their means over repeats." if int(run.splits["repeat"].max() if len(run.splits) else 0) else ".")
    )
    n = int(_arguments(run, "inferring").get("n_bootstrap", 0))
    if n:
        whole = ", groups kept whole" if _arguments(run, "columns").get("group") else ""
        yield f"Intervals are of 95 %, by {n:,} bootstrap draws of people{whole}{mark('efron1993')}."
    yield "The baseline says the mean, or the class frequencies, of the training people."
    calibrate = _arguments(run, "adjusting").get("calibrate", "none")
    if calibrate in _CALIBRATED:
        said, key = _CALIBRATED[calibrate]
        yield f"Probabilities were calibrated by {said}{mark(key)}, fitted to inner out-of-fold predictions."
    by = set(run.breakdowns["by"])
    if "calibration" in by:
        yield f"Calibration was judged by intercept and slope of a recalibration{mark('cox1958')}."
    shown = [words for name, words in {"site": "by site", "age": "by band of age"}.items() if name in by]
    if shown:
        yield f"Scores were broken down {listed(shown)}."
    if "age-matched" in by:
        yield "Scores of two classes were computed again in people matched for age."
    if len(run.age_bias):
        done = set(run.age_bias["correction"])
        keys = [key for name, key in (("cole", "cole2018"), ("beheshti", "beheshti2019")) if name in done]
        yield (
            "The bias of predicted age was corrected by a line fitted to inner out-of-fold predictions of training "
            f"people{mark(*keys, 'delange2020')}; raw and corrected numbers stand beside each other."
        )


def _tests(run: Run) -> Iterator[str]:
    table = run.comparisons
    if len(table):
        said = "Arms were compared on the same people and folds: differences with 95 % intervals by paired bootstrap"
        tests = (
            [f"the corrected resampled t-test{mark('nadeau2003')}"] if table["p_corrected_t"].notna().any() else []
        )
        if table["p_delong"].notna().any():
            tests.append(f"DeLong's test of areas under the ROC curve{mark('delong1988')}")
        yield f"{said}, and {listed(tests)}." if tests else f"{said}."
    n = int(run.permutations["n_permutations"].max()) if len(run.permutations) else 0
    if n:
        yield f"Ridge was held against {n:,} permutations of the target, each through the whole outer loop."
    n_targets = len(run.facts["targets"])
    if n_targets > 1 and (n or (len(table) and table["q"].notna().any())):
        over = f"over the {n_targets} phenotypes"
        yield f"The false discovery rate of p values was controlled {over}{mark('benjamini1995')}."


def _published(protocol: str) -> Iterator[str]:
    sources = dict.fromkeys(one.source for one in (published(protocol) if protocol else ()))
    if sources:
        told = [one + (mark(_SOURCES[one]) if one in _SOURCES else "") for one in sources]
        yield f"Beside the run's own scores stand numbers that others published of their own people: {listed(told)}."


# --- software --------------------------------------------------------------------------------------------------


def _software(run: Run, training: Mapping[str, Any] | None) -> Iterator[str]:
    versions = {str(name): str(one) for name, one in (run.facts.get("versions") or {}).items()}
    if not versions:
        return
    heads = set(run.scores["head"])
    left_out = {"joblib", *(() if "boosting" in heads else ("xgboost",))}
    keys = [key for name, key in _SOFTWARE.items() if name in versions]
    yield f"Analyses were done with {_with_versions(versions, left_out)}{mark(*keys)}."
    read = libraries(run.facts)
    if read:
        own = library_keys(list(read)) + [key for name, key in _SOFTWARE.items() if name in read and key not in keys]
        yield f"Features were computed with {_with_versions(read, ())}{mark(*dict.fromkeys(own))}."
    extra = {str(name): str(one) for name, one in ((training or {}).get("versions") or {}).items()}
    more = {name: one for name, one in extra.items() if versions.get(name) != one}
    if more:
        yield f"Networks were trained with {_with_versions(more, ())}."


def _with_versions(versions: Mapping[str, str], left_out: Iterable[str]) -> str:
    titles = {"sklearn": "scikit-learn", "python": "Python", "torch": "PyTorch", "xgboost": "XGBoost"}
    titles |= {"pytorch-lightning": "PyTorch Lightning"}
    return listed([f"{titles.get(name, name)} {one}" for name, one in versions.items() if name not in left_out])
