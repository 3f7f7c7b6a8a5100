"""The model card of a fitted head, in Markdown: what it is, what it wants, what it is worth, what it must not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.analysis.adjust.confounds import MODES
from featx.analysis.crossval import RESIDUAL
from featx.analysis.features import TABLE, table_columns
from featx.analysis.heads import ATTENTION, get_head
from featx.analysis.inference.metrics import METRICS
from featx.analysis.runs.bundle import Bundle


def card(bundle: Bundle) -> str:
    """A model card after Mitchell et al. 2019 (FAT* 2019, 220), from the contract alone.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join(_lines(bundle.contract)) + "\n"


def _lines(contract: Mapping[str, Any]) -> Iterator[str]:
    head, unit = get_head(contract["head"]), contract.get("unit", "")
    yield f"# {contract['target']} by {head.title}"
    yield ""
    what = f"{contract['kind']} phenotype{f', in {unit}' if unit else ''}"
    yield f"Predicts the {what} `{contract['target']}` from {_features(contract)}."
    if contract["classes"]:
        yield f"Levels: {', '.join(contract['classes'])}."
    yield ""
    yield "## Fitted on"
    yield ""
    yield f"- {contract['n_people']:,} people, {contract['n_images']:,} images; hashes of their ids are in the file"
    if contract.get("range"):
        low, high = contract["range"]
        yield f"- values from {low:g} to {high:g}{f' {unit}' if unit else ''}"
    yield f"- pipeline: {head.pipeline}"
    for name, value in contract["parameters"].items():
        yield f"- {name}: {value:.6g}" if isinstance(value, float) else f"- {name}: {value}"
    if contract["form"] == ATTENTION:
        yield "- what a slice weighs says where the head looks, and not why"
    yield from _treatment(contract)
    yield ""
    yield "## Wants"
    yield ""
    yield from _sets(contract["sets"])
    for one in contract["confounds"]["specs"] if "confounds" in contract["blocks"] or contract["adds_offset"] else []:
        yield f"- the confound `{one['column']}`"
    if "site" in contract["blocks"]:
        known = ", ".join(one for one in contract["sites_trained"] if one)
        yield f"- the site, in the column `{contract['site']}`; known are {known}; another"
        yield "  site is not adjusted"
    yield ""
    yield "## Worth"
    yield ""
    yield from _scored(contract)
    yield ""
    yield "| metric | value | 95 % interval |"
    yield "|---|---|---|"
    for score in contract["scores"]:
        yield f"| {_title(score['metric'])} | {_number(score['value'])} | {_interval(score)} |"
    yield ""
    yield "## Limits"
    yield ""
    yield "Research use; no medical device. The scores hold for people, scanners and preparation like those above; of"
    yield "others nothing is known. Nobody it was fitted on may be used to judge it."
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in contract["versions"].items())
    yield f"Made with {versions}; seed {contract['random_state']}."


def _sets(sets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wanted of a network, or of a table: one line for all its sets."""
    made: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in sets:
        of = one["name"] if one["provenance"]["network"] == TABLE else one["provenance"]["network"]
        made.setdefault((of, one["provenance"]["weights_sha256"]), []).append(one)
    for (name, digest), own in made.items():
        n_features = sum(one["n_features"] for one in own)
        if own[0]["provenance"]["network"] == TABLE:
            columns = ", ".join(table_columns(own[0]["provenance"]))
            yield f"- the table `{name}`, {n_features:,} columns: {columns}"
            continue
        parts = f"weights {own[0]['provenance']['weights']} ({digest[:12] or 'none'})"
        for field in ("view", "tap", "pooling"):
            found = dict.fromkeys(str(one["provenance"][field]) for one in own)
            parts += f"; {field} {', '.join(found)}"
        recipes = dict.fromkeys(one["provenance"]["recipe_digest"][:12] for one in own)
        sets_of = f"{len(own)} feature sets" if len(own) > 1 else "1 feature set"
        yield f"- `{name}`: {sets_of}, {n_features:,} features; {parts}; recipe {', '.join(recipes)}"
    if made:
        yield ""
        yield "Features that were made in another way are refused."


def _scored(contract: Mapping[str, Any]) -> Iterator[str]:
    """How the scores came about."""
    folds = contract["folds"]
    how = {"kfold": "folds", "site": "sites, each left out in turn", "given": "folds that were given"}[
        folds["scheme"]
    ]
    again = f", {folds['n_repeats']} repeats" if folds["n_repeats"] > 1 else ""
    yield "Of heads fitted in the same way to training folds, on people they had not seen"
    yield f"({folds['n_test']:,} images; {folds['n_splits']} {how}{again}):"
    if contract["treatment"]["confounds"] in RESIDUAL:
        yield ""
        yield "Scored on what the confounds leave of the target."


def _features(contract: Mapping[str, Any]) -> str:
    return f"`{contract['features']}`" if contract["sets"] else "the confounds alone"


def _treatment(contract: Mapping[str, Any]) -> Iterator[str]:
    made = contract["treatment"]
    if made["confounds"] != "ignored":
        columns = ", ".join(f"`{one['column']}`" for one in contract["confounds"]["specs"])
        yield f"- confounds {columns}: {MODES[made['confounds']]}"
    if made["class_weight"]:
        yield f"- classes weighted: {made['class_weight']}"
    if made["harmonise"] != "none":
        yield f"- sites harmonised by {made['harmonise']}"
    if made["pca"] is not None:
        yield f"- principal components: {made['pca']}"
    if contract["calibration"] is not None:
        yield f"- probabilities calibrated: {made['calibrate']}"
    if contract.get("age_bias"):
        bias = contract["age_bias"]
        yield f"- age bias of inner out-of-fold predictions: {bias['slope']:.3f} x age + {bias['intercept']:.2f}"


def _title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(score: Mapping[str, Any]) -> str:
    return "–" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"
