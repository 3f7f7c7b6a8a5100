"""Maps of the features that arms are given: principal components and UMAP, coloured by phenotype, site and age."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from featx import schema, store
from featx.analysis.aggregate import aggregate, source_of
from featx.analysis.cohort.people import people_of
from featx.analysis.features import TABLE
from featx.analysis.runs.rundir import Run
from featx.report import contents
from featx.report.answers import score_table
from featx.report.blocks import Extras, Panel, Section
from featx.report.figures.maps import MOST_LEVELS, Colouring, Space, maps
from featx.report.sections.residuals import Beside, beside
from featx.report.wording import count

Floats = NDArray[np.float64]

MOST_IMAGES = 5000
MOST_SETS = 6
MOST_COLOURINGS = 4
LEAST_IMAGES = 10
N_COMPONENTS = 50
OTHERS = "all others"
_SEED = 0


@dataclass(frozen=True)
class Coloured:
    """A colouring with its values.

    Attributes
    ----------
    colouring : Colouring
    values : Series
        float, index image_id: numbers, or positions in the colouring's levels.
    """

    colouring: Colouring
    values: pd.Series


@dataclass(frozen=True)
class Rows:
    """Features of some images, or why there are none.

    Attributes
    ----------
    images : ndarray of shape (n,), object (str)
    X : ndarray of shape (n, n_features)
    why : str
        "" where there are some.
    """

    images: NDArray[np.object_]
    X: NDArray[np.float32]
    why: str = ""


def section_of(run: Run, extras: Extras) -> Section | None:
    """A figure for each of the features that a run's arms were given; None without feature files.

    Only what the run used is drawn: a set of the same name that was made otherwise is told, not shown. Where single
    people are not to be shown, each mark is the mean of `extras.least` people or more who are neighbours.

    Raises
    ------
    StoreError
        A file is damaged, or no feature file.
    """
    if not extras.features:
        return None
    people = _people(run)
    images = draw_images(people.index.to_numpy(object))
    if extras.is_private:  # an image for each person
        images = images[np.unique(people_of(people.loc[list(images)]), return_index=True)[1]]
    colourings = colourings_of(run, beside(run))
    combinations = {str(one["name"]): list(one["sets"]) for one in run.facts.get("features") or []}
    stored = {path: store.list_sets(path) for path in extras.features}
    names = _best_first(run, list(combinations))
    panels, whys, has_umap = [], [], True
    for at, name in enumerate(names[:MOST_SETS]):
        rows = read_rows(combinations[name], stored, images)
        if rows.why:
            whys.append(f"Not drawn: {rows.why}.")
            continue
        spaces = spaces_of(rows.X)
        has_umap = has_umap and len(spaces) > 1
        panels.append(_panel(name, rows, spaces, colourings, (extras, f"space{at}-")))
    notes = _notes((len(people), len(images)), len(names), extras, has_umap=has_umap or not panels)
    return Section("feature-space", "Maps of the features", (*notes, *whys), tuple(panels), is_wide=True)


def _notes(n: tuple[int, int], n_sets: int, extras: Extras, *, has_umap: bool) -> list[str]:
    notes = [
        "Features as heads are given them, each standardised. PCA: the first two principal components, with their "
        f"share of the variance. UMAP: of the leading {N_COMPONENTS}, so that neighbours stay neighbours; distances "
        "between groups and the directions of its axes mean nothing. Islands of one site mean that features know the "
        "site. Neither map was used for any score."
    ]
    if not has_umap:
        notes.append("UMAP is not drawn: it needs umap-learn; pip install 'featx[maps]', and write the report again.")
    if extras.is_private:
        notes.append(
            f"Each mark is the mean of {extras.least} people or more who are neighbours on the map, one image of "
            "each; it is as large as they are many."
        )
    if n[1] == MOST_IMAGES < n[0]:
        notes.append(f"{n[1]:,} of {n[0]:,} images are drawn, by lot (seed {_SEED}).")
    if n_sets > MOST_SETS:
        notes.append(
            f"{MOST_SETS} of {n_sets} feature sets are drawn: those with the best scores of the first target."
        )
    return notes


# --- what is drawn --------------------------------------------------------------------------------------------


def _people(run: Run) -> pd.Series:
    """Participant of every image that was predicted, in the order of the images."""
    ids = [schema.IMAGE_ID, schema.PARTICIPANT_ID]
    every = pd.concat([one[ids].drop_duplicates() for one in run.predictions.values()])
    return every.drop_duplicates(schema.IMAGE_ID).set_index(schema.IMAGE_ID)[schema.PARTICIPANT_ID].sort_index()


def draw_images(images: NDArray[np.object_], most: int = MOST_IMAGES) -> NDArray[np.object_]:
    """All images, or so many of them by lot, in their order.

    Examples
    --------
    >>> draw_images(np.array(["a", "b", "c"], dtype=object), 5).tolist()
    ['a', 'b', 'c']
    """
    if len(images) <= most:
        return images
    return images[np.sort(np.random.default_rng(_SEED).choice(len(images), most, replace=False))]


def _best_first(run: Run, names: Sequence[str]) -> list[str]:
    """Names of features, by the scores of the run's first target."""
    first = str(run.facts["targets"][0]["name"]) if run.facts["targets"] else ""
    own = run.scores[run.scores["target"] == first]
    ranked = [row.features for row in score_table(own).rows] if len(own) else []
    return list(dict.fromkeys(one for one in (*ranked, *names) if one in names))


