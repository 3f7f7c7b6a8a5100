"""What a reader of a comparison should know, and what is not in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from featx.analysis.comparing.matching import Common, Side
from featx.analysis.comparing.reading import Entry
from featx.analysis.comparing.wish import Wish
from featx.analysis.crossval import RESIDUAL
from featx.analysis.inference.cautions import Caution

# Cautions of the comparison itself; the others are those of its runs.
OWN = ("groups", "sizes", "shared-people", "repeats", "smaller")
_NARROW = "intervals of crossings are over repeats and seeds alone, and too narrow for what other people would give"


def residual(runs: Sequence[Entry]) -> list[str]:
    """A sentence for every run with arms that are scored on another target."""
    return [
        f"arms of {entry.name} whose confounds were removed from the target are not compared: they are scored on "
        "what is left of it, which is another target"
        for entry in runs
        if entry.run is not None and entry.run.scores["confounds"].isin(RESIDUAL).any()
    ]


def cautions(
    runs: Sequence[Entry], sizes: Mapping[str, Sequence[Common]], sides: Mapping[str, Sequence[Side]], wish: Wish
) -> tuple[Caution, ...]:
    """Cautions of the comparison, then those of the runs, each once.

    Parameters
    ----------
    runs : sequence of Entry
    sizes : mapping of str to sequence of Common
        By target, the largest size first.
    sides : mapping of str to sequence of Side
    wish : Wish
    """
    found = [one for name, own in sizes.items() for one in _of_target(own, sides[name], wish)]
    grouped = [entry for entry in runs if entry.facts["arguments"]["columns"].get("group")]
    lost = [entry.name for entry in grouped if entry.run is not None and not len(entry.run.people)]
    if lost and len(lost) == len(grouped):
        sentence = (
            f"{', '.join(lost)} kept groups whole in the folds and does not tell who is in which; intervals here "
            "draw people, and are too narrow where those of a group are alike"
        )
        found.append(Caution("groups", sentence))
    told = [Caution(**one) for entry in runs for one in entry.facts.get("cautions", [])]
    return (*found, *dict.fromkeys(told))


def _of_target(sizes: Sequence[Common], sides: Sequence[Side], wish: Wish) -> Iterator[Caution]:
    first, name = sizes[0], sizes[0].name
    others = sorted({round(one.n_people) for one in sizes[1:]})
    if others:
        sentence = (
            f"ranked are the runs that trained on most people, {round(first.n_people)} a fold "
            f"({', '.join(first.runs)}); those on {', '.join(map(str, others))} are points of curves, and tested "
            f"other people; {_NARROW}"
        )
        yield Caution("sizes", sentence, name)
    n_images = {side.name: len(side.people) for side in sides if side.name in first.runs}
    if wish.shared_people and len({*n_images.values(), len(first.images)}) > 1:
        told = ", ".join(f"{n} of {run}" for run, n in n_images.items())
        sentence = f"compared on the {len(first.images)} images that all runs have, of {told}; who trained differs"
        yield Caution("shared-people", sentence, name)
    repeats = {side.name: len(side.fold) for side in sides if side.name in (*first.runs, *first.smaller)}
    if len(set(repeats.values())) > 1:
        told = ", ".join(f"{run} {n}" for run, n in repeats.items())
        which = "repeat" if len(first.fold) == 1 else f"{len(first.fold)} repeats"
        sentence = f"compared over the first {which} of the folds, for the runs have: {told}"
        yield Caution("repeats", sentence, name)
    if first.smaller:
        told = ", ".join(f"{run} ({n})" for run, n in first.smaller.items())
        sentence = (
            f"trained on fewer people than the {round(first.n_people)} of the others, on the same test people: "
            f"{told}; these are points of curves and are not ranked; {_NARROW}"
        )
        yield Caution("smaller", sentence, name)
