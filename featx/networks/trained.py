"""The sheet of a network that featx trained: a network of any kind, read at one tap, under outputs of its own.

What it is made of stands in its arguments (`featx.networks.architectures.trained.Trained`), so that a checkpoint says
all of it, and ``file:PATH`` is a network like any other. Needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from featx.errors import NetworkError, known
from featx.networks.described import OWN, TRAINED, facts_inside, facts_of, sheet_from, sheet_of, typed_fields
from featx.networks.output import CLASSES, FORMS, ORDINAL, REGRESSION, Output
from featx.networks.sheet import PICTURES, SET, VOLUME, Network, Tap, View
from featx.networks.taps import find_tap

FEATURES, SLICES, PREDICTION = "features", "slices", "prediction"
INSIDE = "network"  # the module that holds the network inside
AGGREGATIONS = ("mean", "max", "attention")
EMBEDDED, HIDDEN = 32, 64  # of slices that are put together: Gupta et al. 2021
_NOT_OF_A_TAP = re.compile(r"[^\w.-]")


def default_tap(sheet: Network) -> str:
    """The tap that is trained from if nothing is asked for: `features`, else the last that is read by default.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> default_tap(get_network("sfcn.ukb_age")), default_tap(get_network("squeezenet1_0.imagenet"))
    ('features', 'fire9')
    """
    return FEATURES if FEATURES in sheet.taps else sheet.default_taps[-1]


def trained_sheet(  # noqa: PLR0913 - what is new of a sheet, by name
    base: Network,
    *,
    name: str,
    tap: str,
    view: View,
    outputs: tuple[Output, ...],
    aggregation: str = "",
    n_positions: int = 0,
    dropout: float = 0.0,
    training: str,
    labels: tuple[str, ...],
    age_range_years: tuple[float, float] | None = None,
    reference: str = "",
    n_parameters: int = 0,
) -> Network:
    """The sheet of a network that is trained from another one.

    It takes whole volumes where that one does, else the slices of one view. It is read at the places of that one up
    to `tap` (not where slices go through one by one), at `features`, the vector under the last layer, and at its
    answers: `prediction`, or `prediction_TARGET` each where there are several, in the unit of the phenotype, or as
    the probability of the second class of two.

    Parameters
    ----------
    base : Network
        With the recipe that its volumes are made by.
    tap : str
        A tap of its sheet, with ":cls" behind it for the class token.
    view : View
        What it looks at.
    aggregation : str
        Of networks on single pictures: how the slices of a volume are put together, one of `AGGREGATIONS`.
    n_positions : int
        Slices that have a learned position; 0 for none.
    dropout : float
        Share of features left out before the last layer, in training.
    training, labels, age_range_years, reference, n_parameters
        As in `Network`, of what comes of the training; without a reference that of `base`.

    Raises
    ------
    NetworkError
        The tap is not of the sheet; an aggregation is missing, or given where there are no single pictures; outputs
        that do not agree with themselves.
    """
    place_in(base, tap)
    check_outputs(outputs, name)
    _check_aggregation(base, aggregation, n_positions)
    own = replace(base.recipe, views=(view,))
    inside = replace(base, recipe=own, default_views=(view.name,), weights=None)
    pictures, width = base.takes == PICTURES, base.taps[tap.partition(":")[0]].width
    fixed = base.fixed + (("slices",) if n_positions and "slices" not in base.fixed else ())
    return replace(
        inside,
        name=name,
        architecture=TRAINED,
        arguments={
            "base": json.dumps(facts_of(inside), allow_nan=False),
            "tap": tap,
            "outputs": json.dumps([asdict(one) for one in outputs], allow_nan=False),
            "width": width,
            "aggregation": aggregation,
            "n_positions": n_positions,
            "dropout": dropout,
        },
        takes=VOLUME if base.takes == VOLUME else SET,
        taps={
            **({SLICES: Tap("embedded", EMBEDDED)} if pictures else _taps_inside(base, tap)),
            FEATURES: Tap(FEATURES, HIDDEN if pictures else width, positions=False),
            **prediction_taps(outputs),
        },
        default_taps=(FEATURES,),
        default_pooling=("mean",),
        training=training,
        age_range_years=age_range_years,
        reference=reference or base.reference,
        n_parameters=n_parameters,
        class_tokens=0 if pictures else base.class_tokens,
        fixed=fixed,
        stem=f"{INSIDE}.{base.stem}" if base.stem else "",
        reads="",
        labels=labels,
    )


def place_in(base: Network, tap: str) -> str:
    """Path of the module that a tap of a sheet reads.

    Raises
    ------
    NetworkError
        The tap is not of the sheet, so that nobody says how its output becomes a vector.
    """
    if tap.partition(":")[0] not in base.taps:
        raise NetworkError(
            f"a network must be trained from a tap of its sheet; {tap!r} is none of {base.name}; {known(base.taps)}"
        )
    return find_tap(base, tap).module


def _taps_inside(base: Network, tap: str) -> dict[str, Tap]:
    """Taps of the network inside, up to the one that is read: sheets name them in the order of the network."""
    names = list(base.taps)
    before = names[: names.index(tap.partition(":")[0]) + 1]
    return {one: replace(base.taps[one], module=_under(base.taps[one].module)) for one in before if one != FEATURES}


def _under(path: str) -> str:
    return f"{INSIDE}.{path}" if path else INSIDE


def _check_aggregation(base: Network, aggregation: str, n_positions: int) -> None:
    if base.takes == PICTURES and aggregation not in AGGREGATIONS:
        raise NetworkError(
            f"slices must be put together by an aggregation; got {aggregation!r} for {base.name}; "
            f"{known(AGGREGATIONS)}"
        )
    if base.takes != PICTURES and (aggregation or n_positions):
        told = "the whole volume" if base.takes == VOLUME else "all of them at once"
        raise NetworkError(
            f"an aggregation must be of slices that go through a network one by one; {base.name} takes {told}; leave "
            "it out, and positions too"
        )


# --- outputs --------------------------------------------------------------------------------------------------


def prediction_taps(outputs: Sequence[Output]) -> dict[str, Tap]:
    """Where the answers are read, by tap name; letters that a tap's name cannot have become "_".

    Examples
    --------
    >>> age, sex = Output("age", REGRESSION, 1, (50.0, 9.0)), Output("sex (m)", CLASSES, 2, (), ("F", "M"))
    >>> list(prediction_taps([age])), list(prediction_taps([age, sex]))
    (['prediction'], ['prediction_age', 'prediction_sex__m_'])
    """
    taps: dict[str, Tap] = {}
    for at, one in enumerate(outputs):
        name = PREDICTION if len(outputs) == 1 else f"{PREDICTION}_{_NOT_OF_A_TAP.sub('_', one.target)}"
        while name in taps:
            name += "_"
        columns = one.width if one.form == CLASSES and one.width > 2 else 1
        taps[name] = Tap(f"answers.{at}", columns, positions=False)
    return taps


def outputs_from(text: str, where: str) -> tuple[Output, ...]:
    """Outputs from the JSON that a sheet holds.

    Raises
    ------
    NetworkError
        It holds none, or such as do not agree with themselves.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, list) or not all(isinstance(one, Mapping) for one in facts):
        raise NetworkError(
            f"the outputs of {where} must be a list of tables in JSON; got {text[:60]!r}; write the checkpoint again"
        )
    outputs: tuple[Output, ...] = tuple(typed_fields(one, Output, f"an output of {where}") for one in facts)
    check_outputs(outputs, where)
    return outputs


