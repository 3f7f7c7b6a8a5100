"""predict: a fitted head on new features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from featx import schema
from featx.analysis.aggregate import source_of
from featx.analysis.cohort.phenotypes import add_columns
from featx.analysis.features import Images
from featx.analysis.runs.bundle import Bundle, read_bundle
from featx.analysis.runs.prediction import features_of
from featx.analysis.runs.prediction import predict as answers_of
from featx.api.frames import Table, read_people, where
from featx.api.gathering import Features, Holder, divided, first_images, holders, images_of, read_as, read_table_set
from featx.api.words import Words, many, path_of, told
from featx.errors import BundleError
from featx.landing import check_writable


def predict(
    head: Path | str | Bundle,
    features: Features = (),
    *,
    output: Path | str | None = None,
    table: Words = (),
    phenotypes: Table | None = None,
    also: Table | Sequence[Table] = (),
    allow_training_people: bool = False,
) -> pd.DataFrame:
    """Predict a phenotype for new images with a fitted head: `featx predict` from Python.

    Parameters
    ----------
    head : Path, str or Bundle
        A .npz file of RUN/heads/, or one of `Fitted.heads`.
    features : Path, str, sequence of them, or mapping of str to DataFrame or FeatureSet
        Of the new images, as `featx.fit` takes them; none where a table is enough.
    output : Path or str, optional
        The table to write (.csv); without it nothing is written.
    table : mapping of str to Path, str or DataFrame, or sequence of str
        Tables of numbers of the new people, by the names that the head was fitted on.
    phenotypes, also : Path, str or DataFrame
        The new people's confounds and sites, where the head uses any.
    allow_training_people : bool
        Predict people whom the head was fitted on too, flagged in the column was_trained_on.

    Returns
    -------
    DataFrame
        image_id, participant_id, session_id, predicted, and what `featx.analysis.runs.prediction.predict` tells
        beside. Its ``attrs["left_out"]`` lists images (people, where there are no images) that lack something.

    Raises
    ------
    BundleError
        Features were made in another way, are missing, or people are those the head was fitted on.
    CohortError, StoreError
        A table or a feature file cannot be used.

    Examples
    --------
    >>> import featx
    >>> run = featx.fit("features.h5", "people.tsv", target="age")  # doctest: +SKIP
    >>> featx.predict(run.heads["age--ridge--squeezenet1_0.imagenet"], "new.h5")  # doctest: +SKIP
    """
    place = None if output is None else Path(output)
    if place is not None:
        check_writable(place)
    wanted = "a .npz file of RUN/heads/, or one of `run.heads`"
    bundle = head if isinstance(head, Bundle) else read_bundle(path_of(head, "a fitted head", wanted))
    tables = told(table, "--table", "volumes=volumes.tsv")
    files, here, more = divided(features)
    holder: Holder = {**holders(files), **here}
    sources = {name: source for name in features_of(bundle) if (source := source_of(name, holder))}
    sources = sources or {name: name for name in list(holder)[:1]}
    sets = [read_as(name, source, holder) for name, source in sources.items()]
    images = first_images(sets)
    sets += [read_table_set(name, one, images) for name, one in {**tables, **more}.items()]
    if not sets and features_of(bundle):
        who = "this head" if isinstance(head, Bundle) else Path(head).name
        raise BundleError(
            f"new features must be given; {who} needs {', '.join(map(repr, features_of(bundle)))}; give the "
            "feature file, or --table NAME=FILE"
        )
    people = people_of(phenotypes, many(also), images_of(sets) if sets else None)
    found = answers_of(bundle, sets, people, allow_training_people=allow_training_people)
    id_column, asked = schema.IMAGE_ID, {str(image) for one in sets for image in one.image_id}
    if not sets and people is not None:
        id_column, asked = schema.PARTICIPANT_ID, set(people[schema.PARTICIPANT_ID].astype(str))
    found.attrs["left_out"] = sorted(asked - set(found[id_column].astype(str)))
    if place is not None:
        _write(found, place)
    return found


def _write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    table.to_csv(beside, index=False, lineterminator="\n")
    beside.replace(path)


def people_of(phenotypes: Table | None, also: Sequence[Table], images: Images | None) -> pd.DataFrame | None:
    """The table of the new people with its further columns, those of images in the row of each image.

    Parameters
    ----------
    phenotypes : Path, str, DataFrame or None
        Of people; without it, the first of `also` stands for it.
    also : sequence of Path, str or DataFrame
        As in `featx.fit`.
    images : Images or None
        Those to be predicted; without features, they are the rows of the table that has image_id.
    """
    given = ([] if phenotypes is None else [phenotypes]) + list(also)
    tables = [(where(one), read_people(one)) for one in given]
    if not tables:
        return None
    is_of_images = [schema.IMAGE_ID in one.table for _, one in tables]
    first, *others = sorted(range(len(tables)), key=lambda at: is_of_images[at] == (images is not None))
    found = tables[first][1]
    for at in others:
        source, one = tables[at]
        found = add_columns(found, one, source, images if is_of_images[at] else None)
    return found.table
