"""featx predict: a fitted head on new features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featx_cli.console import SOME_FAILED, say
from featx_cli.options import Also


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
    from featx.analysis.features import some
    from featx.analysis.runs.bundle import read_bundle
    from featx.api.predicting import predict
    from featx.landing import check_writable

    check_writable(output)
    bundle = read_bundle(head)
    found = predict(
        head,
        features or [],
        output=output,
        table=table,
        phenotypes=phenotypes,
        also=also,
        allow_training_people=allow_training_people,
    )
    left_out = found.attrs["left_out"]
    say(f"{len(found)} images predicted ({bundle.contract['target']}, {bundle.contract['head']}): {output}")
    if left_out:
        say(
            f"{len(left_out)} were left out, for they are not in all the features that the head needs, or lack a "
            f"value, a confound or a site: {some(left_out, 10)}"
        )
        raise typer.Exit(SOME_FAILED)
