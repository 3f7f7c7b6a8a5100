"""Hold images against the contracts of networks: rows for `featx check`, verdicts for the engine. Needs no torch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from featx import schema
from featx.errors import ImageError
from featx.extraction.loader import attempt, load_ahead
from featx.images.check import check_values
from featx.images.contract import Verdict, Wants, judge, most_grave
from featx.images.findings import Findings, look_at
from featx.images.image import Image, where
from featx.images.volume import Volume, orientation, read_image, voxel_sizes_mm
from featx.networks.sheet import Recipe

Row = dict[str, str]
_NOBODY = Wants("", None, skull_stripped=False, registered=False)
_MEASURED = (
    "zeros",
    "low",
    "high",
    "bright",
    "at_top",
    "below",
    "of_one_value",
    "litres",
    "outside",
    "overlap",
    "likeness",
    "offset_mm",
)


def wants_of(recipe: Recipe, network: str, *, resampling: bool) -> Wants:
    """What a recipe wants of an image, as plain values.

    Examples
    --------
    >>> from featx.networks.recipes import SFCN
    >>> wants_of(SFCN, "sfcn.ukb_age", resampling=True).grid is None
    True
    """
    divided_by = next((step.settings["value"] for step in recipe.steps if step.name == "divide-by"), 0.0)
    return Wants(
        network,
        None if resampling else recipe.grid,
        recipe.skull_stripped,
        recipe.registered,
        float(divided_by) if isinstance(divided_by, int | float) else 0.0,
    )


def find_out(volume: Volume, where: str) -> Findings:
    """Check a volume's values and look at it.

    Raises
    ------
    ImageError
        non-finite or constant.
    """
    check_values(volume, where)
    return look_at(volume)


def hold(findings: Findings, wants: Wants, where: str, accept: Sequence[str] = ()) -> dict[str, str]:
    """Hold an image against a contract.

    Parameters
    ----------
    accept : sequence of str
        Codes of misfits that are let through.

    Returns
    -------
    dict of str to str
        Sentences by reason code: what is to be told of an image that fits, accepted misfits among it.

    Raises
    ------
    ImageError
        The gravest misfit that is not accepted.
    """
    verdicts = judge(findings, wants, where)
    grave = most_grave(verdicts, accept)
    if grave is not None:
        raise ImageError(grave.code, grave.sentence)
    return {one.code: one.sentence for one in verdicts}


def check_images(
    images: Iterable[Image], wants: Sequence[Wants], workers: int, accept: Sequence[str] = ()
) -> Iterator[tuple[Image, list[Row]]]:
    """Rows of `featx.schema.CHECKS` for every image, one per network; one without network where none is given.

    Parameters
    ----------
    images : iterable of Image
    wants : sequence of Wants
    workers : int
        Threads that read ahead; at most `workers` + 2 images are held at a time.
    accept : sequence of str
        Codes of misfits that are let through: their row says that the image fits, and tells them.
    """
    yield from load_ahead(images, lambda image: check_image(image, wants or [_NOBODY], accept), workers)


def check_image(image: Image, wants: Sequence[Wants], accept: Sequence[str] = ()) -> list[Row]:
    """Read an image, look at it once, and judge it for each network."""
    volume, failure = attempt(lambda: read_image(image), image.image_id, "", "read")
    findings = None
    if volume is not None:
        look = functools.partial(find_out, volume, where(image))
        findings, failure = attempt(look, image.image_id, "", "check")
    facts = _facts(volume, findings)
    rows = []
    for want in wants:
        if findings is not None:
            verdicts = let_through(judge(findings, want, where(image)), accept)
        else:
            verdicts = [Verdict(failure["code"], failure["sentence"])] if failure else []
        rows.append(_row(image, want.network, verdicts) | facts)
    return rows


def let_through(verdicts: Sequence[Verdict], accept: Sequence[str]) -> list[Verdict]:
    """What is accepted is only told, behind what is refused.

    Examples
    --------
    >>> here = [Verdict("not-registered", "..."), Verdict("wrong-range", "...")]
    >>> [(one.code, one.refused) for one in let_through(here, ["not-registered"])]
    [('wrong-range', True), ('not-registered', False)]
    """
    held = [replace(one, refused=one.refused and one.code not in accept) for one in verdicts]
    return sorted(held, key=lambda one: not one.refused)


def _row(image: Image, network: str, verdicts: Sequence[Verdict]) -> Row:
    first, rest = (verdicts[0], verdicts[1:]) if verdicts else (None, ())
    return {
        schema.IMAGE_ID: image.image_id,
        "network": network,
        "fits": "no" if any(one.refused for one in verdicts) else "yes",
        "code": first.code if first else "",
        "sentence": first.sentence if first else "",
        "also": " ".join(one.code for one in rest),
    }


def _facts(volume: Volume | None, findings: Findings | None) -> Row:
    """What was measured, as text; empty where it could not be."""
    if volume is None:
        return {}
    facts = {
        "orientation": orientation(volume.affine),
        "shape": "x".join(map(str, volume.stored.shape)),
        "voxel_mm": "x".join(f"{mm:.4g}" for mm in voxel_sizes_mm(volume.affine)),
    }
    if findings is not None:
        facts |= {name: f"{getattr(findings, name):.5g}" for name in _MEASURED}
    return facts
