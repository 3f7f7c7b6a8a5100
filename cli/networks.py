"""featx networks: what the table of networks knows, and their weights on this machine."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from featx_cli.added import add, added, added_sheets, remove, resolved
from featx_cli.console import SOME_FAILED, cache_dir, progress, say
from featx_cli.networkcard import card, in_mb, input_of, n_bytes_of, size_of

if TYPE_CHECKING:
    from featx.networks.download import Progress
    from featx.networks.sheet import Network, Weights

app = typer.Typer(
    help="The networks featx can run: list them, show one's card, fetch their weights, add one's own.",
    no_args_is_help=True,
)
_WILD = "*?["


# --- list -----------------------------------------------------------------------------------------------------


@app.command("list")
def list_networks(
    pattern: str = typer.Argument("", help="A wildcard such as 'resnet*', or a part of a name."),
    family: str = typer.Option("", help="A part of a family's name, such as SFCN."),
    as_json: bool = typer.Option(False, "--json", help="All of it as JSON, for programs."),
) -> None:
    """List networks by family: all names, or a table of those that a pattern or a family picks.

    \b
    Example:
    featx networks list
    featx networks list 'resnet*'
    featx networks list --family SFCN
    """
    from featx.networks import NETWORKS
    from featx.networks.named import PATTERNS

    own, unread = added_sheets()
    own = [replace(sheet, family=f"{sheet.family}, added") for sheet in own]
    sheets = _picked([*NETWORKS.values(), *own], pattern, family)
    if as_json:
        say(json.dumps([_facts(sheet) for sheet in sheets], indent=1))
        return
    families: dict[str, list[Network]] = {}
    for sheet in sheets:
        families.setdefault(sheet.family, []).append(sheet)
    for sentence in unread:
        say(f"added, but not to be read here: {sentence}")
    if pattern or family:
        _say_table(families)
        return
    width = shutil.get_terminal_size((118, 24)).columns
    for title, members in families.items():
        say(f"{title} ({len(members)})")
        names = "  ".join(sheet.name + "*" * (_state(sheet) in ("bundled", "fetched")) for sheet in members)
        indent = "    "
        say(textwrap.fill(names, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False))
    say(f"{len(sheets)} networks (* weights fetched, or bundled)")
    say("  a table of some:  featx networks list 'resnet*', or --family SFCN")
    say("  one in full:      featx networks show NAME")
    say(f"  others by name:   {', '.join(PATTERNS)}")


def _picked(sheets: Any, pattern: str, family: str) -> list[Network]:
    from featx.errors import NetworkError, known

    sheets = list(sheets)
    low = pattern.lower()
    wild = low if any(sign in low for sign in _WILD) else f"*{low}*"
    found = [
        sheet for sheet in sheets if fnmatchcase(sheet.name.lower(), wild) and family.lower() in sheet.family.lower()
    ]
    if not found and family and not any(family.lower() in sheet.family.lower() for sheet in sheets):
        raise NetworkError(
            f"a family must be one of the table; {family!r} is none; {known({one.family for one in sheets})}"
        )
    if not found:
        of = f" of the family {family!r}" if family else ""
        raise NetworkError(
            f"a pattern must fit a network{of}; {pattern!r} fits none; {known([one.name for one in sheets], pattern)}"
        )
    return found


def _say_table(families: Mapping[str, Sequence[Network]]) -> None:
    head = ("network", "parameters", "wants", "taps", "weights", "licence", "cache")
    rows = {title: [_row(sheet) for sheet in members] for title, members in families.items()}
    every = [head, *(row for members in rows.values() for row in members)]
    widths = [max(len(row[at]) for row in every) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{cell:>{width}}" if at in (1, 3, 4) else f"{cell:{width}}" for at, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        return ("  " + "  ".join(cells)).rstrip()

    for title, members in rows.items():
        say(title)
        say(line(head))
        for row in members:
            say(line(row))
        say()


def _row(sheet: Network) -> tuple[str, ...]:
    weights = sheet.weights
    return (
        sheet.name,
        f"{sheet.n_parameters / 1e6:.1f} M" if sheet.n_parameters or sheet.weightless else "?",
        f"{sheet.recipe.grid.name}, {input_of(sheet)}",
        str(len(sheet.taps)),
        size_of(sheet, cache_dir()),
        weights.licence if weights else "-",
        _state(sheet),
    )


def _facts(sheet: Network) -> dict[str, Any]:
    from featx.networks.download import find_cached

    weights = sheet.weights
    at = find_cached(weights, cache_dir()) if weights else None
    return {
        "name": sheet.name,
        "family": sheet.family,
        "parameters": sheet.n_parameters,
        "grid": sheet.recipe.grid.name,
        "shape": sheet.recipe.grid.shape,
        "voxel_mm": sheet.recipe.grid.voxel_mm,
        "orientation": sheet.recipe.grid.orientation,
        "skull_stripped": sheet.recipe.skull_stripped,
        "registered": sheet.recipe.registered,
        "input": input_of(sheet),
        "views": {view.name: view.name in sheet.default_views for view in sheet.recipe.views},
        "taps": {name: {"width": tap.width, "module": tap.module} for name, tap in sheet.taps.items()},
        "default_taps": sheet.default_taps,
        "poolings": sheet.poolings,
        "weights": {name: getattr(weights, name) for name in ("url", "file", "digest", "licence", "size_bytes")}
        if weights
        else None,
        "fetched": str(at) if at else None,
        "training": sheet.training,
        "labels": sheet.labels,
        "age_range_years": sheet.age_range_years,
        "reference": sheet.reference,
        "extra": sheet.extra,
    }


def _state(sheet: Network) -> str:
    from featx.networks.download import bundled_path, find_cached

    if sheet.weightless:
        return "none needed"
    if sheet.weights is None:
        return "added" if sheet.name in added() else "none published"
    if bundled_path(sheet.weights):
        return "bundled"
    return "fetched" if find_cached(sheet.weights, cache_dir()) else "not fetched"


# --- show -----------------------------------------------------------------------------------------------------


@app.command("show")
def show_network(
    name: str = typer.Argument(help="A name that `featx networks list` prints, or a pattern such as timm:NAME."),
    modules: bool = typer.Option(False, "--modules", help="List every module that can be a tap, too; needs torch."),
    recipe: Path | None = typer.Option(None, help="The TOML recipe of a network of your own (python:)."),
) -> None:
    """Show all that is known of one network: the image it wants, views, taps, weights and licence, an example.

    \b
    Example:
    featx networks show sfcn.ukb_age
    """
    from featx.networks import get_network
    from featx.networks.described import read_recipe

    sheet = get_network(resolved([name])[0], read_recipe(recipe) if recipe else None)
    for line in card(sheet, name, cache_dir()):
        say(line)
    if modules:
        _say_modules(sheet)


def _say_modules(sheet: Network) -> None:
    from featx.errors import DependencyError

    try:
        from featx.networks.weights import build
    except ImportError as error:
        raise DependencyError(
            f"--modules needs torch; {error.name} is not there; run pip install 'featx[torch]'"
        ) from error
    for path, module in build(sheet).named_modules():
        if path:
            say(f"  {path}  {type(module).__name__}")


# --- fetch ----------------------------------------------------------------------------------------------------


@app.command("fetch")
def fetch_weights(
    name: list[str] = typer.Argument(help="Names, or wildcards such as 'sfcn*'."),
    to: Path | None = typer.Option(
        None, help="Another folder than the cache: for a cluster without internet, which then sets FEATX_HOME to it."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be downloaded, and stop."),
) -> None:
    """Download official weights, verify them against their digest, convert them where their form asks for it.

    What is there already is verified again. A failed download costs only itself: the exit code is 3 (2 where all
    failed). On a machine without a network, copy the folder there and set FEATX_HOME to it. Where torch is, features
    of a golden image are noted beside the weights, so that `featx doctor` can hold another machine to them.

    \b
    Example:
    featx networks fetch 'sfcn.*' resnet18.imagenet --to weights/
    FEATX_HOME=weights/ featx extract images.csv --network sfcn.ukb_age -o features.h5
    """
    from featx.errors import WeightsError

    folder = to or cache_dir()
    wanted = _with_weights(_asked(name))
    if dry_run or not wanted:
        _say_downloads(wanted, folder)
        return
    failed: list[tuple[str, WeightsError]] = []
    for sheet, weights in wanted:
        try:
            _fetch(sheet, weights, folder)
        except WeightsError as error:
            failed.append((sheet.name, error))
            say(f"{sheet.name}: FAILED")
    if to and len(failed) < len(wanted):
        say(f"where there is no network: copy {folder} there and set FEATX_HOME to it")
    if len(failed) == len(wanted) == 1:
        raise failed[0][1]
    if failed:
        say(f"{len(failed)} of {len(wanted)} could not be fetched:")
        for failed_name, reason in failed:
            say(f"  {failed_name}: {reason}")
    if len(failed) == len(wanted):
        raise WeightsError(f"of several networks one at least must be fetched; none could be; first: {failed[0][1]}")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _asked(names: Sequence[str]) -> list[Network]:
    from featx.networks import NETWORKS, get_network

    found: list[Network] = []
    for name in resolved(names):
        wild = any(sign in name for sign in _WILD) and name not in NETWORKS
        found += _picked(NETWORKS.values(), name, "") if wild else [get_network(name)]
    return list({sheet.name: sheet for sheet in found}.values())


def _with_weights(sheets: Sequence[Network]) -> list[tuple[Network, Weights]]:
    from featx.errors import WeightsError

    for sheet in sheets:
        if sheet.weightless:
            say(f"{sheet.name} has no weights: it runs as it is")
    sheets = [sheet for sheet in sheets if not sheet.weightless]
    without = [sheet.name for sheet in sheets if sheet.weights is None]
    if without and len(without) == len(sheets):
        raise WeightsError(
            f"weights must be published to be fetched; featx knows of none for {', '.join(without)}; ask for "
            f"{without[0]}@random:SEED, or give --weights {without[0]}=FILE"
        )
    if without:
        say(f"featx knows of no published weights of {', '.join(without)}: left out")
    return [(sheet, sheet.weights) for sheet in sheets if sheet.weights is not None]


def _say_downloads(wanted: Sequence[tuple[Network, Weights]], folder: Path) -> None:
    from featx.networks.download import find_cached

    missing: dict[str, int] = {}
    for sheet, weights in wanted:
        there = find_cached(weights, folder)
        say(f"{sheet.name}: {size_of(sheet, folder)}, {f'there: {there}' if there else weights.url}")
        if not there:
            missing[weights.file] = n_bytes_of(sheet, folder)
    say(f"{len(missing)} files to download into {folder}, about {in_mb(sum(missing.values()))}")


def _fetch(sheet: Network, weights: Weights, folder: Path) -> None:
    from featx.networks.download import converted_path, fetch, find_cached

    with progress(sheet.name, "MB") as update:
        converted = converted_path(weights, folder)
        if converted is None or not _convert(sheet, weights, folder, _in_mb(update)):
            fetch(weights, folder, sheet.name, _in_mb(update))
    at = find_cached(weights, folder)
    told = "verified" if weights.digest else "downloaded (no digest is published to verify it by)"
    say(f"{sheet.name}: {told}, {at}")
    if converted is not None and at != converted:
        say(f"{sheet.name}: its tensors will be converted on a machine that has torch, when it is first used")
    _note_golden(sheet, folder)


def _note_golden(sheet: Network, folder: Path) -> None:
    """Note what these weights give here of the golden image, so that `featx doctor` can hold other machines to it.

    That it cannot be noted costs the weights nothing; that they do not fit their network is a failure of theirs.
    """
    from featx.errors import FeatxError, WeightsError, first_line

    if not _has_torch():
        return
    from featx.extraction import golden

    try:
        golden.note(sheet, folder)
    except WeightsError:
        raise
    except (FeatxError, ImportError, OSError, RuntimeError, MemoryError) as error:
        say(f"{sheet.name}: no golden features could be noted for `featx doctor` ({first_line(error)})")
        return
    say(f"{sheet.name}: golden features noted for `featx doctor`")


def _has_torch() -> bool:
    """Whether what the extra torch brings is there; a laptop fetches without it, or with a torch that came alone."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ImportError:
        return False
    return True


