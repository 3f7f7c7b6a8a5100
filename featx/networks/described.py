"""A network's sheet as plain facts, such as JSON and TOML hold, and back again without loss.

Facts are the fields of `featx.networks.sheet.Network`, with those of its recipe beside them; a step is its name under
"step", beside its settings. They come from files, so everything in them is checked, and the code they name can only
be that of a network of the table. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import tomllib
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from featx.errors import NetworkError, first_line, known
from featx.images.volume import MNI152_1MM, MNI152_2MM, NATIVE_1MM, Grid
from featx.networks.recipe import STEPS
from featx.networks.sheet import POOLINGS, VOLUME, Network, Recipe, Setting, Step, View
from featx.networks.sheetcheck import check_sheet, is_orientation

GRIDS: Mapping[str, Grid] = MappingProxyType(
    {"mni152-1mm": MNI152_1MM, "mni152-2mm": MNI152_2MM, "native-1mm": NATIVE_1MM}
)
# The steps of a view, with the kinds of their settings: `featx.networks.look.STEPS`, which imports torch.
LOOKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "shrink": {"factor": int},
        "slices": {
            "axis": str,
            "first": int,
            "last": int,
            "count": int,
            "channels": str,
            "shown": tuple[int, ...],
            "blank": str,
        },
        "resize": {"size": int},
        "normalise": {"mean": tuple[float, ...], "std": tuple[float, ...]},
    }
)
OPTIONAL = ("channels", "shown", "blank")
OWN = "featx.networks.architectures.own:build"  # whatever a user's factory gives
TRAINED = "featx.networks.architectures.trained:Trained"  # a network of any kind under outputs of its own
# Architectures that facts may name although no sheet of the table does.
BY_PATTERN = ("featx.networks.architectures.timm:build", "featx.networks.architectures.timm:read", TRAINED)

EXAMPLE = """\
takes = "volume"                # the whole volume; or pictures, clip, set: slices, which the views then take
grid = "mni152-2mm"             # or mni152-1mm, native-1mm, or its numbers
steps = [{step = "z-score"}]    # on the whole volume, in this order
taps.features = {module = "pool", width = 64, positions = false}
"""

_NOT_ITS_OWN = ("name", "architecture", "weights", "reads", "stem")  # a wrong stem would go unnoticed
_NOT_IN_TEXTS = ("Cc", "Zl", "Zp")  # a terminal would obey them
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "family": "Your own",
        "arguments": {},
        "steps": [],
        "weights": None,
        "default_pooling": ["mean"],
        "training": "not stated",
        "age_range_years": None,
        "reference": "not stated",
    }
)


# --- from a sheet to facts ------------------------------------------------------------------------------------


def facts_of(sheet: Network) -> dict[str, Any]:
    """Everything a sheet says, in dicts, lists, texts and numbers.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> facts = facts_of(get_network("sfcn.ukb_age"))
    >>> facts["takes"], facts["steps"][1]
    ('volume', {'step': 'crop', 'box': [[11, 171], [13, 205], [11, 171]]})
    """
    facts = {one.name: _plain(getattr(sheet, one.name)) for one in dataclasses.fields(sheet)}
    recipe: dict[str, Any] = facts.pop("recipe")
    return recipe | facts


def _plain(value: Any) -> Any:
    if isinstance(value, Step):
        return {"step": value.name, **_plain(value.settings)}
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


# --- from facts to a sheet ------------------------------------------------------------------------------------


def read_recipe(path: Path) -> dict[str, Any]:
    """Facts of a network of one's own, from a TOML file such as `EXAMPLE`.

    Raises
    ------
    NetworkError
        There is no such file, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkError(
            f"a recipe must be a TOML file; {path} is not ({first_line(error)}); mend it, or write one such as: "
            f"{example()}"
        ) from error


def example() -> str:
    """`EXAMPLE` in one line, for the end of a sentence."""
    return "; ".join(line.partition("#")[0].strip() for line in EXAMPLE.splitlines())


def own_sheet(facts: Mapping[str, Any], name: str, factory: str) -> Network:
    """The sheet of a user's own network, which `featx.networks.architectures.own` builds.

    Parameters
    ----------
    facts : mapping
        Of its recipe, views and taps; `arguments` are the factory's.
    factory : str
        "module:callable" that gives the torch module.

    Raises
    ------
    NetworkError
        See `sheet_from`; or a fact that is not the recipe's to say, such as the architecture.
    """
    where = f"the recipe of {name}"
    arguments = facts.get("arguments", {})
    taken = isinstance(arguments, Mapping) and "factory" in arguments
    said = [key for key in _NOT_ITS_OWN if key in facts] + ["factory"] * taken
    if said:
        raise NetworkError(
            f"{where} must say what the network takes and where it is read, no more; it holds {said[0]!r}; leave "
            "that out, for the name and --weights say the rest"
        )
    sheet = _sheet({**facts, "architecture": OWN}, name, where)
    return dataclasses.replace(sheet, arguments={"factory": factory, **sheet.arguments})


