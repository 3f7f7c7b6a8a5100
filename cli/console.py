"""What several verbs print: progress with rate and time left, tables of failures, the place of the cache."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import typer

from featx import schema
from featx.api.writing import write_failures as write_failures

SOME_FAILED, INTERRUPTED = 3, 130
LOG_EVERY_S = 30.0


def say(text: str = "") -> None:
    """Print a line of the human summary; what the terminal has no letters for, as its codes."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def cache_dir() -> Path:
    """Where downloaded weights are kept: FEATX_HOME, else featx/ in the user's cache folder."""
    home = os.environ.get("FEATX_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "featx"


def peak_memory() -> int:
    """Most bytes that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A function (done, total, note) that shows progress on stderr: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bar(what, unit) as update:
            yield update
        return
    start = last = time.monotonic()

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > LOG_EVERY_S:
            last = now
            rate = done / max(now - start, 1e-9)
            left = _clock((total - done) / rate) if rate else "?"
            print(f"{what}: {done} of {total}, {rate:.2f} {unit}/s, {left} left{note}", file=sys.stderr, flush=True)

    yield update


@contextlib.contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=None, rate="", note="")

        def update(done: int, total: int, note: str = "") -> None:
            rate = done / max(time.monotonic() - start, 1e-9)
            bars.update(task, completed=done, total=total, rate=f"{rate:.2f} {unit}/s", note=note)

        yield update


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def typed(context: typer.Context, without: Sequence[str] = ()) -> str:
    """The call of a verb: its arguments, and the options that are not as by default, but for some."""
    words = ["featx", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is None or parameter.name in without:
            continue
        many = list(value) if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            words += [str(one) for one in many]
        elif value not in (parameter.default, None, [], ()):
            name = max(parameter.opts, key=len)
            if isinstance(value, bool):
                words.append(name if value else max(parameter.secondary_opts, key=len))
            else:
                words += [word for one in many for word in (name, str(one))]
    return shlex.join(words)


def keep_call(call: str, output: Path, *, adds: bool) -> None:
    """Write beside an output the call that made it: OUTPUT/study.toml, or FILE.study.toml.

    Parameters
    ----------
    call : str
    output : Path
        What was written; nothing is kept where there is none, or where a study of the user's has the name.
    adds : bool
        Whether the output may hold what earlier calls made, whose calls then stay.
    """
    import tomllib

    from featx.study.writing import calls_text

    if not output.exists():
        return
    path = output / schema.STUDY_TOML if output.is_dir() else output.with_suffix(f".{schema.STUDY_TOML}")
    folder, calls = os.path.relpath(Path.cwd(), path.parent.resolve()), [call]  # ".." leads out of where a link leads
    if path.exists():
        with contextlib.suppress(ValueError):
            found = tomllib.loads(path.read_text(encoding="utf-8"))
            if "calls" not in found:
                say(f"note: {path} is a study; the call that was made is not written over it")
                return
            if adds and found.get("folder") == folder:
                calls = list(dict.fromkeys([*found["calls"], call]))
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    beside.write_text(calls_text(calls, folder), encoding="utf-8", errors="surrogateescape")
    beside.replace(path)


def say_reasons(rows: Sequence[Mapping[str, str]], table: Path) -> None:
    """Count rows by reason code, show the first sentence of each, and say where the table is."""
    images = {(row["code"], row[schema.IMAGE_ID]) for row in rows}  # one may fail in several networks
    say_codes(Counter(code for code, _ in images), {row["code"]: row for row in reversed(rows)})
    say(f"  all of them: {table}")


def say_codes(counts: Mapping[str, int], first: Mapping[str, Mapping[str, str]]) -> None:
    """Reason codes, the most frequent first, each with its meaning and the first sentence there is."""
    for code, count in Counter(counts).most_common():
        say(f"  {count:5d}  {code} ({schema.REASONS[code]})")
        if code in first:
            say(f"         {first[code][schema.IMAGE_ID]}: {first[code]['sentence']}")