def _convert(sheet: Network, weights: Weights, folder: Path, on_progress: Progress) -> bool:
    """Fetch and convert; False where there is no torch to convert with."""
    if not _has_torch():
        return False
    from featx.networks.checkpoint import read_official

    read_official(sheet, weights, folder, on_progress)
    return True


def _in_mb(update: Any) -> Progress:
    """Progress in whole MB."""

    def told(done: int, total: int) -> None:
        update(done // 10**6 if done < total else -(-total // 10**6), -(-total // 10**6), "")

    return told


# --- add, remove ------------------------------------------------------------------------------------------------


@app.command("add")
def add_network(
    file: Path = typer.Argument(help="A checkpoint that featx wrote, such as `featx train` and `featx pretrain` do."),
    name: str = typer.Option("", help="Under which name, instead of the one that the checkpoint says."),
    replace_it: bool = typer.Option(False, "--replace", help="In the place of one that was added under that name."),
) -> None:
    """Give a trained network a name of its own: it is copied beside the weights, and works wherever one is named.

    \b
    Example:
    featx networks add pretrained/network.safetensors --name sfcn.our_ages
    featx extract images.csv --network sfcn.our_ages -o features.h5
    """
    path = add(file, name, replace=replace_it)
    say(f"{path.stem}: added, {path}")


@app.command("remove")
def remove_network(name: str = typer.Argument(help="A name that `featx networks add` gave.")) -> None:
    """Delete a network that was added, and nothing else.

    \b
    Example:
    featx networks remove sfcn.our_ages
    """
    say(f"{name}: removed, {remove(name)}")
