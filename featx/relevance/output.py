"""The folder of a relevance map: the map and its spread on the template's grid, a figure, a table, what it is of."""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.analysis.runs.bundle import PEOPLE, hashes_of
from featx.errors import StoreError
from featx.extraction.job import library_versions
from featx.images.image import Image
from featx.images.template import template_on
from featx.images.volume import Volume, grid_affine, reorient, write_volume
from featx.relevance.answering import GRADIENT, unit_of
from featx.relevance.cubes import brain_on, cubes_to_map, make_cubes, smooth
from featx.relevance.maps import RANDOM, Average, PersonMaps, average, part_path, read_part
from featx.relevance.run import Look
from featx.relevance.wish import ABSOLUTE, DIFFERENCE, SIGNED, TIMES_INPUT
from featx.report.figures.brains import BrainMap, brain_drawing
from featx.report.figures.canvas import as_file
from featx.store import Failure

FORMAT, FORMAT_VERSION = "featx-relevance", 1
FACTS, TABLE, FIGURE, MAP = "relevance.json", "relevance.csv", "relevance.png", "relevance.nii.gz"
FORMATS = ("png", "svg", "pdf")
ROWS = (
    schema.Column(schema.IMAGE_ID, "text", "the image"),
    schema.Column(schema.PARTICIPANT_ID, "text", ""),
    schema.Column("answer", "float", "of the head: a number in its unit, or log odds of the level"),
    schema.Column("norm", "float", "root mean square of the image's own map, over voxels of the brain, or cubes"),
)


@dataclass(frozen=True)
class Outcome:
    """What a map's folder holds, in short.

    Attributes
    ----------
    facts : mapping
        relevance.json.
    failures : tuple of dict
        Rows of `featx.schema.FAILURES`.
    """

    facts: Mapping[str, Any]
    failures: tuple[Failure, ...]


def parts_of(output: Path) -> Path:
    """Where the maps of single people stay until the folder is whole."""
    return output.with_name(f"{output.name}.parts")


def read_facts(folder: Path) -> dict[str, Any] | None:
    """relevance.json of a folder, None where it is no relevance map."""
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return facts if facts["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_done(output: Path, key: str) -> bool:
    """Whether a folder is this very map, of all its images; one that some images lack is made again.

    Raises
    ------
    StoreError
        It is another map, or something else.
    """
    if not output.exists():
        return False
    facts = read_facts(output)
    if facts is None or facts["key"] != key:
        what = "something else" if facts is None else f"another map ({facts['method']} of {facts['n_images']} images)"
        raise StoreError(
            f"a relevance map must have a folder of its own; {output} holds {what}; give another one with -o, or "
            "delete it"
        )
    return not facts["n_failed"]


def write_outcome(
    look: Look, images: Sequence[Image], failures: Sequence[Failure], output: Path, keys: tuple[str, str]
) -> Outcome:
    """Average what stands in parts, and write the folder beside its place; then rename it.

    Parameters
    ----------
    images : sequence of Image
        All that were asked for.
    keys : tuple of str
        Of the parts, and of the whole.

    Raises
    ------
    StoreError
        There is no map to be averaged.
    """
    found = [image for image in images if _part(output, keys[0], image) is not None]
    if not found:
        raise StoreError(
            f"a relevance map must be of some image; all {len(images)} failed, the first because: "
            f"{failures[0]['sentence'] if failures else 'nothing is left of their maps; run again'}"
        )
    averaged = average(_parts(output, keys[0], found))
    facts = _facts(look, found, averaged, len(failures)) | {"key": keys[1]}
    beside = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}")
    beside.mkdir(parents=True)
    try:
        _write_maps(look, averaged, facts, beside)
        _write_rows(look, found, list(_parts(output, keys[0], found)), beside / TABLE)
        if failures:
            _write_csv(beside / schema.FAILURES_CSV, failures, schema.names(schema.FAILURES))
        text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)
        (beside / FACTS).write_text(text + "\n", encoding="utf-8")
        if output.exists():
            shutil.rmtree(output)  # the same map, of fewer images
        beside.replace(output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if not failures:
        shutil.rmtree(parts_of(output), ignore_errors=True)
    return Outcome(facts, tuple(failures))


def _part(output: Path, key: str, image: Image) -> PersonMaps | None:
    return read_part(part_path(parts_of(output), key, image.image_id))


def _parts(output: Path, key: str, images: Sequence[Image]) -> Iterator[PersonMaps]:
    for image in images:
        found = _part(output, key, image)
        if found is not None:
            yield found


# --- what it is of ----------------------------------------------------------------------------------------------


def _facts(look: Look, images: Sequence[Image], averaged: Average, n_failed: int) -> dict[str, Any]:
    contract, wish = look.bundle.contract, look.wish
    trained = np.isin(
        hashes_of([image.participant_id for image in images], contract["salt"]), look.bundle.arrays[PEOPLE]
    )
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "target": contract["target"],
        "level": str(contract["classes"][look.level]) if contract["classes"] else "",
        "head": contract["head"],
        "features": contract["features"],
        "confounds": contract["treatment"]["confounds"] if isinstance(contract.get("treatment"), Mapping) else "",
        "method": wish.method,
        "show": wish.show,
        "unit": unit_of_map(look),
        "n_images": averaged.n,
        "n_failed": n_failed,
        "n_trained_on": int(trained.sum()),
        "patch_mm": None if wish.method == GRADIENT else wish.patch_mm,
        "stride_mm": None if wish.method == GRADIENT else wish.stride_mm,
        "smooth_mm": wish.smooth_mm,
        "split_half_r": {kind: _or_none(value) for kind, value in averaged.split_half_r.items()},
        "random_r": {kind: _or_none(value) for kind, value in averaged.random_r.items()},
        "grid": look.grid.name,
        "figure": FIGURE,
        "maps": sorted(_maps(look, averaged)),
        "networks": [{"network": one.name, "weights_sha256": one.sha256} for one in look.sources],
        "versions": json.loads(library_versions(look.sources[0].request.sheet)),
    }
    return facts | {"caption": caption(facts)}


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def unit_of_map(look: Look) -> str:
    """The unit of the map that is shown, as it stands under its colours."""
    unit = unit_of(look.bundle, look.level)
    return {
        SIGNED: f"{unit}, when 1 ml becomes brighter by 10 % of bright tissue",
        ABSOLUTE: f"{unit} (size alone), when 1 ml becomes brighter by 10 % of bright tissue",
        TIMES_INPUT: f"{unit} per ml: gradient times grey value",
    }.get(look.wish.show, f"{unit} that the inside of a cube of {look.wish.patch_mm:g} mm adds")


