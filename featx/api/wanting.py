"""Which networks are wanted of images, on which device they are loaded, and how the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.api.added import resolved
from featx.api.words import Words, many
from featx.api.writing import write_failures
from featx.errors import DependencyError, NetworkError
from featx.extraction.plan import Request, make_requests
from featx.networks.described import read_recipe

if TYPE_CHECKING:
    from featx.extraction.engine import Running
    from featx.extraction.job import Job

Download = Callable[[int, int], None]


def requests_of(
    network: str | Sequence[str],
    *,
    home: Path,
    weights: Words = (),
    recipe: Path | str | Mapping[str, Any] | None = None,
    **wish: Any,
) -> list[Request]:
    """Requests of what is wanted; a sentence where a network cannot have it.

    Parameters
    ----------
    network : str or sequence of str
        NAME or NAME@WEIGHTS; names that were added stand for their files.
    home : Path
        featx's own folder.
    weights : mapping of str to str, or sequence of str
        By the name of a network, or NAME=WEIGHTS.
    recipe : Path, str or mapping, optional
        TOML file for a network of one's own, or what it holds.
    wish
        Fields of `featx.extraction.wishes.Wish`.

    Raises
    ------
    NetworkError
        See `featx.extraction.plan.make_requests`.
    """
    words = [f"{name}={one}" for name, one in weights.items()] if isinstance(weights, Mapping) else many(weights)
    facts = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    return list(make_requests(resolved(many(network), home), resolved(words, home), recipe=facts, **wish))


def check_torch(verb: str) -> None:
    """Refuse, with a sentence, a verb that needs torch where it is not.

    Raises
    ------
    DependencyError
    """
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ImportError as error:
        what = f"{error.name} is not there" if error.name else f"one of them does not load ({error})"
        raise DependencyError(
            f"`featx {verb}` needs torch and torchvision; {what}; run pip install 'featx[torch]'"
        ) from error


def load_jobs(
    requests: Sequence[Request], device: str, home: Path, on_download: Download | None = None, **ways: Any
) -> list[Job]:
    """The networks that are wanted, on their device.

    Parameters
    ----------
    on_download : callable, optional
        Called as (bytes downloaded, bytes in all).
    ways
        accept, precision, compiled and held, as `featx.extraction.job.load_job` takes them.
    """
    from featx.extraction.job import load_job

    return [load_job(one, device, home, on_download, **ways) for one in requests]


def batch_size_of(word: str | int) -> int:
    """Images per forward pass; 0 where the engine is to choose.

    Raises
    ------
    NetworkError
        It is neither auto nor a number.

    Examples
    --------
    >>> batch_size_of("auto"), batch_size_of("8"), batch_size_of(8)
    (0, 8, 8)
    """
    word = str(word)
    if word == "auto":
        return 0
    if not word.isdecimal() or int(word) < 1:
        raise NetworkError(
            f"a batch size must be auto, or a number of images, 1 or more; got {word!r}; write, say, 8"
        )
    return int(word)


def running_of(device: str, batch_size: str | int, workers: int, threads: bool, shard: str = "") -> Running:
    """How the engine runs, as the options say."""
    from featx.extraction.device import default_workers
    from featx.extraction.engine import Running
    from featx.extraction.workers import can_share

    return Running(
        batch_size=batch_size_of(batch_size),
        workers=workers if workers >= 0 else default_workers(device),
        processes=device != "cpu" and not threads and can_share(),
        shard=shard,
    )


def precision_of(word: str, held: Mapping[str, str], *, spread: bool) -> str:
    """The precision to load networks in.

    Parameters
    ----------
    word : str
        Of `featx.extraction.precision`, or "auto".
    held : mapping of str to str
        In which the output holds networks.
    spread : bool
        Whether other machines have a part in it: what was measured on this one says nothing of them, so that "auto"
        goes on in the one precision that is there, or is float32.

    Examples
    --------
    >>> precision_of("auto", {"a": "tf32"}, spread=True), precision_of("auto", {}, spread=True)
    ('tf32', 'float32')
    >>> precision_of("auto", {}, spread=False)
    'auto'
    """
    if word != "auto" or not spread:
        return word
    there = set(held.values())
    return next(iter(there)) if len(there) == 1 else "float32"


def write_failures_beside(output: Path) -> Path:
    """Write the failures of a feature file as a table beside it, whose path is returned; without any it goes."""
    from featx import store

    table = output.with_suffix(".failures.csv")
    write_failures(store.read_failures(output) if output.is_file() else [], table)
    return table