def sheet_from(facts: Mapping[str, Any], name: str) -> Network:
    """The sheet that facts describe, under a name.

    What it is built and read with must be code that a network of the table is built and read with, so that a file
    cannot name other code to be run.

    Parameters
    ----------
    facts : mapping
        As `facts_of` gives them. "grid" may be a name of `GRIDS`; what has a default may be absent.
    name : str
        Of the network, whatever the facts call it.

    Raises
    ------
    NetworkError
        An unknown or missing fact, step or setting, or one of the wrong kind; foreign code.
    """
    from featx.networks import NETWORKS  # the table finds networks by what stands here

    where = f"the facts of {name}"
    sheet = sheet_of(facts, name)
    trusted = {code for one in NETWORKS.values() for code in (one.architecture, one.reads) if code} | {*BY_PATTERN}
    for code in (sheet.architecture, *([sheet.reads] if sheet.reads else [])):
        if code not in trusted:
            raise NetworkError(
                f"{where} must name code of featx's own table of networks; got {code!r}; a network of your own is "
                "named python:module:factory, with --recipe and --weights"
            )
    for key in sheet.arguments:
        if key.startswith(("weights", "pretrained")):
            raise NetworkError(f"{where} must leave weights to the file; its arguments hold {key!r}; leave that out")
    if sheet.architecture == TRAINED:
        inside = facts_inside(sheet)
        sheet_from(inside, inside["name"])
    return sheet


def sheet_of(facts: Mapping[str, Any], name: str) -> Network:
    """The sheet that facts describe, whatever code they name: for facts that come from no file.

    Raises
    ------
    NetworkError
        As `sheet_from`, but for foreign code.
    """
    return _sheet(facts, name, f"the facts of {name}")


def facts_inside(sheet: Network) -> dict[str, Any]:
    """Facts of the network inside a trained one.

    Raises
    ------
    NetworkError
        Its arguments do not hold them.
    """
    try:
        facts = json.loads(str(sheet.arguments.get("base", "")))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("name"), str):
        raise NetworkError(
            f"the facts of {sheet.name} must hold those of the network inside, as JSON under 'base' of its "
            f"arguments; got {str(sheet.arguments.get('base'))[:60]!r}; write the checkpoint again"
        )
    return facts


def _sheet(facts: Mapping[str, Any], name: str, where: str) -> Network:
    try:
        return _read(facts, name, where)
    except RecursionError as error:
        raise NetworkError(
            f"{where} must not be nested deeper than a sheet is; they are; get another copy of the file"
        ) from error


def _read(facts: Mapping[str, Any], name: str, where: str) -> Network:
    kinds = get_type_hints(Network)
    recipe_kinds = get_type_hints(Recipe)
    _check_keys(facts, {*kinds, *recipe_kinds} - {"recipe"}, where)
    given = {**_DEFAULTS, **_derived(facts), **facts, "name": name}
    lacking = [one for one in (*_needed(Network), "grid", "views") if one not in (*given, "recipe")]
    _check_there(facts, lacking, where)
    values = {key: _typed(value, (recipe_kinds | kinds)[key], f"{key!r} of {where}") for key, value in given.items()}
    recipe = Recipe(**{key: values.pop(key) for key in recipe_kinds if key in values})
    sheet = Network(recipe=recipe, **values)
    check_sheet(sheet, where)
    return sheet