def read_rows(
    sets: Sequence[Mapping[str, Any]], stored: Mapping[Path, Sequence[str]], wanted: NDArray[np.object_]
) -> Rows:
    """Features of the wanted images that are in all of some sets, side by side.

    Parameters
    ----------
    sets : sequence of mapping
        name, key and provenance of each, as run.json has them.
    stored : mapping of Path to sequence of str
        Feature files, and the names of their sets. Of several that hold one image, the first one's row is taken.
    wanted : ndarray of shape (n,), object (str)
    """
    parts: list[dict[str, NDArray[np.floating]]] = []
    for facts in sets:
        if (facts.get("provenance") or {}).get("network") == TABLE:
            return _nothing(f"{facts['name']}, a table of numbers, which feature files do not hold")
        found, is_other = _read_set(facts, stored, set(wanted))
        if not found:
            why = (
                "was made in another way than that of the run" if is_other else "is not in the files that were given"
            )
            return _nothing(f"{facts['name']}, which {why}")
        parts.append(found)
    images = [image for image in wanted if all(image in part for part in parts)]
    if len(images) < LEAST_IMAGES:
        names = " + ".join(str(facts["name"]) for facts in sets)
        held = count(len(images), "image")
        return _nothing(f"{names}, of which the files hold {held} of the run ({LEAST_IMAGES} are needed)")
    X = np.array([np.concatenate([part[image] for part in parts]) for image in images], dtype=np.float32)
    return Rows(np.array(images, dtype=object), X)


def _nothing(why: str) -> Rows:
    return Rows(np.empty(0, dtype=object), np.empty((0, 0), dtype=np.float32), why)


def _read_set(
    facts: Mapping[str, Any], stored: Mapping[Path, Sequence[str]], wanted: set[str]
) -> tuple[dict[str, NDArray[np.floating]], bool]:
    """Rows of one set by image, and whether a file holds that set with another key."""
    found: dict[str, NDArray[np.floating]] = {}
    name, is_other = str(facts["name"]), False
    for path, names in stored.items():
        source = source_of(name, names)
        if source is None:
            continue
        one = store.read_set(path, source)
        one = one if source == name else aggregate(one, name.rpartition("/")[2])
        if one.key != facts["key"]:
            is_other = True
            continue
        X = one.X.mean(axis=1) if one.X.ndim == 3 else one.X  # slices that a head puts together itself
        found = {str(image): X[row] for row, image in enumerate(one.image_id) if image in wanted} | found
    return found, is_other


# --- colourings -----------------------------------------------------------------------------------------------


def colourings_of(run: Run, around: Beside, most: int = MOST_COLOURINGS) -> list[Coloured]:
    """Site and age where they are known; before them as many targets as there is place for, in the run's order."""
    titles = {_title(facts) for facts in run.facts["targets"]}
    others = []
    if around.age and around.age not in titles:
        others.append(Coloured(Colouring(around.age), around.table["age"].astype(np.float64)))
    if around.site and around.site not in titles and around.table["site"].nunique() > 1:
        site = around.table["site"].dropna().astype(str)
        others.append(_of_classes(around.site, site, sorted(set(site))))
    return [*(_of_target(run, facts) for facts in run.facts["targets"][: most - len(others)]), *others]


def _title(facts: Mapping[str, Any]) -> str:
    return f"{facts['name']} ({facts['unit']})" if facts.get("unit") else str(facts["name"])


def _of_target(run: Run, facts: Mapping[str, Any]) -> Coloured:
    title, rows = _title(facts), run.predictions[str(facts["name"])]
    observed = contents.scored_images(rows).set_index(schema.IMAGE_ID)["observed"]
    if contents.is_number(facts):
        return Coloured(Colouring(title), observed.astype(np.float64))
    return _of_classes(title, observed.astype(str), contents.levels_of(facts, rows))


def _of_classes(title: str, labels: pd.Series, levels: Sequence[str]) -> Coloured:
    """Of more levels than there are markers, the rarest are one."""
    if len(levels) > MOST_LEVELS:
        common = list(labels.value_counts().index[: MOST_LEVELS - 1])
        labels = labels.where(labels.isin(common), OTHERS)
        levels = [*(one for one in levels if one in common), OTHERS]
    code = {level: float(at) for at, level in enumerate(levels)}
    return Coloured(Colouring(title, tuple(levels)), labels.map(code).astype(np.float64))


# --- maps -----------------------------------------------------------------------------------------------------


