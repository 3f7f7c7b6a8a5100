"""One image before any network runs: read once, looked at once, packed once for every recipe. Needs no torch.

It runs in threads or in processes of its own: what goes in and comes out are plain values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from featx.extraction.checking import find_out, hold, wants_of
from featx.extraction.loader import attempt
from featx.images.image import Image, where
from featx.images.volume import Volume, read_image
from featx.networks.recipe import Packed, pack
from featx.networks.sheet import Recipe
from featx.store import Failure


@dataclass(frozen=True)
class Need:
    """What a network needs of an image.

    Attributes
    ----------
    label : str
        Of the job.
    recipe_key : str
        Needs with equal ones share their voxels.
    recipe : Recipe
        Without views, which the device does.
    network : str
    resampling : bool
    accept : tuple of str
        Codes of misfits that are let through.
    """

    label: str
    recipe_key: str
    recipe: Recipe
    network: str
    resampling: bool
    accept: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """What became of one image before any network ran.

    Attributes
    ----------
    packed : dict of str to Packed
        By recipe key.
    recipe_of : dict of str to str
        Recipe key by the label of each job that can have the image.
    failures : list of dict
        Of the jobs that cannot have it.
    told : dict of str to str
        Sentences by reason code: notes, and misfits that are accepted.
    accepted : list of dict
        Rows of the misfits that are accepted, by job.
    """

    packed: dict[str, Packed] = field(default_factory=dict)
    recipe_of: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    accepted: list[Failure] = field(default_factory=list)


def load_image(image: Image, needs: Sequence[Need], read: Callable[[Image], Volume] | None = None) -> Loaded:
    """Read an image, look at it, and pack it for those who can have it. Nothing is raised: failures are rows.

    Parameters
    ----------
    read : callable, optional
        Gives the volume of what is no file.
    """
    volume, failure = attempt(lambda: (read or read_image)(image), image.image_id, "", "read")
    findings = None
    if volume is not None:
        look = functools.partial(find_out, volume, where(image))
        findings, failure = attempt(look, image.image_id, "", "check")
    if volume is None or findings is None:
        return Loaded(failures=[{**failure, "network": need.label} for need in needs] if failure else [])
    loaded = Loaded()
    for need in needs:
        wants = wants_of(need.recipe, need.network, resampling=need.resampling)
        held = functools.partial(hold, findings, wants, where(image), need.accept)
        told, failure = attempt(held, image.image_id, need.label, "check")
        loaded.told.update(told or {})
        loaded.accepted.extend(
            {"image_id": image.image_id, "network": need.label, "step": "check", "code": code, "sentence": sentence}
            for code, sentence in (told or {}).items()
            if code in need.accept
        )
        if not failure and need.recipe_key not in loaded.packed:
            call = functools.partial(
                pack, volume, need.recipe, need.network, where(image), resampling=need.resampling
            )
            packed, failure = attempt(call, image.image_id, need.label, "recipe")
            if packed is not None:
                loaded.packed[need.recipe_key] = packed
        if failure:
            loaded.failures.append(failure)
        else:
            loaded.recipe_of[need.label] = need.recipe_key
    return loaded


def died(image: Image, needs: Sequence[Need]) -> Loaded:
    """What becomes of an image that killed the process that read it."""
    sentence = (
        f"an image must be read without harm; the process that read {where(image)} died, twice when it read that "
        "image alone; look at the file, and at the machine's memory (dmesg tells whom the kernel killed)"
    )
    return Loaded(
        failures=[
            {
                "image_id": image.image_id,
                "network": need.label,
                "step": "read",
                "code": "worker-died",
                "sentence": sentence,
            }
            for need in needs
        ]
    )
