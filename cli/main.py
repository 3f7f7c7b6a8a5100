"""The command `featx`: its verbs, its exit codes, and the one place where errors become sentences on the screen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

import featx
from featx.errors import FeatxError
from featx_cli import (
    check,
    collect,
    compare,
    curve,
    demo,
    doctor,
    extract,
    fit,
    heads,
    index,
    init,
    networks,
    plan,
    predict,
    prepare,
    pretrain,
    qc,
    relevance,
    report,
    status,
    train,
)
from featx_cli import run as run_study
from featx_cli.console import INTERRUPTED, SOME_FAILED, keep_call, typed

HELP = """Features of frozen pretrained networks from brain MRI, and honest cross-validated heads for any phenotype.

The main job, from images to a report:

\b
    featx index BRAINS/ -o images.csv
    featx check images.csv --network squeezenet1_0.imagenet
    featx extract images.csv --network squeezenet1_0.imagenet -o features.h5
    featx fit features.h5 participants.tsv --target age --target sex -o run/
    featx report run/

`extract` is for the box with the GPU (it needs featx[torch] and runs on a CPU as well); all else is for a laptop
without torch.

`featx init` writes one file that says all of it, and `featx run study.toml` does what it says; `featx demo` does all
of it on made brains.

\b
Exit codes:
    0    done
    3    done, but some images or phenotypes could not be: a table says which and why
    2    the call or its input was refused, with a sentence that says what to do
    130  interrupted; run again to go on
    1    a fault of featx
"""

# Verbs whose outputs tell the call that made them; where an output is added to, the calls before it stay.
ADDING = ("prepare", "qc", "extract", "relevance")
KEPT = (*ADDING, "index", "check", "fit", "train", "pretrain", "curve", "predict", "compare")


class Kept(TyperCommand):
    """A verb that writes its call beside its output once it is done: one that is refused or interrupted has none."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            done = super().invoke(ctx)
        except typer.Exit as end:
            if end.exit_code == SOME_FAILED:
                _keep(ctx)
            raise
        _keep(ctx)
        return done


def _keep(context: Any) -> None:
    given: Mapping[str, Any] = context.params
    if not given.get("dry_run"):
        # Of a job array that is the call for all images, whichever job wrote it last.
        call = typed(context, without=("shard",))
        keep_call(call, Path(given["output"]), adds=context.info_name in ADDING)


app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
VERBS = (
    *(init, run_study, index, prepare, check, qc, plan, extract, status, collect),
    *(fit, train, pretrain, curve, predict, compare, relevance, report, heads, doctor, demo),
)
for verb in VERBS:
    name = verb.__name__.rsplit(".", 1)[-1]
    app.command(name, cls=Kept if name in KEPT else TyperCommand)(verb.command)
app.add_typer(networks.app, name="networks")


def _version(asked: bool) -> None:
    if asked:
        print(f"featx {featx.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


_main.__doc__ = HELP


def run() -> None:
    """Entry point of the console script."""
    try:
        app(prog_name="featx")
    except FeatxError as error:
        print(f"featx: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:  # typer makes the second one of the first one
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("featx: interrupted; what was finished is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:  # a disk, a permission, a folder where a file should be
        print(f"featx: a file must be readable or writable; {error}; mend that and run again", file=sys.stderr)
        sys.exit(2)
