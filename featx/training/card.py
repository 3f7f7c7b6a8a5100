"""The card of a trained network, in Markdown: what it answers, on whom and how it was trained. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from featx.analysis.inference.metrics import METRICS
from featx.networks.output import ORDINAL, REGRESSION, SOFT_BINS, Output
from featx.networks.sheet import Network
from featx.networks.trained import inside, outputs_from, prediction_taps
from featx.training.arms import ALL, OUTPUT, get_arm
from featx.training.fit import ADAPT, EVAL
from featx.training.schedules import RECIPES, SGD

_BATCH_NORM = MappingProxyType(
    {EVAL: "as it was pretrained (eval)", ADAPT: "estimated anew on the training images (adapt)"}
)


def card(sheet: Network, facts: Mapping[str, Any]) -> str:
    """A model card after Mitchell et al. 2019 (FAT* 2019, 220).

    Parameters
    ----------
    sheet : Network
        Of `featx.networks.trained.trained_sheet`.
    facts : mapping
        As JSON holds them. There must be arm, seed, n_train, n_validation (images), epochs (by phase, the one that
        was kept, from 0), elapsed_s, recipe (fields of `featx.training.schedules.TrainingRecipe`) and versions. There
        may be start (the first weights), n_people, ages_years (lowest and highest), sexes (people by level), labels
        (by phenotype: n, range or classes), loss_weights (by phenotype), validation_loss, scores (target, metric,
        value, n; of the validation people), batch_norm (eval or adapt), device, precision and file (where the
        checkpoint is).

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join(_lines(sheet, facts)) + "\n"


def _lines(sheet: Network, facts: Mapping[str, Any]) -> Iterator[str]:
    outputs = outputs_from(str(sheet.arguments["outputs"]), sheet.name)
    base = inside(sheet)
    targets = ", ".join(f"`{one.target}`" for one in outputs)
    yield f"# {sheet.name}"
    yield ""
    yield f"{base.name if base else sheet.family}, trained to predict {targets}."
    yield ""
    for tap, one in zip(prediction_taps(outputs), outputs, strict=True):
        yield f"- `{one.target}`: {_answer(one)}; read at the tap `{tap}`"
    yield from _section("Trained on", _people(sheet, facts))
    yield from _section("Trained how", _training(facts))
    yield from _section("Worth", _worth(facts))
    yield from _section("Wants", _wants(sheet))
    yield from _section("Use", _use(sheet, facts))
    yield from _section("Limits", _limits(facts))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines


def _answer(output: Output) -> str:
    """What an output says, in words."""
    if output.form == REGRESSION:
        return f"a number (one column, in standard deviations of {output.values[1]:.4g} from {output.values[0]:.4g})"
    if output.form == SOFT_BINS:
        first, last = output.values[0], output.values[-1]
        return f"a number, the mean of {output.width} soft bins with centres from {first:g} to {last:g}"
    levels = ", ".join(output.classes)
    if output.form == ORDINAL:
        return f"a number among those of the ordered levels {levels}"
    if output.width == 2:
        place = int(output.values[0]) if output.values else 1
        return f"the probability of {output.classes[place]} (of {levels})"
    return f"the probabilities of {levels}"


# --- on whom, and how -----------------------------------------------------------------------------------------


