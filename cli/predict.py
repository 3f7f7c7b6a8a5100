"""featx predict: a fitted head on new features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx import schema
from featx_cli.console import SOME_FAILED, say
from featx_cli.options import Also

if TYPE_CHECKING:
    import pandas as pd

    from featx.analysis.features import Images


def command(
    head: Annotated[Path, typer.Argument(help="A fitted head: a .npz file of RUN/heads/.")],
    features: Annotated[
        list[Path] | None, typer.Argument(help="The feature file of the new images; none where a table is enough.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")] = Path("predictions.csv"),
    table: Annotated[
        list[str], typer.Option("--table", help="NAME=FILE, as in `featx fit`, with the new people's numbers.")
    ] = [],  # noqa: B006 - typer copies it
    phenotypes: Annotated[
        Path | None, typer.Option(help="The new people's confounds and sites, where the head uses any.")
    ] = None,
    also: Also = [],  # noqa: B006 - typer copies it
    allow_training_people: Annotated[
        bool,
        typer.Option("--allow-training-people", help="Predict them too, flagged in the column was_trained_on."),
    ] = False,
) -> None:
    """Predict a phenotype for new images with a head that `featx fit` has fitted on all its people.

    Features of another network, tap, view, pooling, recipe or weights than the head was fitted on are refused, and so
    are the people it was fitted on. Sites, confounds, the head, calibration and age bias are applied as they were
    fitted. The file beside the head that ends in .md says what it is worth. Slices that the new file keeps apart
    (.../slices) are aggregated as the head wants them, where it does not hold them so.

    \b
    Examples:
    featx predict run/heads/age--ridge--squeezenet1_0.imagenet.npz new.h5 -o ages.csv
    featx predict run/heads/HEAD.npz new.h5 --phenotypes people.csv --also qc/qc.csv    # confounds: site, sharpness
    """
    from featx import store
    from featx.analysis.aggregate import source_of
    from featx.analysis.features import Images, some
    from featx.analysis.runs.bundle import read_bundle
    from featx.analysis.runs.prediction import features_of, predict
    from featx.errors import BundleError
    from featx_cli.request import holders, images_of, pairs, read_as, read_table_set

    store.check_writable(output)
    bundle = read_bundle(head)
    holder = holders(features or [])
    tables = pairs(table, "--table", "volumes=volumes.tsv")
    sources = {name: source for name in features_of(bundle) if (source := source_of(name, holder))}
    sources = sources or {name: name for name in list(holder)[:1]}
    sets = [read_as(name, source, holder) for name, source in sources.items()]
    images = None
    if sets:
        images = Images(sets[0].image_id, sets[0].participant_id, sets[0].session_id)
    sets += [read_table_set(name, Path(path), images) for name, path in tables.items()]
    if not sets and features_of(bundle):
        raise BundleError(
            f"new features must be given; {head.name} needs {', '.join(map(repr, features_of(bundle)))}; give the "
            "feature file, or --table NAME=FILE"
        )
    people = _people(phenotypes, also, images_of(sets) if sets else None)
    found = predict(bundle, sets, people, allow_training_people=allow_training_people)
    id_column, asked = schema.IMAGE_ID, {str(image) for one in sets for image in one.image_id}
    if not sets and people is not None:
        id_column, asked = schema.PARTICIPANT_ID, set(people[schema.PARTICIPANT_ID].astype(str))
    left_out = sorted(asked - set(found[id_column].astype(str)))
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.tmp")
    found.to_csv(beside, index=False, lineterminator="\n")
    beside.replace(output)
    say(f"{len(found)} images predicted ({bundle.contract['target']}, {bundle.contract['head']}): {output}")
    if left_out:
        say(
            f"{len(left_out)} were left out, for they are not in all the features that the head needs, or lack a "
            f"value, a confound or a site: {some(left_out, 10)}"
        )
        raise typer.Exit(SOME_FAILED)


def _people(phenotypes: Path | None, also: Sequence[Path], images: Images | None) -> pd.DataFrame | None:
    """The table of the new people with its further columns, those of images in the row of each image.

    Parameters
    ----------
    phenotypes : Path or None
        Of people; without it, the first of `also` stands for it.
    also : sequence of Path
        As in `featx fit`.
    images : Images or None
        Those to be predicted; without features, they are the rows of the table that has image_id.
    """
    from featx.analysis.cohort.phenotypes import add_columns, read_phenotypes

    tables = {path: read_phenotypes(path) for path in ([] if phenotypes is None else [phenotypes]) + list(also)}
    if not tables:
        return None
    is_of_images = {path: schema.IMAGE_ID in one.table for path, one in tables.items()}
    first, *others = sorted(tables, key=lambda path: is_of_images[path] == (images is not None))
    found = tables[first]
    for path in others:
        found = add_columns(found, tables[path], str(path), images if is_of_images[path] else None)
    return found.table
