"""What is made of runs: pages, comparisons, maps of relevance; and whole studies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from featx.analysis.features import Images as Ids
from featx.analysis.runs.rundir import Run
from featx.api.added import added, home_of
from featx.api.frames import Table
from featx.api.gathering import read_table_set
from featx.api.inputs import Images, images_of
from featx.api.predicting import people_of
from featx.api.wanting import batch_size_of, check_torch
from featx.api.words import Words, many, path_of, told
from featx.errors import AnalysisError, StudyError
from featx.featureset import FeatureSet
from featx.images.image import Image
from featx.networks.described import read_recipe

if TYPE_CHECKING:
    from featx.analysis.comparing.comparison import Comparison

Folder = Path | str | Run
Progress = Callable[[int, int, str], None]


def folder_of(run: Folder) -> Path:
    """The folder of a run.

    Raises
    ------
    AnalysisError
        It was never written, or is no run.
    """
    if isinstance(run, Run) and run.path == Path():
        raise AnalysisError(
            "a run must be a folder to be read again; this one was never written; fit it with output=FOLDER"
        )
    return run.path if isinstance(run, Run) else path_of(run, "a run", "a folder, or what featx.fit returns")


def write_report(
    run: Folder,
    output: Path | str | None = None,
    *,
    features: Path | str | Sequence[Path | str] = (),
    qc: Path | str | None = None,
    curve: Path | str | Sequence[Path | str] = (),
    relevance: Path | str | Sequence[Path | str] = (),
    protocol: str = "",
    privacy: bool = False,
    least: int = 10,
    figures: bool = True,
) -> Path:
    """Write one self-contained page about a run: `featx report` from Python (that is the name of a part of featx).

    Parameters
    ----------
    run : Path, str or Run
        A folder of `featx.fit` or `featx.train`, or what these return, where it was written.
    output : Path or str, optional
        The page; RUN/report.html without.
    features, qc, curve, relevance, protocol, privacy, least, figures
        As the options of `featx report --help`.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    AnalysisError
        It is no run, or the page cannot be written.

    Examples
    --------
    >>> import featx
    >>> featx.write_report("run/", features="features.h5")  # doctest: +SKIP
    PosixPath('run/report.html')
    """
    from featx.report.blocks import Extras
    from featx.report.page import write_report as write

    extras = Extras(
        features=_paths(features),
        qc=None if qc is None else Path(qc),
        curves=_paths(curve),
        relevance=_paths(relevance),
        protocol=protocol,
        is_private=privacy,
        least=least,
    )
    return write(folder_of(run), None if output is None else Path(output), extras, with_figures=figures)


def _paths(some: Path | str | Sequence[Path | str]) -> tuple[Path, ...]:
    return tuple(Path(one) for one in many(some))


def compare(
    *folders: Folder,
    output: Path | str | None = None,
    reference: str = "",
    volumes: str | Sequence[str] = (),
    margin: float | Mapping[str, float] | str | Sequence[str] = (),
    alpha: float = 0.05,
    shared_people: bool = False,
    over_n: bool = False,
    features: Path | str | Sequence[Path | str] = (),
    figures: bool = True,
    privacy: bool = False,
    bootstrap: int = 2000,
    permutations: int = 2000,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Comparison:
    """Compare the arms of several runs, each with each: `featx compare` from Python.

    Parameters
    ----------
    *folders : Path, str or Run
        Folders of `featx.fit`, `featx.train` and `featx.curve`, or what the first two return, where it was written.
    output : Path or str, optional
        The folder to write, with its page; without it nothing is written.
    margin : float, mapping of str to float, or sequence of str
        0.5, or {"age": 0.5}, or ["age=0.5"].
    reference, volumes, alpha, shared_people, over_n, features, figures, privacy, bootstrap, permutations, seed
        As the options of `featx compare --help`.
    on_progress : callable, optional
        Called as (targets done, targets in all, what comes next).

    Returns
    -------
    Comparison
        By target its differences, ranking and gains; `curves`, `crossings` and `costs` as DataFrames.

    Raises
    ------
    AnalysisError
        Runs differ in people, folds or values; a name or a number makes no sense.

    Examples
    --------
    >>> import featx
    >>> found = featx.compare("run/", "trained/", output="compare/")  # doctest: +SKIP
    """
    from featx.analysis.comparing import comparison, writing
    from featx.analysis.comparing.columns import COMPARE_HTML
    from featx.analysis.comparing.differing import Drawing
    from featx.analysis.comparing.wish import Wish
    from featx.report.comparing.comparison import write_comparison_page

    place = None if output is None else Path(output)
    if place is not None:
        writing.check_output(place)
    wish = Wish(
        reference=reference,
        volumes=tuple(many(volumes)),
        margins=margins_of(margin),
        shared_people=shared_people,
        over_n=over_n,
        drawing=Drawing(alpha, bootstrap, permutations, seed),
        features=_paths(features),
    )
    if not folders:
        raise AnalysisError("runs must be named to be compared; none is; write compare('run/', 'trained/')")
    found = comparison.compare([folder_of(one) for one in folders], wish, on_progress)
    if place is not None:
        writing.write_comparison(found, place)
        write_comparison_page(found, place / COMPARE_HTML, with_figures=figures, is_private=privacy)
    return found


def margins_of(margin: float | Mapping[str, float] | str | Sequence[str]) -> dict[str, float]:
    """Margins by target, "" for all.

    Raises
    ------
    AnalysisError
        One is no number.

    Examples
    --------
    >>> margins_of(["0.5", "sex=0.02"]), margins_of(0.5), margins_of({"sex": 0.02})
    ({'': 0.5, 'sex': 0.02}, {'': 0.5}, {'sex': 0.02})
    """
    words = [f"{name}={one}" for name, one in margin.items()] if isinstance(margin, Mapping) else many(margin)
    found = {}
    for word in map(str, words):
        target, _, number = word.rpartition("=")
        try:
            found[target] = float(number)
        except ValueError:
            raise AnalysisError(
                f"--margin must be a number, or TARGET=number; got {word!r}; write 0.5, or age=0.5"
            ) from None
    return found


# --- relevance ------------------------------------------------------------------------------------------------


def map_relevance(
    head: Path | str,
    images: Images,
    *,
    output: Path | str,
    method: str = "gradient",
    people: int = 20,
    show: str = "",
    patch: str = "12mm",
    stride: str = "",
    smooth: str = "",
    level: str = "",
    sanity: bool = False,
    weights: Words = (),
    recipe: Path | str | Mapping[str, Any] | None = None,
    table: Words = (),
    phenotypes: Table | None = None,
    also: Table | Sequence[Table] = (),
    accept: str | Sequence[str] = (),
    device: str = "auto",
    batch_size: str | int = "auto",
    home: Path | str | None = None,
    on_progress: Callable[[float, int, int], None] | None = None,
) -> Path:
    """Map where in the brain a fitted head looks: `featx relevance` from Python (`featx.relevance` is a part of it).

    Parameters
    ----------
    head : Path or str
        A .npz file of RUN/heads/.
    images : str, Path, DataFrame or sequence of Image
        As `featx.extract` takes them.
    output : Path or str
        The folder to write: RUN/relevance/NAME, for the run's report.
    method, people, show, patch, stride, smooth, level, sanity, recipe, accept, device, batch_size
        As the options of `featx relevance --help`.
    weights, table, phenotypes, also
        As in `featx.predict` and `featx.extract`.
    home : Path or str, optional
        featx's own folder.
    on_progress : callable, optional
        Called as (images done, images in all, failed ones).

    Returns
    -------
    Path
        The folder: relevance.nii.gz, relevance.json with a caption, relevance.csv, figures.

    Raises
    ------
    AnalysisError, BundleError, NetworkError, WeightsError, IndexingError, DependencyError
        As `featx relevance` refuses it.

    Examples
    --------
    >>> import featx
    >>> head = "run/heads/age--ridge--squeezenet1_0.imagenet.npz"
    >>> featx.map_relevance(head, "images.csv", output="run/relevance/age")  # doctest: +SKIP
    """
    from featx.relevance.wish import make_wish

    wish = make_wish(method, show=show, patch=patch, stride=stride, smooth=smooth, level=level, sanity=sanity)
    size, own, place = batch_size_of(batch_size), home_of(home), Path(output)
    facts = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    found = images_of(images)
    check_torch("relevance")
    from featx.relevance.making import Given, make_relevance, make_task

    given = Given(
        people=people,
        weights=told(weights, "--weights", "squeezenet1_0.imagenet=FILE"),
        checkpoints=added(own),
        recipe=facts,
        tables=tables_of(table, found),
        phenotypes=people_at(phenotypes, many(also), found),
        accept=many(accept),
        device=device,
        batch_size=size,
    )
    task = make_task(Path(head), found, wish, place, given)
    if not task.is_done:
        make_relevance(task, own, on_progress=on_progress or (lambda done, total, failed: None))
    return place


def tables_of(words: Words, images: Sequence[Image]) -> list[FeatureSet]:
    """Tables of numbers that a head reads beside networks, a row for each image."""
    tables = told(words, "--table", "volumes=volumes.tsv")
    return [read_table_set(name, one, _ids(images)) for name, one in tables.items()]


def people_at(phenotypes: Table | None, also: Sequence[Table], images: Sequence[Image]) -> pd.DataFrame | None:
    """The table of people with further columns; those of a table of images in the row of each image."""
    return None if phenotypes is None else people_of(phenotypes, also, _ids(images))


def _ids(images: Sequence[Image]) -> Ids:
    by_id = sorted(images, key=lambda image: image.image_id)
    names = ("image_id", "participant_id", "session_id")
    return Ids(*(np.array([getattr(image, name) for image in by_id], dtype=object) for name in names))


# --- studies --------------------------------------------------------------------------------------------------


def run_study(
    study: Path | str,
    *,
    only: str | Sequence[str] = (),
    again: str | Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Take one file through everything: `featx run` from Python.

    A study is a list of calls of the command line, which makes them, in a process of its own, with its own folder for
    weights (FEATX_HOME). What is done and unchanged is skipped; killed, the same call goes on.

    Parameters
    ----------
    study : Path or str
        A study's file; `featx init` writes one.
    only, again : str or sequence of str
        Steps that alone are looked at; that are done again.
    on_line : callable, optional
        Called with each line that the command line says.

    Returns
    -------
    DataFrame
        A row per step that is done, whose index is its name: call, elapsed_s of the last time, and code (3 where some
        images or phenotypes could not be: a table beside its output says which).

    Raises
    ------
    StudyError
        The study, or a step of it, was refused, with the sentence of the command line.

    Examples
    --------
    >>> import featx
    >>> steps = featx.run_study("study.toml", on_line=print)  # doctest: +SKIP
    """
    from featx.study.journal import read_journal
    from featx.study.reading import Study, read_study

    found = read_study(Path(study))
    if not isinstance(found, Study):
        raise StudyError(
            f"a study must tell its steps; {study} tells calls that were typed; repeat them with `featx run {study}`"
        )
    words = ["run", str(Path(study).resolve())]
    words += [word for one in many(only) for word in ("--only", one)]
    words += [word for one in many(again) for word in ("--again", one)]
    _type(words, on_line or (lambda line: None))
    records = read_journal(found.path.parent / found.output)
    rows = [
        {"step": name, "call": one.call, "elapsed_s": one.elapsed_s, "code": one.code}
        for name, one in records.items()
    ]
    return pd.DataFrame(rows, columns=["step", "call", "elapsed_s", "code"]).set_index("step")


def _type(words: Sequence[str], on_line: Callable[[str], None]) -> None:
    """Run the command line in a process of its own; what it refuses is raised."""
    command = [sys.executable, "-c", "from featx_cli.main import run; run()", *words]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            said.append(line.rstrip("\n"))
            on_line(said[-1])
    if process.returncode not in (0, 3):
        begins = [at for at, line in enumerate(said) if line.startswith("featx: ")]
        sentence = "\n".join(said[begins[-1] :]).removeprefix("featx: ") if begins else ""
        raise StudyError(sentence or f"a study must come to its end; it stopped with code {process.returncode}")
