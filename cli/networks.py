"""featx networks: what the table of networks knows."""

from __future__ import annotations

import typer

from featx_cli.console import say

app = typer.Typer(help="The networks featx can run: list them, or show one's sheet.", no_args_is_help=True)


@app.command("list")
def list_networks() -> None:
    """One line per network: name, grid, taps, what it was trained on."""
    from featx.networks import NETWORKS

    width = max(map(len, NETWORKS))
    for name, sheet in NETWORKS.items():
        say(f"{name:{width}}  {sheet.recipe.grid.name}; {len(sheet.taps)} taps; {sheet.training}")


@app.command("show")
def show_network(name: str = typer.Argument(help="A name that `featx networks list` prints.")) -> None:
    """Everything the table says of one network: the image it wants, its taps, its weights and their licence."""
    from featx.networks import get_network

    sheet = get_network(name)
    grid = sheet.recipe.grid
    say(sheet.name)
    say(f"  wants      a skull-stripped brain on the {grid.name} grid: {'x'.join(map(str, grid.shape))} voxels of")
    say(f"             {grid.voxel_mm:g} mm, {grid.orientation} or any other order of the same axes")
    for step in sheet.recipe.steps:
        say(f"  step       {step.name} {dict(step.settings) or ''}")
    for view in sheet.recipe.views:
        shown = "; ".join(f"{step.name} {dict(step.settings)}" for step in view.steps) or "the whole volume"
        say(f"  view       {view.name}{'*' if view.name in sheet.default_views else ''}: {shown}")
    for name_, tap in sheet.taps.items():
        say(f"  tap        {name_}{'*' if name_ in sheet.default_taps else ''}: {tap.width} features")
    say(f"  pooling    {', '.join(how + '*' * (how in sheet.default_pooling) for how in sheet.poolings)}")
    say(f"  trained on {sheet.training}")
    if sheet.weights:
        say(f"  weights    {sheet.weights.url}")
        say(f"             {sheet.weights.digest}, licence {sheet.weights.licence}")
    say(f"  reference  {sheet.reference}")
    say("  (* what is read if nothing is asked for)")
