"""Which images are compared: those that are in every feature set, and complete."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from featx.analysis.cohort.people import Exclusion, exclusion
from featx.analysis.crossval import IGNORED, ONLY, TARGET
from featx.analysis.features import Images, check_same_people, incomplete_images
from featx.analysis.request import Request
from featx.errors import CohortError


def shared_images(request: Request) -> tuple[Images, list[Exclusion]]:
    """Ids of the images that are in every set that is used, and rows for those that are in some only."""
    names = list(dict.fromkeys(name for sets in request.combinations.values() for name in sets))
    rows = {name: {str(image): at for at, image in enumerate(request.sets[name].image_id)} for name in names}
    everywhere = sorted(set.intersection(*(set(one) for one in rows.values())))
    empty = incomplete_images(request.sets[name] for name in names) if _needs_complete(request) else set()
    if not everywhere:
        raise CohortError(
            f"feature sets must share images to be compared; {', '.join(map(repr, names))} share none; "
            "fit them in separate runs, or extract all from the same images"
        )
    of = {name: _images_of(request, name, [rows[name][image] for image in everywhere]) for name in names}
    for name in names[1:]:
        check_same_people(name, of[name], of[names[0]])
    partial = _in_some_only(request, rows, set(everywhere))
    images, kept = of[names[0]], np.array([image not in empty for image in everywhere])
    if not kept.any():
        raise CohortError(
            f"features must be complete, but for boosting; every one of {len(kept)} images has an empty cell in a "
            "table; fill it in, leave its column out, or fit boosting only"
        )
    return images.take(np.flatnonzero(kept)), partial + _with_empty_cells(images.take(np.flatnonzero(~kept)))


def _needs_complete(request: Request) -> bool:
    """Only trees take empty cells, and only where nothing else is done to the features."""
    adjusting = request.adjusting
    plain = (
        adjusting.harmonise == "none" and adjusting.pca is None and set(adjusting.modes) <= {IGNORED, ONLY, TARGET}
    )
    return not (plain and set(request.heads) == {"boosting"} and not request.inferring.n_permutations)


def _with_empty_cells(images: Images) -> list[Exclusion]:
    return [
        exclusion(
            "missing-features",
            f"a person's features must be complete, but for boosting; image {str(image)!r} has an empty cell in a "
            "table; fill it in, or leave its column out",
            image_id=str(image),
            participant_id=str(person),
        )
        for image, person in zip(images.image_id, images.participant_id, strict=True)
    ]


def _images_of(request: Request, name: str, at: list[int]) -> Images:
    one = request.sets[name]
    return Images(one.image_id, one.participant_id, one.session_id).take(np.array(at, dtype=np.intp))


def _in_some_only(request: Request, rows: Mapping[str, Mapping[str, int]], everywhere: set[str]) -> list[Exclusion]:
    partial = []
    for image in sorted(set().union(*rows.values()) - everywhere):
        holder = next(name for name in rows if image in rows[name])
        lacking = next(name for name in rows if image not in rows[name])
        person = str(request.sets[holder].participant_id[rows[holder][image]])
        sentence = (
            f"an image must be in every feature set that is compared; {image!r} is in {holder!r} and not in "
            f"{lacking!r}; look in the failures table, or fit the sets in separate runs"
        )
        partial.append(exclusion("missing-features", sentence, image_id=image, participant_id=person))
    return partial