def caption(facts: Mapping[str, Any]) -> str:
    """What is seen, how it was made, and how far it can be trusted.

    Examples
    --------
    >>> facts = dict(target="age", level="", head="ridge", features="a.x", method="gradient", show="absolute",
    ...              n_images=20, n_trained_on=0, smooth_mm=0, patch_mm=None, split_half_r={}, random_r={})
    >>> caption(facts).partition(";")[0]
    'Where the head ridge on a.x looks for age: the size of the gradient of its answer, voxel by voxel'
    """
    what = facts["target"] + (f" ({facts['level']!r} against the rest)" if facts["level"] else "")
    how = _HOW[facts["show"]].format(patch=facts["patch_mm"] and f"{facts['patch_mm']:g}")
    smoothed = f", smoothed by {facts['smooth_mm']:g} mm (FWHM)" if facts["smooth_mm"] else ""
    n, trained = facts["n_images"], facts["n_trained_on"]
    people = f"mean over {n} image{'s' * (n != 1)}" + (
        f", {trained} of them of people it was fitted on" if trained else ""
    )
    half, random = facts["split_half_r"].get(facts["show"]), facts["random_r"].get(facts["show"])
    trust = f" The maps of two halves of the people correlate at {half:.2f}." if half is not None else ""
    if random is not None:
        trust += f" The map through a network with random weights correlates with this one at {random:.2f}."
    return (
        f"Where the head {facts['head']} on {facts['features']} looks for {what}: {how}; {people}{smoothed}. Inside "
        f"the template's brain alone.{trust} It tells what the head uses, not what causes what."
    )


_HOW = {
    SIGNED: "the gradient of its answer with respect to the voxels, through the frozen networks (orange: brighter "
    "tissue raises the answer, blue: it lowers it)",
    ABSOLUTE: "the size of the gradient of its answer, voxel by voxel",
    TIMES_INPUT: "the gradient of its answer with respect to the voxels, times their grey values",
    DIFFERENCE: "how much larger its answer is than without what a cube of {patch} mm holds, which is filled with "
    "the mean of what is around it (orange: the inside raises the answer, blue: it lowers it)",
}


# --- files ------------------------------------------------------------------------------------------------------


def _maps(look: Look, averaged: Average) -> dict[str, NDArray[np.float64]]:
    """What is written, by file; values per voxel of the brain, or per cube."""
    shown = look.wish.show
    maps = {MAP: averaged.mean[shown]}
    if averaged.n > 1:
        maps["relevance_sd.nii.gz"] = averaged.sd[shown]
    if RANDOM + shown in averaged.mean:
        maps["relevance_random.nii.gz"] = averaged.mean[RANDOM + shown]
    others = {kind: one for kind, one in averaged.mean.items() if kind != shown and not kind.startswith(RANDOM)}
    return maps | {f"relevance_{kind.replace('-', '_')}.nii.gz": one for kind, one in others.items()}


def _write_maps(look: Look, averaged: Average, facts: Mapping[str, Any], folder: Path) -> None:
    grid = look.grid
    for name, values in _maps(look, averaged).items():
        write_volume(folder / name, volume_of(look, values), grid_affine(grid))
    template = reorient(template_on(grid), "RAS")
    shown = reorient(Volume(volume_of(look, averaged.mean[look.wish.show]), grid_affine(grid)), "RAS")
    drawing = brain_drawing(
        BrainMap(shown.data, template.data, template.affine, facts["unit"]), alt=facts["caption"], prefix="relevance"
    )
    for format in FORMATS:
        (folder / f"relevance.{format}").write_bytes(as_file(drawing, format))


def volume_of(look: Look, values: NDArray[np.floating]) -> NDArray[np.float32]:
    """A map on its grid, from values per voxel of the brain, or per cube; shape (I, J, K)."""
    grid, wish = look.grid, look.wish
    if wish.method != GRADIENT:
        corners = make_cubes(wish.patch_mm, wish.stride_mm)
        whole = cubes_to_map(values.astype(np.float64), grid, corners, wish.patch_mm)
        return smooth(whole, grid, wish.smooth_mm) if wish.smooth_mm else whole
    volume = np.zeros(grid.shape, dtype=np.float32)
    volume[brain_on(grid)] = values
    return volume


def _write_rows(look: Look, images: Sequence[Image], parts: Sequence[PersonMaps], path: Path) -> None:
    shown = look.wish.show
    rows = [
        {
            schema.IMAGE_ID: image.image_id,
            schema.PARTICIPANT_ID: image.participant_id,
            "answer": f"{one.answer:.6g}",
            "norm": f"{float(np.sqrt(np.mean(np.square(one.maps[shown], dtype=np.float64)))):.6g}",
        }
        for image, one in zip(images, parts, strict=True)
    ]
    _write_csv(path, rows, schema.names(ROWS))


def _write_csv(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
