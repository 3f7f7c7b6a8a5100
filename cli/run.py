"""featx run: a study's file through everything, or calls that were made before once more."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.errors import FeatxError, StudyError
from featx.study.keys import REPEATED, TABLES, keys_of
from featx_cli.console import SOME_FAILED, say

if TYPE_CHECKING:
    from featx.study.journal import Record, Verdict
    from featx.study.reading import Calls, Study
    from featx.study.running import Outcome
    from featx.study.steps import Step

PROBE = 4  # images that are extracted for an estimate
_MINUTE, _HOUR = 60, 3600


def command(
    study: Annotated[Path, typer.Argument(help="A study (`featx init` writes one), or RUN/study.toml of any verb.")],
    only: Annotated[
        list[str],
        typer.Option(help="A step (index, check, extract, fit, train ...) that alone is looked at. May be repeated."),
    ] = [],  # noqa: B006 - typer copies it
    again: Annotated[
        list[str], typer.Option(help="A step that is done again, and all that is made of it. May be repeated.")
    ] = [],  # noqa: B006
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say every call, whether it is done already, how long it may take; stop."),
    ] = False,
) -> None:
    """Take one file through everything: index, check, extract, fit, train, curve, relevance, compare, report.

    Each step is a call of featx, shown as one types it. What is done and unchanged is skipped; what has changed is
    done again, and all that is made of it. Interrupted or killed, the same command goes on. Words that mean nothing
    (a network, a column, a file) are told before anything runs, all of them, with their lines. Where some images or
    phenotypes cannot be, the others go on and the exit code is 3.

    Every verb writes study.toml beside its output, with the call that made it: `featx run RUN/study.toml` repeats it.

    \b
    Examples:
    featx init -o study.toml --images BRAINS/ --phenotypes participants.tsv --target age
    featx run study.toml --dry-run
    featx run study.toml
    featx run study.toml --again fit
    featx run results/run/study.toml
    """
    from featx.study.reading import Calls, read_study

    found = read_study(study)
    if isinstance(found, Calls):
        repeat_calls(found, bool(only or again), dry_run)
    else:
        run_study(found, only, again, dry_run)


def _allowed() -> str:
    """The keys of a study, for the help."""
    rows = ["\n\n    Tables of a study and their keys; `featx init` writes them with their meanings:\n\n    \b"]
    for table in TABLES:
        name = f"[[{table}]]" if table in REPEATED else f"[{table}]" if table else "(first)"
        words, line = list(keys_of(table)), f"    {name:14}"
        for at, word in enumerate(words):
            part = word + ("," if at + 1 < len(words) else "")
            if len(line) + len(part) > 100:
                rows.append(line)
                line = f"    {'':14}"
            line += f" {part}"
        rows.append(line)
    return "\n".join(rows) + "\n    "


command.__doc__ = str(command.__doc__) + _allowed()


# --- a study --------------------------------------------------------------------------------------------------


def run_study(study: Study, only: Sequence[str] = (), again: Sequence[str] = (), dry_run: bool = False) -> None:
    """Check a study's words, then do its steps, or say which would be done."""
    from featx.study.checking import faults_of
    from featx.study.reading import check_faults
    from featx.study.running import chosen_steps, plan, run_steps
    from featx_cli.added import resolved

    with contextlib.chdir(study.path.parent):
        faults = faults_of(study, resolved)
    check_faults(study.path, faults)
    only, again = chosen_steps(study, only), chosen_steps(study, again)
    folder = study.path.parent
    if dry_run:
        _say_plan(study, [one for one in plan(study, again) if not only or one.step.name in only])
        return
    title, where = study.tables[""].get("title", ""), f"in {folder}" if folder != Path(".") else ""
    if title or where:
        say("; ".join(one for one in (title, where) if one))
    outcomes = run_steps(study, lambda step: _do(step, folder), on_verdict=_say_verdict, only=only, again=again)
    _say_summary(study, outcomes)
    if any(one.record.code for one in outcomes):
        raise typer.Exit(SOME_FAILED)


def _say_verdict(verdict: Verdict) -> None:
    from featx.study.journal import DONE, call_of

    name = verdict.step.name
    if verdict.word == DONE:
        say(f"--- {name}: done before, and nothing of it has changed")
        return
    say(f"\n--- {name}: {verdict.why}\n$ {call_of(verdict.step)}")


def _do(step: Step, folder: Path) -> int:
    """Make a step's call, as if it were typed in the study's folder; gives 0 or 3."""
    with _named(f"step {step.name!r}"):
        return type_words(step.words, folder)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Refusals with the name of what was refused."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (FeatxError, OSError) as error:
        raise StudyError(f"{what}: {error}") from error


def type_words(words: Sequence[str], folder: Path) -> int:
    """Run a command of featx as if it were typed in a folder; gives its exit code, 0 or 3.

    Raises
    ------
    FeatxError
        It was refused.
    typer.Exit
        It was interrupted.
    """
    from featx_cli.main import app

    code = 0
    with contextlib.chdir(folder):
        try:
            app(list(words), prog_name="featx")
        except SystemExit as end:
            code = int(end.code or 0)
    sys.stdout.flush()
    if code == 2:
        raise StudyError(f"a call must be one that featx takes; featx {words[0]} does not take it: see above")
    if code not in (0, SOME_FAILED):
        raise typer.Exit(code)
    return code


# --- what is told ---------------------------------------------------------------------------------------------