def _people(sheet: Network, facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"- {sheet.training}"
    of = f"; {facts['n_people']:,} people in all" if "n_people" in facts else ""
    yield f"- {facts['n_train']:,} images trained, {facts['n_validation']:,} more chose the epoch{of}"
    span = facts.get("ages_years") or sheet.age_range_years
    if span:
        yield f"- ages {span[0]:g} to {span[1]:g} years"
    if facts.get("sexes"):
        yield f"- sex: {_counts(facts['sexes'])}"
    for name, label in facts.get("labels", {}).items():
        told = _counts(label["classes"]) if label.get("classes") else "from {:g} to {:g}".format(*label["range"])
        yield f"- `{name}`: {label['n']:,} images have it; {told}"


def _counts(by_level: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {level}" for level, n in by_level.items())


def _training(facts: Mapping[str, Any]) -> Iterator[str]:
    arm, recipe = get_arm(facts["arm"]), facts["recipe"]
    yield f"- arm {arm.name}: {arm.says}"
    if facts.get("start"):
        yield f"- first weights: {facts['start']}"
    yield f"- recipe {recipe['name']}: {recipe['source'] or 'its source is not stated'}"
    for name, (value, before) in changes(recipe, arm.phases).items():
        yield f"- not the recipe's: {name} {value} (there {before})"
    for phase in arm.phases:
        kept = f"epoch {facts['epochs'][phase]} (from 0) was kept"
        yield f"- phase {phase}: {_schedule(recipe['schedules'][phase])}; {kept}"
    yield f"- batches of {recipe['batch_size']}; augmentation {_augmentation(recipe['augmentation'], arm.phases)}"
    if facts.get("batch_norm") and arm.phases[0] == OUTPUT:
        yield f"- while the network stands still, its batch norm is {_BATCH_NORM[facts['batch_norm']]}"
    if len(set(facts.get("loss_weights", {}).values())) > 1:
        yield f"- weights in the loss: {_told(facts['loss_weights'])}"
    if facts.get("validation_loss") is not None:
        yield f"- validation loss of what was kept: {facts['validation_loss']:.4g}"
    where = ", ".join(str(facts[name]) for name in ("device", "precision") if name in facts)
    yield f"- seed {facts['seed']}; {facts['elapsed_s'] / 60:.1f} minutes{f' on {where}' if where else ''}"


def _augmentation(augmentation: Mapping[str, Any], phases: tuple[str, ...]) -> str:
    """What changed the volumes, and when: a network that stands still looks once, at volumes as they are."""
    told = _told({name: value for name, value in augmentation.items() if value})
    if not told or ALL not in phases:
        return "none"
    return f"{told}, in phase {ALL}" if len(phases) > 1 else told


def _schedule(schedule: Mapping[str, Any]) -> str:
    momentum = f", momentum {schedule['momentum']:g}" if schedule["optimiser"] == SGD else ""
    steps = f", times {schedule['step_factor']:g} every {schedule['step_epochs']}" if schedule["step_epochs"] else ""
    return (
        f"{schedule['optimiser']}, learning rate {schedule['learning_rate']:g}{steps}{momentum}, weight decay "
        f"{schedule['weight_decay']:g}, at most {schedule['epochs']} epochs"
    )


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def changes(recipe: Mapping[str, Any], phases: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Numbers that are not those of the published recipe of that name, with these.

    Parameters
    ----------
    recipe : mapping
        Fields of a `featx.training.schedules.TrainingRecipe`.
    phases : tuple of str
        Those that ran.

    Returns
    -------
    dict of str to (value, published value)
        By the names that ``--set`` knows.

    Examples
    --------
    >>> from featx.training.schedules import changed
    >>> changes(asdict(changed(RECIPES["gupta"], {"epochs": "20", "numbers": "soft-bins"})), ("all",))
    {'numbers': ('soft-bins', 'regression'), 'all.epochs': (20, 100)}
    """
    if recipe["name"] not in RECIPES:
        return {}
    own, published = _flat(recipe, phases), _flat(asdict(RECIPES[recipe["name"]]), phases)
    return {name: (value, published[name]) for name, value in own.items() if value != published[name]}


def _flat(recipe: Mapping[str, Any], phases: tuple[str, ...]) -> dict[str, Any]:
    flat = {name: recipe[name] for name in ("batch_size", "numbers", "patience", "dropout")}
    for phase in phases:
        flat |= {f"{phase}.{name}": value for name, value in recipe["schedules"][phase].items()}
    augmentation = recipe["augmentation"] if ALL in phases else {}
    return flat | {f"augmentation.{name}": value for name, value in augmentation.items()}


# --- what it is worth, and how it is used ---------------------------------------------------------------------


def _worth(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts.get("scores"):
        yield "This network is scored on nobody: all who were there trained it or chose its epoch. Scores of networks"
        yield "trained in the same way on the other folds stand in the run that it is from."
        return
    yield "On the people who chose the epoch, and trained nothing. The choice makes these scores a little too good:"
    yield "judge it on other people."
    yield ""
    yield "| phenotype | metric | value | images |"
    yield "|---|---|---|---|"
    for score in facts["scores"]:
        value = "–" if score["value"] is None else f"{score['value']:.3f}"
        yield f"| {score['target']} | {METRICS[score['metric']].title} | {value} | {score['n']:,} |"


def _wants(sheet: Network) -> Iterator[str]:
    recipe, grid = sheet.recipe, sheet.recipe.grid
    shape = "" if grid.anywhere else f"{'x'.join(map(str, grid.shape))} voxels of "
    brain = "a brain without its skull" if recipe.skull_stripped else "a head, with or without its skull"
    space = "registered to the template" if recipe.registered else "registered or not"
    yield f"- {grid.name}: {shape}{grid.voxel_mm:g} mm; {brain}, {space}"
    steps = [*recipe.steps, *recipe.views[0].steps]
    yield f"- steps to its input: {', '.join(step.name for step in steps) or 'none'}"


def _use(sheet: Network, facts: Mapping[str, Any]) -> Iterator[str]:
    file = facts.get("file", "FILE.safetensors")
    yield f"    featx extract images.csv -n file:{file} -o features.h5"
    yield f"    featx networks add {file} --name {sheet.name}"
    yield ""
    yield "Its tap `features` is the vector under the last layer; the answers are read by `--tap`, and scored as they"
    yield "are by `featx fit --head direct`."


def _limits(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "Research use; no medical device. What it is worth holds for people, scanners and preparation like those"
    yield "above; of others nothing is known. Nobody it was trained on may be used to judge it, nor to judge heads"
    yield "that are fitted to its features."
    yield ""
    yield f"Made with {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."
