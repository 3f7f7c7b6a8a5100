"""A relevance map from a head's file and images: everything is checked first, then made, then written (torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from featx.analysis.cohort.tables import file_sha256
from featx.analysis.runs.bundle import read_bundle
from featx.errors import AnalysisError
from featx.extraction.device import choose_device
from featx.featureset import FeatureSet, digest
from featx.images.contract import check_accepted
from featx.images.image import Image
from featx.landing import check_writable
from featx.networks.weights import Progress
from featx.relevance.answering import Beside, check_method, find_level, rows_beside
from featx.relevance.output import FACTS, Outcome, is_done, parts_of, read_facts, write_outcome
from featx.relevance.run import Look, Readers, Told, key_of, load_readers, make_maps
from featx.relevance.sources import sources_of
from featx.relevance.wish import Wish, draw_images


@dataclass(frozen=True)
class Given:
    """What a map is made with beside the head and the images.

    Attributes
    ----------
    people : int
        How many are drawn; 0 for all images.
    weights : mapping of str to str
        Files of weights, by network.
    checkpoints : mapping of str to Path
        Networks that were added, by name.
    recipe : mapping or None
        Facts of a network of one's own.
    tables : sequence of FeatureSet
        Numbers of people that the head was fitted on beside its networks.
    phenotypes : DataFrame or None
        Confounds and sites, where the head uses any.
    accept : sequence of str
        Misfits of images that are let through.
    device : str
        auto, cpu or cuda.
    batch_size : int
        Of an occlusion; 0 chooses.
    """

    people: int = 20
    weights: Mapping[str, str] | None = None
    checkpoints: Mapping[str, Path] | None = None
    recipe: Mapping[str, Any] | None = None
    tables: Sequence[FeatureSet] = ()
    phenotypes: pd.DataFrame | None = None
    accept: Sequence[str] = ()
    device: str = "auto"
    batch_size: int = 0


@dataclass(frozen=True)
class Task:
    """A map that can be made; from `make_task`.

    Attributes
    ----------
    look : Look
    images : tuple of Image
        Of the people that were drawn.
    beside : mapping of str to Beside
        What the head needs beside their voxels, by image id.
    output : Path
        The folder.
    keys : tuple of str
        Of the maps of single people, and of the whole.
    """

    look: Look
    images: tuple[Image, ...]
    beside: Mapping[str, Beside]
    output: Path
    keys: tuple[str, str]

    @property
    def is_done(self) -> bool:
        """Whether the folder is this map already."""
        return is_done(self.output, self.keys[1])


def make_task(head: Path, images: Sequence[Image], wish: Wish, output: Path, given: Given = Given()) -> Task:
    """Read a head, find the networks behind it, draw people, and check all of it; no network is loaded.

    Raises
    ------
    FeatxError
        The head, what is given, or the place of the map cannot be used.
    """
    check_accepted(given.accept)
    check_writable(output / FACTS)
    bundle = read_bundle(head)
    check_method(bundle, wish.method)
    level = find_level(bundle, wish.level)
    sources = sources_of(bundle, given.weights or {}, checkpoints=given.checkpoints or {}, recipe=given.recipe)
    if wish.sanity and all(one.request.sheet.weightless for one in sources):
        raise AnalysisError(
            "a map through random weights must be of a network that has weights; "
            f"{', '.join(one.name for one in sources)} has none; leave --sanity out"
        )
    drawn = draw_images(images, given.people)
    look = Look(
        bundle,
        level,
        wish,
        tuple(sources),
        accept=tuple(given.accept),
        device=choose_device(given.device),
        batch_size=given.batch_size,
    )
    beside = rows_beside(bundle, drawn, given.tables, given.phenotypes)
    key = key_of(look, file_sha256(head))
    whole = digest({"parts": key, "show": wish.show, "images": sorted(image.image_id for image in drawn)})
    return Task(look, tuple(drawn), beside, output, (key, whole))


def make_relevance(
    task: Task,
    cache: Path,
    *,
    readers: Readers | None = None,
    on_weights: Progress | None = None,
    on_progress: Told = lambda done, total, failed: None,
) -> Outcome:
    """Make what is missing of a map, and write it; a map that is done is read.

    Parameters
    ----------
    cache : Path
        Folder of downloaded weights.
    readers : Readers, optional
        Networks that are loaded already.
    on_weights : callable, optional
        Given bytes done and bytes in all while downloading.
    on_progress : callable
        Given how many images are done by this call (in parts of one, where there are cubes), of how many, and how
        many failed.

    Raises
    ------
    StoreError
        No image gave a map; or its folder holds another one.
    """
    if task.is_done:
        return Outcome(read_facts(task.output) or {}, ())
    there = readers or load_readers(task.look, cache, on_weights)
    workshop = (parts_of(task.output), task.keys[0])
    failures = make_maps(task.look, there, task.images, task.beside, workshop, on_progress=on_progress)
    return write_outcome(task.look, task.images, failures, task.output, task.keys)