def _derived(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from other facts: every tap and view is a default, and a whole volume has one view."""
    slices = [takes for takes in POOLINGS if takes != VOLUME]
    derived: dict[str, Any] = {} if facts.get("takes") in slices else {"views": [{"name": "volume"}]}
    views: Any = (derived | dict(facts)).get("views")
    tables = [view for view in views if isinstance(view, Mapping)] if _is_list(views) else []
    names, taps = [view["name"] for view in tables if "name" in view], facts.get("taps")
    return derived | {"default_views": names, "default_taps": list(taps) if isinstance(taps, Mapping) else []}


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


# --- kinds ----------------------------------------------------------------------------------------------------


def _typed(value: Any, kind: Any, where: str) -> Any:
    """A value of an annotated kind: lists become tuples, tables become dataclasses, whole numbers floats."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind == Setting:
        return _setting(value, where)
    if origin in (UnionType, Union) and NoneType in inner:
        return None if value is None else _typed(value, inner[0], where)
    if origin is tuple:
        return _tuple(value, inner, where)
    if kind in _READERS:
        return _READERS[kind](value, where)
    if not (dataclasses.is_dataclass(kind) or origin is Mapping):
        return _scalar(value, kind, where)
    if not isinstance(value, Mapping):
        raise _wrong(value, "a table", where)
    if origin is Mapping:
        return {str(key): _typed(one, inner[1], f"{key!r} in {where}") for key, one in value.items()}
    return typed_fields(value, kind, where)


def _scalar(value: Any, kind: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise _wrong(value, _KINDS[kind], where)
    if kind is str and any(unicodedata.category(one) in _NOT_IN_TEXTS for one in value):
        raise _wrong(value, "a text of one line without control characters", where)
    return value


def _tuple(value: Any, inner: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not _is_list(value):
        raise _wrong(value, "a list", where)
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    if len(value) != len(kinds):
        raise _wrong(value, f"a list of {len(kinds)}", where)
    return tuple(_typed(one, kind, where) for one, kind in zip(value, kinds, strict=True))


def _setting(value: Any, where: str) -> Setting:
    """A number or a text, or lists of them, whose exact kind is the step's or the architecture's to know."""
    if _is_list(value):
        return cast(Setting, tuple(_setting(one, where) for one in value))
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise _wrong(value, "a number, a text or a list", where)


def typed_fields(value: Mapping[str, Any], kind: Any, where: str) -> Any:
    """A dataclass from a table of its fields, each of its annotated kind.

    Raises
    ------
    NetworkError
        An unknown or missing field, or one of the wrong kind.
    """
    kinds = get_type_hints(kind)
    _check_keys(value, kinds, where)
    _check_there(value, _needed(kind), where)
    return kind(**{key: _typed(one, kinds[key], f"{key!r} in {where}") for key, one in value.items()})


def _needed(kind: Any) -> list[str]:
    return [one.name for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING]


def _grid(value: Any, where: str) -> Grid:
    if isinstance(value, str):
        if value not in GRIDS:
            raise NetworkError(
                f"{where} must be a grid that has a name, or its numbers; got {value!r}; {known(GRIDS)}"
            )
        return GRIDS[value]
    if not isinstance(value, Mapping):
        raise _wrong(value, "the name of a grid, or a table of its numbers", where)
    grid: Grid = typed_fields(value, Grid, where)
    if not is_orientation(grid.orientation) or grid.voxel_mm <= 0 or min(grid.shape) < 1:
        raise NetworkError(
            f"{where} must have an orientation such as 'LAS', a voxel_mm above 0 and a shape of 1 or more; got "
            f"{grid.orientation!r}, {grid.voxel_mm:g} and {grid.shape}; mend that"
        )
    return grid


def _step(value: Any, steps: Mapping[str, tuple[Mapping[str, Any], Collection[str]]], where: str) -> Step:
    """A step of those known: their names, with the kinds of their settings and those that must be there."""
    if not isinstance(value, Mapping) or not isinstance(value.get("step"), str):
        raise _wrong(value, 'a table that names a step, such as {step = "z-score"}', f"a step in {where}")
    name = value["step"]
    if name not in steps:
        raise NetworkError(f"a step in {where} must be one that featx has; got {name!r}; {known(steps)}")
    given = {key: one for key, one in value.items() if key != "step"}
    kinds, needed = steps[name]
    here = f"step {name!r} in {where}"
    _check_keys(given, kinds, here)
    _check_there(given, needed, here)
    for key, one in given.items():
        _typed(one, kinds[key], f"{key!r} of {here}")
    return Step(name, {key: _setting(one, here) for key, one in given.items()})


def _volume_step(value: Any, where: str) -> Step:
    return _step(value, _volume_steps(), where)


def _volume_steps() -> dict[str, tuple[Mapping[str, Any], Collection[str]]]:
    """The steps on a whole volume, as their functions are annotated."""
    known_steps: dict[str, tuple[Mapping[str, Any], Collection[str]]] = {}
    for name, function in STEPS.items():
        kinds = get_type_hints(function)
        keywords = [one for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]
        needed = [one.name for one in keywords if one.default is one.empty]
        known_steps[name] = ({one.name: kinds[one.name] for one in keywords}, needed)
    return known_steps


def _view(value: Any, where: str) -> View:
    if not isinstance(value, Mapping):
        raise _wrong(value, 'a table such as {name = "axial", steps = [...]}', where)
    _check_keys(value, ("name", "steps"), where)
    _check_there(value, ("name",), where)
    name, steps = _scalar(value["name"], str, f"'name' in {where}"), value.get("steps", ())
    if not _is_list(steps):
        raise _wrong(steps, "a list", f"'steps' of view {name!r} in {where}")
    looks = {step: (kinds, [one for one in kinds if one not in OPTIONAL]) for step, kinds in LOOKS.items()}
    return View(name, tuple(_step(one, looks, f"view {name!r} of {where}") for one in steps))


_READERS: Mapping[Any, Any] = MappingProxyType({Grid: _grid, Step: _volume_step, View: _view})


# --- checks ---------------------------------------------------------------------------------------------------


def _wrong(value: Any, kind: str, where: str) -> NetworkError:
    return NetworkError(f"{where} must be {kind}; got {value!r}; mend that")


def _check_keys(given: Mapping[str, Any], there: Collection[str], where: str) -> None:
    for key in given:
        if key not in there:
            raise NetworkError(f"{where} must hold what featx knows; got {key!r}; {known(there)}")


def _check_there(given: Mapping[str, Any], needed: Collection[str], where: str) -> None:
    for key in needed:
        if key not in given:
            raise NetworkError(f"{where} must say {key!r}; it holds {', '.join(map(repr, given))}; add it")
