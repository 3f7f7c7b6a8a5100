"""The steps of a study, one after the other, by a function that makes one call."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from featx.errors import StudyError, known
from featx.study.journal import (
    DO,
    DONE,
    Record,
    Verdict,
    begun,
    call_of,
    digest_of,
    ended,
    judge,
    read_journal,
    write_journal,
)
from featx.study.reading import Study
from featx.study.steps import BEST, Step, made_otherwise, steps_of


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes
    ----------
    verdict : Verdict
        What was to be done, and why.
    record : Record
        What is known of it now.
    """

    verdict: Verdict
    record: Record


def chosen_steps(study: Study, names: Sequence[str]) -> list[str]:
    """Names of the steps that are meant: ``train`` means every ``train-...``, too.

    Raises
    ------
    StudyError
        The study has no such step.
    """
    there = [step.name for step in steps_of(study)]
    for name in names:
        if not _meant(name, there):
            raise StudyError(f"a step must be one of the study's; {name!r} is none, in {study.path}; {known(there)}")
    return [name for name in there if any(name in _meant(one, there) for one in names)]


def _meant(name: str, there: Sequence[str]) -> list[str]:
    return [one for one in there if one == name or one.startswith(f"{name}-")]


def plan(study: Study, again: Sequence[str] = ()) -> list[Verdict]:
    """What `run_steps` would do now.

    Parameters
    ----------
    study : Study
    again : sequence of str
        Steps that are wished again, as `chosen_steps` gives them.
    """
    folder = study.path.parent
    records = read_journal(folder / study.output)
    asked = steps_of(study)
    verdicts = judge([_settled(step, folder, strict=False) for step in asked], records, folder, again)
    # The best head of a run that is done anew is not known yet.
    return [replace(one, step=step) if one.word == DO else one for one, step in zip(verdicts, asked, strict=True)]


def run_steps(
    study: Study,
    do: Callable[[Step], int],
    *,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
    only: Sequence[str] = (),
    again: Sequence[str] = (),
) -> list[Outcome]:
    """Do what is to be done, in order. Interrupted at any moment, the same call goes on with the step that was begun.

    Features that are to be made in another way (other slices, another size) are made in a new file; the one before is
    kept under a name with a number.

    Parameters
    ----------
    study : Study
    do : callable
        Makes the call of a step in the study's folder; gives its exit code, 0 or 3, and raises where it is refused.
    on_verdict : callable
        Called before each step.
    only, again : sequence of str
        Steps that alone are looked at; those that are wished again. As `chosen_steps` gives them.
    """
    folder = study.path.parent
    output = folder / study.output
    outcomes = []
    _set_aside([step for step in steps_of(study) if step.words[0] == "extract"], folder, output)
    for step in steps_of(study):
        if only and step.name not in only:
            continue
        records = read_journal(output)
        step = _settled(step, folder, strict=True)
        (verdict,) = judge([step], records, folder, again)
        on_verdict(verdict)
        if verdict.word != DONE:
            _make_way(step, records.get(step.name), folder)
            before = digest_of(step, records, folder)
            records[step.name] = begun(step, records.get(step.name))
            write_journal(output, records)
            start = time.monotonic()
            code = do(step)
            records[step.name] = ended(step, before, time.monotonic() - start, code)
            write_journal(output, records)
        outcomes.append(Outcome(verdict, records[step.name]))
    return outcomes


def _set_aside(steps: Sequence[Step], folder: Path, output: Path) -> None:
    """Give features another name that would now be made in another way: one file holds a set made one way."""
    records = read_journal(output)
    calls = [shlex.split(one.call)[1:] for one in records.values()]
    if not made_otherwise([step.words for step in steps], [words for words in calls if words[:1] == ["extract"]]):
        return
    made = folder / steps[0].outputs[0]
    beside = [made, made.with_name(f"{made.name}.parts"), made.with_suffix(".study.toml")]
    number = next(at for at in count(1) if not any(_numbered(one, made.stem, at).exists() for one in beside))
    for one in beside:
        if one.exists():
            one.rename(_numbered(one, made.stem, number))
    others = {name: one for name, one in records.items() if not one.call.startswith("featx extract ")}
    write_journal(output, others | {step.name: begun(step, records.get(step.name)) for step in steps})


def _make_way(step: Step, before: Record | None, folder: Path) -> None:
    """Remove a map that is no longer what is asked: `featx relevance` itself replaces none by another one.

    One that was begun by the same call stays, for it goes on where it was.
    """
    is_begun = before is None or (not before.digest and before.call == call_of(step))
    if step.words[0] == "relevance" and not is_begun:
        shutil.rmtree(folder / step.outputs[0].parent, ignore_errors=True)


def _numbered(path: Path, stem: str, number: int) -> Path:
    return path.with_name(f"{stem}.{number}{path.name.removeprefix(stem)}")


# --- what is known only once heads are fitted --------------------------------------------------------------------


def _settled(step: Step, folder: Path, *, strict: bool) -> Step:
    """A step whose words name the head that is best for a target, once that is known."""
    if not any(BEST.search(word) for word in step.words):
        return step
    from featx.analysis.runs.rundir import is_run

    head = next(word for word in step.words if BEST.search(word))
    run = folder / Path(head).parent.parent
    if not strict and not is_run(run):
        return step
    target = str(BEST.search(head)[1])  # type: ignore[index]
    stem = best_head(run, target, linear="occlusion" not in step.words)
    return replace(step, words=tuple(BEST.sub(stem, word) for word in step.words))


def best_head(run: Path, target: str, *, linear: bool) -> str:
    """The stem of the file of the best head of a target that a network's features alone go into.

    Parameters
    ----------
    run : Path
        What `featx fit` wrote.
    target : str
    linear : bool
        Whether it must be one of a weight per feature.

    Raises
    ------
    StudyError
        There is no such head.
    """
    from featx.analysis.crossval import IGNORED
    from featx.analysis.heads import form_of
    from featx.analysis.heads.stored import LINEAR
    from featx.analysis.inference.metrics import METRICS
    from featx.analysis.runs.rundir import read_run

    found = read_run(run)
    scores = found.scores[(found.scores["target"] == target) & (found.scores["confounds"] == IGNORED)]
    tables = {one["name"] for one in found.facts["sources"] if one["role"] == "table"}
    of_images = {
        one["name"] for one in found.facts["features"] if not tables & {each["name"] for each in one["sets"]}
    }
    stems = {
        (one["features"], one["head"]): Path(one["file"]).stem
        for one in found.facts["heads"]
        if one["target"] == target and one["confounds"] == IGNORED and one["features"] in of_images
        if not linear or form_of(one["head"]) == LINEAR
    }
    rows: list[Any] = [one for one in scores.itertuples() if (one.features, one.head) in stems]
    of = [(one.value, one.metric, stems[one.features, one.head]) for one in rows]
    first = [(value, stem) for value, metric, stem in of if metric == of[0][1] and value == value]
    if not first:
        raise StudyError(
            f"a map of relevance must be of a head on a network's features alone; {run} has none for {target!r}"
            f"{' with one weight per feature' if linear else ''}; name heads in [relevance], or leave it out"
        )
    best = max if METRICS[of[0][1]].higher_is_better else min
    return best(first, key=lambda one: one[0])[1]