def spaces_of(X: NDArray[np.floating]) -> list[Space]:
    """PCA and, where umap-learn is installed, UMAP of standardised features; without values yet.

    Parameters
    ----------
    X : ndarray of shape (n_images, n_features)
        Finite. Columns of one value are left out.
    """
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    n_components = min(N_COMPONENTS, *Z.shape)
    if n_components < 2:
        Z = np.pad(Z, ((0, 0), (0, 2 - Z.shape[1]))) if Z.shape[1] < 2 else Z
        n_components = 2
    solver = "full" if min(Z.shape) <= 500 else "randomized"
    pca = PCA(n_components, svd_solver=solver, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no variance at all: shares are NaN
        scores = pca.fit_transform(Z)
    shares = [
        f"PC {at + 1} ({100 * share:.0f} % of variance)"
        for at, share in enumerate(np.nan_to_num(pca.explained_variance_ratio_))
    ]
    found = [Space("PCA", shares[0], shares[1], scores[:, :2].astype(np.float64), ())]
    plane = umap_of(scores)
    return found if plane is None else [*found, Space("UMAP", "UMAP 1", "UMAP 2", plane, ())]


def umap_of(scores: NDArray[np.floating]) -> Floats | None:
    """A plane on which neighbours stay neighbours (McInnes 2018); None where umap-learn is not installed.

    Parameters
    ----------
    scores : ndarray of shape (n_images, n_components)

    Returns
    -------
    ndarray of shape (n_images, 2)
        The same for the same scores on one machine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its own insides
        try:
            import umap  # needs seconds, and an extra of its own
        except ImportError:
            return None
        mapper = umap.UMAP(n_neighbors=min(15, len(scores) - 1), random_state=_SEED, n_jobs=1)
        return np.asarray(mapper.fit_transform(scores), dtype=np.float64)


def neighbours(points: Floats, least: int) -> list[NDArray[np.intp]]:
    """Points in groups of `least` or more (all, where there are fewer), halved along the longer side again and again.

    Examples
    --------
    >>> [one.tolist() for one in neighbours(np.array([[0.0, 0], [9, 0], [1, 0], [8, 0]]), 2)]
    [[0, 2], [3, 1]]
    """

    def halve(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        if len(rows) < 2 * least:
            return [rows]
        own = points[rows]
        order = rows[np.argsort(own[:, np.ptp(own, axis=0).argmax()], kind="stable")]
        half = len(rows) // 2
        return [*halve(order[:half]), *halve(order[half:])]

    return halve(np.arange(len(points)))


def grouped(space: Space, colourings: Sequence[Colouring], least: int) -> Space:
    """The same plane with a mark for each group of neighbours: means of numbers, the commonest of classes. A share
    would tell of few. Of what is known of fewer than `least` people of a group, nothing is told.
    """
    groups = neighbours(space.points, least)
    points = np.array([space.points[rows].mean(axis=0) for rows in groups])
    values = tuple(
        np.array([_told(own[rows], colouring, least) for rows in groups])
        for own, colouring in zip(space.values, colourings, strict=True)
    )
    return replace(space, points=points, values=values, weights=np.array([len(rows) for rows in groups], dtype=float))


def _told(values: Floats, colouring: Colouring, least: int) -> float:
    known = values[np.isfinite(values)]
    if len(known) < least:
        return float("nan")
    return float(np.bincount(known.astype(int)).argmax()) if colouring.levels else float(known.mean())


def _panel(
    name: str, rows: Rows, spaces: Sequence[Space], coloured: Sequence[Coloured], how: tuple[Extras, str]
) -> Panel:
    extras, prefix = how
    values = tuple(one.values.reindex(rows.images).to_numpy(np.float64) for one in coloured)
    colourings = [one.colouring for one in coloured]
    spaces = [replace(space, values=values) for space in spaces]
    if extras.is_private:
        spaces = [grouped(space, colourings, extras.least) for space in spaces]
        colourings = [replace(one, title=f"{one.title}: the commonest") if one.levels else one for one in colourings]
    said = ", ".join(one.title for one in colourings)
    titles = " and ".join(space.title for space in spaces)
    drawing = maps(spaces, colourings, alt=f"{titles} of the features {name}, coloured by {said}", prefix=prefix)
    caption = f"{count(len(rows.images), 'image')}, {count(rows.X.shape[1], 'feature')}."
    return Panel("", name, drawing, caption, _as_data(spaces, colourings, None if extras.is_private else rows.images))


def _as_data(
    spaces: Sequence[Space], colourings: Sequence[Colouring], images: NDArray[np.object_] | None
) -> pd.DataFrame:
    """What is drawn, one row for each point of each map."""
    parts = []
    for space in spaces:
        part = pd.DataFrame({"map": space.title, "x": space.points[:, 0], "y": space.points[:, 1]})
        if images is not None:
            part.insert(1, schema.IMAGE_ID, images)
        if space.weights is not None:
            part["people"] = space.weights.astype(int)
        for colouring, values in zip(colourings, space.values, strict=True):
            names = dict(enumerate(colouring.levels))
            part[colouring.title] = (
                [names.get(int(one)) for one in np.nan_to_num(values, nan=-1)] if names else values
            )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
