"""featx predict: a fitted head on new features."""

from __future__ import annotations

from pathlib import Path

import typer

from featx_cli.console import say


def command(
    head: Path = typer.Argument(help="A fitted head: a file of RUN/heads/."),
    features: Path = typer.Argument(help="The feature file of the new images."),
    output: Path = typer.Option(Path("predictions.csv"), "--output", "-o", help="The table to write."),
) -> None:
    """Predict a phenotype for new images with a head that `featx fit` has fitted on all its people.

    Features of another network, tap, view, pooling, recipe or weights than the head was fitted on are refused.

    \b
    Example:
    featx predict run/heads/age--ridge--squeezenet1_0.imagenet.npz new.h5 -o ages.csv
    """
    from featx import store
    from featx.analysis.bundle import features_of, predict, read_bundle

    store.check_writable(output)
    bundle = read_bundle(head)
    available = store.list_sets(features)
    wanted = [name for name in features_of(bundle) if name in available] or available[:1]
    table = predict(bundle, [store.read_set(features, name) for name in wanted])
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.tmp")
    table.to_csv(beside, index=False, lineterminator="\n")
    beside.replace(output)
    say(f"{len(table)} images predicted ({bundle.contract['target']}, {bundle.contract['head']}): {output}")