def _say_summary(study: Study, outcomes: Sequence[Outcome]) -> None:
    from featx.study.answers import answers_of
    from featx.study.journal import DONE

    say("\n" + "=" * 60)
    for one in outcomes:
        failed = "; some images or phenotypes could not be: see its tables" if one.record.code else ""
        when = "done before" if one.verdict.word == DONE else duration(one.record.elapsed_s)
        say(f"  {one.verdict.step.name:32} {when:>12}{failed}")
    folder = study.path.parent
    runs = [
        folder / one.verdict.step.outputs[0].parent
        for one in outcomes
        if one.verdict.step.words[0] in ("fit", "train")
    ]
    for sentence in answers_of(runs):
        say(f"\n{sentence}")
    pages = [path for one in outcomes for path in _pages(one.verdict.step, folder)]
    if pages:
        say("\nOpen " + "\n     ".join(str(path.resolve()) for path in pages))


def _pages(step: Step, folder: Path) -> list[Path]:
    there = [folder / one for one in step.outputs]
    beside = [one.parent / "compare.html" for one in there if step.words[0] == "compare"]
    return [one for one in [*there, *beside] if one.suffix == ".html" and one.is_file()]


def duration(seconds: float) -> str:
    """A time as one says it.

    Examples
    --------
    >>> duration(0.4), duration(75), duration(7200)
    ('0.4 s', '1.2 min', '2.0 h')
    """
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE:.1f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"


# --- the plan -------------------------------------------------------------------------------------------------


def _say_plan(study: Study, verdicts: Sequence[Verdict]) -> None:
    from featx.study.journal import DONE, call_of, read_journal

    records = read_journal(study.path.parent / study.output)
    total_s, unknown = 0.0, []
    for one in verdicts:
        say(f"{one.step.name}: {one.word}{f', {one.why}' if one.why else ''}")
        say(f"    $ {call_of(one.step)}")
        if one.word == DONE:
            continue
        told, seconds = _estimate(study, one.step, records.get(one.step.name))
        say(f"    time: {told}")
        total_s += seconds
        unknown += [] if seconds else [one.step.name]
    left = f"unknown for {', '.join(unknown)}" if unknown else ""
    known = f"about {duration(total_s)}" if total_s else ""
    say(f"\nin all: {'; '.join(one for one in (known, left) if one) or 'all is done'}")
    say("nothing was done, nothing was written")


def _estimate(study: Study, step: Step, record: Record | None) -> tuple[str, float]:
    """How long a step may take, in words and in seconds, 0 where nobody knows: by the last time, or by a probe."""
    last_s = record.elapsed_s if record else 0.0
    last = f"{duration(last_s)} the last time" if last_s else ""
    if step.words[0] == "extract":
        told, seconds = _of_extract(study, step)
        return "; ".join(one for one in (last, told) if one), seconds or last_s
    counted = _of_fits(study, step) if step.words[0] in ("fit", "train") else ""
    return "; ".join(one for one in (last, counted) if one) or "unknown", last_s


def _of_extract(study: Study, step: Step) -> tuple[str, float]:
    """What `featx plan` says, if that needs no download and the images are listed already."""
    from featx.study.checking import requests_of
    from featx.study.steps import options_of
    from featx_cli.added import resolved
    from featx_cli.wanted import at_hand

    folder, number = study.path.parent, step.name.partition("-")[2]
    images, cohort = step.words[1], study.tables["cohort"]
    if not (folder / images).is_file():
        if len(cohort["images"]) > 1 or options_of("cohort", cohort, "index"):
            return "unknown until images are indexed", 0.0
        images = cohort["images"][0]
    with contextlib.chdir(folder):
        requests = requests_of(study.networks[int(number or 1) - 1], resolved)
    far = [one.sheet.name for one in requests if not at_hand(one)]
    if far:
        return f"unknown until the weights of {', '.join(far)} are downloaded", 0.0
    words = ["plan", images, *_without(step.words[2:], "--gpus"), "--probe", str(PROBE)]
    said = _heard(words, folder)
    todo = re.search(r"(\d+) to do", said)
    if todo and todo[1] == "0":
        return "0 images to do", 1.0
    took = re.search(r"^  1: (([\d.]+) (minutes|hours).*)$", said, re.MULTILINE)
    if not took:
        return "unknown", 0.0
    return f"by a probe of {PROBE} images, on one device {took[1]}", float(took[2]) * (
        60 if took[3] == "minutes" else 3600
    )


def _without(words: Sequence[str], option: str) -> list[str]:
    at = words.index(option) if option in words else len(words)
    return [*words[:at], *words[at + 2 :]]


def _of_fits(study: Study, step: Step) -> str:
    """Fits that the verb itself counts, where what it reads is there."""
    said = _heard([*step.words, "--dry-run"], study.path.parent)
    found = re.findall(r"^(\d+ fits)\b|(\d+ networks, at most \d+ epochs)", said, re.MULTILINE)
    return ", ".join(fits or networks for fits, networks in found)


def _heard(words: Sequence[str], folder: Path) -> str:
    """What a call says, or nothing where it is refused."""
    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(FeatxError, OSError, typer.Exit),
    ):
        type_words(words, folder)
    return out.getvalue()


# --- calls ----------------------------------------------------------------------------------------------------


def repeat_calls(calls: Calls, chosen: bool, dry_run: bool) -> None:
    """Make calls once more, in the folder they were typed in."""
    from featx.study.journal import call_of
    from featx.study.steps import Step

    if chosen:
        raise StudyError(
            f"steps must be those of a study; {calls.path} tells calls that were typed; leave out --only and --again"
        )
    if not calls.folder.is_dir():
        raise StudyError(
            f"calls must be made where they were typed; {calls.folder} of {calls.path} is no folder; mend 'folder'"
        )
    codes = []
    for words in calls.calls:
        say(f"$ {call_of(Step('', words))}")
        if not dry_run:
            with _named(f"call 'featx {words[0]}' of {calls.path}"):
                codes.append(type_words(words, calls.folder))
    if any(codes):
        raise typer.Exit(SOME_FAILED)
