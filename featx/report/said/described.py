"""Features and networks that trained, in the sentences of a methods section. Works are cited as ``[@key]``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.networks import NETWORKS
from featx.report.wording import count

# What a sheet's reference says, to the keys of CITATIONS.
_REFERENCES = {
    "Peng et al. 2021": "peng2021",
    "Leonardsen et al. 2022": "leonardsen2022",
    "Gupta et al. 2021": "gupta2021",
    "2023, ISBI": "gupta2023",
    "Holderrieth": "holderrieth2022",
    "Krizhevsky 2014": "krizhevsky2014",
    "Iandola et al. 2016": "iandola2016",
    "Simonyan and Zisserman 2015": "simonyan2015",
    "He et al. 2016": "he2016",
    "Huang et al. 2017": "huang2017",
    "Dosovitskiy et al. 2021": "dosovitskiy2021",
    "Tran et al. 2018": "tran2018",
    "Carreira and Zisserman 2017": "carreira2017",
    "Cardoso et al. 2022": "cardoso2022",
}
_TRAINING = {"ImageNet": "russakovsky2015", "Kinetics": "kay2017"}
_LIBRARIES = {"torch": "torch2019", "torchvision": "torchvision2016", "timm": "timm2019", "monai": "cardoso2022"}
_TABLE = "table"  # the network of features that are columns of a table


def mark(*keys: str) -> str:
    """A citation of these works with a blank before it; "" of none.

    Examples
    --------
    >>> mark("peng2021", "he2016"), mark()
    (' [@peng2021;he2016]', '')
    """
    return f" [@{';'.join(keys)}]" if keys else ""


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


# --- features -------------------------------------------------------------------------------------------------


def features(facts: Mapping[str, Any]) -> Iterator[str]:
    """Which features: of which networks, from which images, read where; tables; what stood side by side."""
    combinations = facts.get("features") or []
    sets = {one["name"]: one for each in combinations for one in each["sets"]}
    provenances = [(one, one.get("provenance") or {}) for one in sets.values()]
    read = [(one, said) for one, said in provenances if said.get("network") not in (None, "", _TABLE) and _width(one)]
    by_network: dict[tuple[str, str], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for one, said in read:
        by_network.setdefault((str(said["network"]), str(said.get("weights", ""))), []).append((one, said))
    if by_network:
        many = len(by_network) > 1
        yield (
            f"Features were read from {len(by_network)} frozen {'networks' if many else 'network'}: no weight of "
            f"{'them' if many else 'it'} was changed."
        )
    for (network, weights), own in by_network.items():
        yield _network(network, weights, own)
    contracts = list(_contracts([said for _, said in provenances if said.get("network") != _TABLE]))
    yield from contracts
    if any(one.get("code") == "accepted-misfits" for one in facts.get("cautions") or []):
        yield "Some images that did not fit were let through all the same."
    elif contracts:
        yield "An image that did not fit was not given to the network, and no image took the place of another."
    for one, said in provenances:
        if said.get("network") == _TABLE:
            columns = f" ({count(_width(one), 'column')})" if _width(one) else ""
            yield f"The numbers of the table {one['name']}{columns} were used as features as well."
    together = [str(one["name"]) for one in combinations if len(one["sets"]) > 1]
    if together:
        each = "each of " if len(together) > 1 else ""
        yield f"The feature sets of {each}{listed(_some(together))} stood side by side."
    aggregate = (facts.get("arguments") or {}).get("aggregate", "")
    if aggregate and any(said.get("pooling") == "slices" for _, said in read):
        yield f"Features of slices were aggregated to one row per image: {aggregate}."


def _width(one: Mapping[str, Any]) -> int:
    return int(one.get("n_features", 0))


def _some(words: Sequence[str], most: int = 6) -> list[str]:
    return [*words[:most], f"{len(words) - most} more"] if len(words) > most else list(words)


def _network(name: str, weights: str, own: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """One network: its weights, and where it was read."""
    sheet = NETWORKS.get(name)
    keys = _network_keys(name)
    told = "" if keys or sheet is None else f" ({sheet.reference})"
    views, taps, poolings = (
        list(dict.fromkeys(str(said.get(part, "")) for _, said in own)) for part in ("view", "tap", "pooling")
    )
    looked = "as whole volumes" if views == ["volume"] else f"along the {listed(views)} axis"
    looked += "es" if len(views) > 1 and views != ["volume"] else ""
    looked = looked.replace("axises", "axes")
    n = sum(_width(one) for one, _ in own)
    where = f"{'taps' if len(taps) > 1 else 'tap'} {listed(_some(taps, 12))}"
    return (
        f"{name}{mark(*keys)}{told}, with {_weights(weights, own, sheet)}, was given the images {looked} and read at "
        f"the {where}, pooled by {listed(poolings)}: {count(n, 'feature')} in {count(len(own), 'set')}."
    )


def _network_keys(name: str) -> list[str]:
    sheet = NETWORKS.get(name)
    return [key for words, key in _REFERENCES.items() if sheet is not None and words in sheet.reference]


def _weights(weights: str, own: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], sheet: Any) -> str:
    digest = str(own[0][1].get("weights_sha256", ""))[:12]
    of = f" (sha256 of the tensors {digest}…)" if digest else ""
    kind, _, what = weights.partition(":")
    if kind == "random":
        return f"random weights (seed {what}), as a control{of}"
    if kind == "reinit":
        return f"weights drawn anew at the scale of the pretrained ones (seed {what}), as a control{of}"
    if kind == "file":
        return f"weights of the file {what}{of}"
    if kind == "official" and sheet is not None:
        keys = [key for words, key in _TRAINING.items() if words in sheet.training]
        return f"its published weights{mark(*keys)}, trained on {sheet.training}{of}"
    return f"{weights or 'its'} weights{of}" if weights != "none" else "no weights"


def _contracts(provenances: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What images had to be, and what was done to them: once for all networks and axes that share it."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for said in provenances:
        try:
            recipe = json.loads(str(said.get("recipe", "")))
        except ValueError:
            continue
        if isinstance(recipe, dict) and recipe.get("grid"):
            names, cuts = found.setdefault(_contract(recipe), ({}, {}))
            names[str(said["network"])] = None
            cuts |= {f"{one['count']} {one['axis']}": None for one in recipe.get("view", ()) if _cuts(one)}
    for words, (names, cuts) in found.items():
        of = f" for {listed(_some(list(names)))}" if len(found) > 1 else ""
        yield f"Images{of} {words.replace(_SLICES, f'cut into slices ({listed(list(cuts))})')}."


_SLICES = "cut into slices"


def _cuts(step: Mapping[str, Any]) -> bool:
    return step.get("step") == "slices" and {"count", "axis"} <= set(step)


def _contract(recipe: Mapping[str, Any]) -> str:
    grid = recipe["grid"]
    shape = f", {'×'.join(map(str, grid['shape']))} voxels" if grid.get("shape") else ""
    space = f"had to lie on the grid {grid.get('name', '')}{shape} of {float(grid.get('voxel_mm', 0)):g} mm"
    if recipe.get("resampled"):
        space = f"were resampled by their affine to the grid {grid.get('name', '')}{shape}"
    steps = [_SLICES if _cuts(one) else _step(one) for one in (*recipe.get("steps", ()), *recipe.get("view", ()))]
    return f"{space}; {'they were ' + listed(steps) if steps else 'nothing else was done to them'}"


_STEPS = {
    "divide-by-mean": "divided by the mean of the whole volume",
    "divide-by": "divided by {value}",
    "percentile-to-unit": "scaled so that the {percentile}th percentile of the brain is 1",
    "z-score": "standardised over the volume",
    "shift-and-scale": "shifted and scaled (mean {mean}, SD {std})",
    "crop": "cropped",
    "pad": "padded",
    "turn": "turned to the network's orientation",
    "crop-around-brain": "cropped around the brain",
    "shrink": "averaged over blocks of {factor} voxels",
    "resize": "resized to {size} pixels",
    "normalise": "normalised as the network's pretraining did",
}


def _step(step: Mapping[str, Any]) -> str:
    """A step of a recipe as a participle; one of another name is told as it is.

    Examples
    --------
    >>> _step({"step": "resize", "size": 224}), _step({"step": "spin", "turns": 3})
    ('resized to 224 pixels', 'put through the step spin (turns 3)')
    """
    name = str(step.get("step", ""))
    try:
        return _STEPS[name].format(**step)
    except (KeyError, IndexError):
        settings = ", ".join(f"{key} {value}" for key, value in step.items() if key != "step")
        return f"put through the step {name}{f' ({settings})' if settings else ''}"


def libraries(facts: Mapping[str, Any]) -> dict[str, str]:
    """Versions of what computed the features, from their provenance; of several, all."""
    found: dict[str, dict[str, None]] = {}
    for combination in facts.get("features") or []:
        for one in combination["sets"]:
            try:
                said = json.loads(str((one.get("provenance") or {}).get("versions") or "{}"))
            except ValueError:
                continue
            for name, version in said.items() if isinstance(said, dict) else ():
                found.setdefault(str(name), {})[str(version)] = None
    return {name: " and ".join(several) for name, several in found.items()}


def library_keys(names: Sequence[str]) -> list[str]:
    """Works to cite for libraries that ran networks."""
    return [key for name, key in _LIBRARIES.items() if name in names]


# --- networks that train ----------------------------------------------------------------------------------------


_PHASES = {"output": "the new last layer", "all": "all layers"}


def trained(training: Mapping[str, Any] | None) -> Iterator[str]:
    """Arms that were trained: from what, in which phases, by which recipe, on how many, with which seeds.

    Parameters
    ----------
    training : mapping, optional
        training.json of a run of `featx train`; None where nothing was trained.
    """
    if not training or not training.get("fits"):
        return
    fits = training["fits"]
    tested = [one for one in fits if one.get("n_test")]
    name = str(training.get("network", "The network"))
    yield (
        f"{name}{mark(*_network_keys(name))} was trained anew in every fold [@lightning2019;torch2019]: "
        f"{count(len(tested) or len(fits), 'network')} in all, on {_span(fits, 'n_train')} images each; "
        f"{_span(fits, 'n_validation')} more of the training people chose the epoch, and nobody who tested chose "
        "anything."
    )
    told = training.get("arms") or {}
    for arm in dict.fromkeys(str(one["arm"]) for one in fits):
        own = [one for one in fits if str(one["arm"]) == arm]
        yield f"Arm {arm}{_says(told.get(arm))}: {_epochs(own)}.{_recipe(told.get(arm))}"
    if any(one.get("batch_norm") == "adapt" for one in fits):
        yield "Statistics of batch normalisation were estimated anew on the training images."
    seeds = sorted({int(one["seed"]) for one in fits})
    if len(seeds) > 1:
        told_seeds = ", ".join(map(str, seeds))
        yield f"Every fold was trained with {len(seeds)} seeds ({told_seeds}); scores are means over them."
    else:
        yield f"Every fold was trained with one seed ({seeds[0]})."
    machine = ", ".join(str(training[name]) for name in ("device", "precision") if training.get(name))
    if machine:
        yield f"Networks were trained on: {machine}."


def _span(fits: Sequence[Mapping[str, Any]], name: str) -> str:
    values = sorted({int(one.get(name, 0)) for one in fits})
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _says(arm: Mapping[str, Any] | None) -> str:
    return f" ({arm['says']})" if arm and arm.get("says") else ""


def _epochs(fits: Sequence[Mapping[str, Any]]) -> str:
    said = []
    for phase in dict.fromkeys(name for one in fits for name in one.get("epochs") or {}):
        kept = sorted(int(one["epochs"][phase]) + 1 for one in fits if phase in (one.get("epochs") or {}))
        span = f"{kept[0]}" if kept[0] == kept[-1] else f"{kept[0]} to {kept[-1]}"
        said.append(
            f"{_PHASES.get(phase, phase)}, of which the epoch with the least validation loss was kept ({span})"
        )
    return "trained " + ", then ".join(said) if said else "no fit of it came to an end"


def _recipe(arm: Mapping[str, Any] | None) -> str:
    """The recipes of an arm, as training.json tells them."""
    told = []
    if arm is None:
        return ""
    for recipe in arm["recipes"]:
        phases = [
            f"{_PHASES.get(name, name)}: {one['optimiser']}, learning rate {one['learning_rate']:g}, weight decay "
            f"{one['weight_decay']:g}, at most {count(int(one['epochs']), 'epoch')}"
            for name, one in recipe["schedules"].items()
            if name in arm["phases"]
        ]
        drawn = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in recipe["augmentation"].items() if value
        )
        said = f"Recipe {recipe['name']}, batches of {recipe['batch_size']}; {'; '.join(phases)}"
        told.append(f"{said}; augmentation: {drawn or 'none'}.")
    return "".join(f" {one}" for one in told)
