"""Extraction on many workers, decided: what travels to them, which shards, who is fit, what is done again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from featx import __version__, schema
from featx.errors import DeviceError, StoreError, WeightsError
from featx.extraction.engine import Running, Told
from featx.extraction.plan import Request
from featx.images.image import Image
from featx.networks.download import find_cached
from featx.networks.weights import needs_official
from featx.store import Failure

SHARD_IMAGES = 256  # rows of a part: each ends as one at least
SHARDS_PER_THREAD = 4  # so that the last ones to finish do not keep the others waiting
MOST_RETRIES = 2


@dataclass(frozen=True)
class Asked:
    """What is asked of every worker, in plain values that travel between machines. Made by `make_asked`.

    Attributes
    ----------
    requests : tuple of Request
    device : str
        "auto" until the workers were asked; then what all of them compute on.
    cache : Path
        The client's folder of weights.
    own_cache : callable
        Gives the worker's own folder of weights, where it has another; called there.
    loading : mapping
        Keywords of `featx.extraction.job.load_job`.
    running : Running
        With fewer than 0 workers, each worker chooses how many.
    crowd : int
        Most workers on one machine: they share its cores for decoding.
    version : str
        featx of the client.
    """

    requests: tuple[Request, ...]
    device: str
    cache: Path
    own_cache: Callable[[], Path]
    loading: Mapping[str, Any] = field(default_factory=dict)
    running: Running = field(default_factory=lambda: Running(workers=-1))
    crowd: int = 1
    version: str = __version__


@dataclass(frozen=True)
class Shard:
    """Images that lack the same networks: one task."""

    number: int
    images: tuple[Image, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Fitness:
    """What a worker says of itself before the work; a reason why not is "" where there is none."""

    address: str
    host: str
    n_threads: int
    device: str
    no_device: str
    no_output: str
    no_image: str
    no_weights: str


@dataclass(frozen=True)
class Outcome:
    """What became of a shard on a worker.

    Attributes
    ----------
    number : int
        Of the shard.
    address : str
        Of the worker.
    n_images, n_failed : int
    failures : list of dict
    told : mapping of str to Told
    unfit : str
        Why the worker is of no use, or not any more, else "": its GPU is gone, say.
    """

    number: int
    address: str
    n_images: int = 0
    n_failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    told: Mapping[str, Told] = field(default_factory=dict)
    unfit: str = ""


# --- decisions ------------------------------------------------------------------------------------------------


def make_asked(
    requests: Sequence[Request],
    device: str,
    cache: Path,
    own_cache: Callable[[], Path],
    **options: Any,
) -> Asked:
    """Put what is asked for into values that travel: plain mappings, whole paths; see `Asked`."""
    whole = (replace(one, weights=whole_path(one.weights)) for one in requests)
    return Asked(tuple(plainly(one) for one in whole), device, cache.absolute(), own_cache, **options)


def plainly(value: Any) -> Any:
    """A value with its mappings as dicts: read-only views of mappings do not travel between processes.

    Examples
    --------
    >>> from types import MappingProxyType
    >>> plainly((MappingProxyType({"a": 1}), "b"))
    ({'a': 1}, 'b')
    """
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: plainly(getattr(value, one.name)) for one in fields(value) if one.init})
    if isinstance(value, Mapping):
        return {name: plainly(one) for name, one in value.items()}
    return tuple(map(plainly, value)) if isinstance(value, tuple) else value


def whole_path(spec: str) -> str:
    """Words for weights with their path, if there is one, from the root: workers run in folders of their own.

    Examples
    --------
    >>> [whole_path(spec) for spec in ("official", "random:0", "factory", "reinit:1", "/a.pth", "reinit:1:/a.pth")]
    ['official', 'random:0', 'factory', 'reinit:1', '/a.pth', 'reinit:1:/a.pth']
    """
    if spec in ("official", "factory") or spec.startswith("random:"):
        return spec
    if spec.startswith("reinit:"):
        word, seed, path = [*spec.split(":", 2), ""][:3]
        return f"{word}:{seed}:{Path(path).absolute()}" if path else spec
    return str(Path(spec).absolute())


def from_anywhere(image: Image) -> Image:
    """An image with whole paths; addresses stay as they are.

    Examples
    --------
    >>> from_anywhere(Image("a", "a", "", "", "s3://bucket/a.nii.gz", mask="/masks/a.nii.gz")).path
    's3://bucket/a.nii.gz'
    """
    path = image.path.absolute() if isinstance(image.path, Path) else image.path
    mask = str(Path(image.mask).absolute()) if image.mask and "://" not in image.mask else image.mask
    return replace(image, path=path, mask=mask)


def make_shards(images: Sequence[Image], n: int) -> list[list[Image]]:
    """Share images out over n shards of about the same length, by turns; fewer where there are fewer images.

    Neighbours of an index are often of one site or scanner, and take equally long: by turns every shard gets some.

    Examples
    --------
    >>> make_shards("abcde", 2), make_shards("ab", 3)
    ([['a', 'c', 'e'], ['b', 'd']], [['a'], ['b']])
    """
    return [list(images[at::n]) for at in range(min(n, len(images)))]


def count_shards(n_images: int, n_threads: int) -> int:
    """How many shards: none above `SHARD_IMAGES`, and some for every thread of the cluster.

    Examples
    --------
    >>> count_shards(40_000, 20), count_shards(100, 2)
    (157, 8)
    """
    return max(math.ceil(n_images / SHARD_IMAGES), n_threads * SHARDS_PER_THREAD)


def plan_shards(images: Sequence[Image], missing: Mapping[str, tuple[str, ...]], n: int) -> list[Shard]:
    """Shards of the images that lack something, each of images that lack the same networks.

    Parameters
    ----------
    missing : mapping of str to tuple of str
        By image, the labels of the networks that it lacks.
    n : int
        About how many.
    """
    groups: dict[tuple[str, ...], list[Image]] = {}
    for image in images:
        if missing[image.image_id]:
            groups.setdefault(missing[image.image_id], []).append(image)
    n_images = sum(map(len, groups.values()))
    of_labels = (
        (labels, shard)
        for labels, group in groups.items()
        for shard in make_shards(group, max(1, math.ceil(n * len(group) / n_images)))
    )
    return [Shard(number, tuple(shard), labels) for number, (labels, shard) in enumerate(of_labels)]


def check_fitness(workers: Sequence[Fitness], output: Path) -> str:
    """What all workers compute on, "cpu" or "cuda".

    Raises
    ------
    DeviceError
        A worker lacks the device that is asked for, or some have a GPU and others none.
    StoreError
        A worker cannot write beside the output, or cannot read the images.
    WeightsError
        A worker has no official weights.
    """
    for one in workers:
        who = f"the dask worker {one.address} on {one.host}"
        if one.no_output:
            raise StoreError(
                f"an output must be in a folder that every worker can write to; {who} cannot write to "
                f"{output.parent} ({one.no_output}); name an -o on a disk that they share"
            )
        if one.no_image:
            raise StoreError(
                f"images must be where every worker can read them; {who} cannot: {one.no_image}; index them on a "
                "disk that all share, under the same path"
            )
        if one.no_weights:
            raise WeightsError(
                f"official weights must be where every worker can read them; {who} has no {one.no_weights}; set "
                "FEATX_HOME to a folder that all share before you start workers, or copy them there"
            )
        if one.no_device:
            raise DeviceError(f"{one.no_device}: that is {who}")
    kinds = {one.device.partition(":")[0]: one for one in workers}
    if len(kinds) > 1:
        counts = Counter(one.device.partition(":")[0] for one in workers)
        raise DeviceError(
            f"all workers of a run must compute on the same kind of device; {counts['cuda']} have a GPU, "
            f"{counts['cpu']} have none, such as {kinds['cpu'].address} on {kinds['cpu'].host}; stop those, or ask "
            "for --device cpu"
        )
    return next(iter(kinds))


def is_suspect(outcome: Outcome) -> bool:
    """Whether the worker, and not the images, may be why a shard has nothing: the network failed on every image.

    Examples
    --------
    >>> is_suspect(Outcome(0, "tcp://a:1", 2, 2, [{"image_id": one, "step": "network"} for one in "ab"]))
    True
    """
    by_network = {row[schema.IMAGE_ID] for row in outcome.failures if row["step"] == "network"}
    return outcome.n_images > 0 and len(by_network) == outcome.n_images


def decide(outcome: Outcome, n_tries: int, n_others: int) -> str:
    """What is to be done with a shard that came back.

    Parameters
    ----------
    n_tries : int
        How often it was tried, this time included.
    n_others : int
        Workers beside the one that it was on.

    Returns
    -------
    str
        "done"; "again", and the worker is of no use any more; "elsewhere", if that can be; or "given up".

    Examples
    --------
    >>> lost = Outcome(0, "tcp://a:1", unfit="the GPU is gone")
    >>> [decide(lost, n_tries, 1) for n_tries in (1, 2, 3)], decide(lost, 1, 0)
    (['again', 'again', 'given up'], 'given up')
    """
    if outcome.unfit:
        return "again" if n_tries <= MOST_RETRIES and n_others else "given up"
    return "elsewhere" if is_suspect(outcome) and n_tries <= MOST_RETRIES and n_others else "done"


def choose_cache(requests: Sequence[Request], caches: Sequence[Path]) -> tuple[Path, str]:
    """The first folder that has all official weights that are asked for, and "", or the first file that lacks."""
    lacking = [
        [
            one.sheet.weights.file
            for one in requests
            if one.sheet.weights and needs_official(one.weights) and find_cached(one.sheet.weights, cache) is None
        ]
        for cache in caches
    ]
    for cache, files in zip(caches, lacking, strict=True):
        if not files:
            return cache, ""
    return caches[0], f"{lacking[0][0]} in {' or '.join(map(str, dict.fromkeys(caches)))}"