def check_outputs(outputs: Sequence[Output], where: str) -> None:
    """Refuse outputs that do not agree with themselves, two of one target, or none.

    Raises
    ------
    NetworkError
    """
    targets = [one.target for one in outputs]
    if not targets or len(set(targets)) < len(targets):
        raise NetworkError(
            f"a trained network must have one output for each of its targets; {where} has {targets}; name each once"
        )
    for one in outputs:
        widths = {REGRESSION: len(one.values) - 1, CLASSES: len(one.classes), ORDINAL: len(one.values) - 1}
        fewest = 2 if one.form not in (REGRESSION, ORDINAL) else 1
        fits = one.form in FORMS and one.width == widths.get(one.form, len(one.values)) >= fewest
        if one.form == CLASSES:  # of two, the one that a tap reads
            fits = fits and one.values in ([(), (0.0,), (1.0,)] if one.width == 2 else [()])
        if not fits or (one.form == REGRESSION and (one.width > 1 or one.values[1] <= 0)):
            raise NetworkError(
                f"an output must have a column for what it tells apart (a regression one, with a mean and a standard "
                f"deviation above 0); that of {one.target!r} in {where} is {one}; mend it"
            )


# --- what is inside -------------------------------------------------------------------------------------------


def inside(sheet: Network) -> Network | None:
    """The sheet of the network inside a trained one; None of any other network."""
    if sheet.architecture != TRAINED:
        return None
    facts = facts_inside(sheet)
    return sheet_of(facts, facts["name"])


def innermost(sheet: Network) -> Network:
    """The sheet of the network that is inside, however often it was trained from; of any other network its own."""
    within = inside(sheet)
    return innermost(within) if within else sheet


def check_keepable(sheet: Network) -> None:
    """Refuse a network whose checkpoint nobody could read again.

    Parameters
    ----------
    sheet : Network
        Of the network that is to be trained, or of the one that comes out.

    Raises
    ------
    NetworkError
        Its code is not featx's, so that ``file:PATH`` refuses it; or its facts are such as a file may not tell.
    """
    own = innermost(sheet)
    if own.architecture == OWN:
        raise NetworkError(
            f"a network that is kept must be made of featx's own code, for file:PATH runs no other; {sheet.name} is "
            f"built by {own.arguments['factory']}; train it with `featx train --no-keep`, which keeps its scores"
        )
    sheet_from(facts_of(sheet), sheet.name)


def read_inside(sheet: Network) -> set[str]:
    """Paths of the modules that a trained network itself reads, and so must stay what they are; of another none."""
    within = inside(sheet)
    if within is None:
        return set()
    own = _under(place_in(within, str(sheet.arguments["tap"])))
    return {own, *(_under(path) for path in read_inside(within))}
