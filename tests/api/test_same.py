"""The functions of featx ask for what the verbs ask for, by the same names, with the same defaults."""

import inspect
import subprocess
import sys

import pytest

import featx
from featx_cli import check, compare, curve, extract, fit, index, predict, pretrain, relevance, report, run, train

VERBS = {
    "index": index, "check": check, "extract": extract, "fit": fit, "curve": curve, "predict": predict,
    "train": train, "pretrain": pretrain, "compare": compare, "write_report": report, "map_relevance": relevance,
    "run_study": run,
}  # fmt: skip
ARGUMENTS = {
    "fit": {"features"},
    "curve": {"features"},
    "train": {"people"},
    "pretrain": {"people"},
}  # see `phenotypes`
# Options of verbs that functions do not have, and why.
WITHOUT = {
    "dry_run": "a plan is printed; Python has the pieces of it",
    "context": "it is typer's own",
    "backend": "joblib.parallel_config says it to whatever joblib runs",
    "scheduler": "a cluster is the command line's to start and to watch",
    "scheduler_file": "likewise",
    "gpus": "likewise",
}
# Arguments of functions that verbs do not have, and why.
BESIDE = {
    "phenotypes": "the last of the files of a verb",
    "home": "the command line takes it from the environment",
    "on_line": "the command line is what says it",
    "on_progress": "the command line draws bars", "on_download": "likewise", "on_decoded": "likewise",
    "on_note": "the command line prints it",
}  # fmt: skip
NOT_WRITTEN = {"index", "check", "fit", "curve", "predict", "compare"}  # without an output, which a verb must have


def _plain(default):
    default = getattr(default, "default", default)  # of typer.Option(...)
    if default in (None, ...) or default is inspect.Parameter.empty:
        return None
    return list(default) if isinstance(default, list | tuple) else str(default)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_an_argument_of_its_function_and_the_other_way_round(verb):
    options = set(inspect.signature(VERBS[verb].command).parameters) - ARGUMENTS.get(verb, set())
    arguments = set(inspect.signature(getattr(featx, verb)).parameters) - {"features"}
    assert options - arguments - {"features"} <= set(WITHOUT)
    assert arguments - options <= set(BESIDE)


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_those_of_the_verb(verb):
    options = inspect.signature(VERBS[verb].command).parameters
    arguments = inspect.signature(getattr(featx, verb)).parameters
    for name in set(options) & set(arguments):
        wanted, got = _plain(options[name].default), arguments[name].default
        if name == "output" and verb in NOT_WRITTEN:
            assert got is None
        elif got is not inspect.Parameter.empty:  # what must be given
            assert _plain(got) == wanted or (wanted, _plain(got)) in ((None, ""), (None, [])), name


def test_every_name_of_featx_is_there_and_none_is_a_part_of_the_package():
    from pathlib import Path

    parts = {path.stem for path in Path(featx.__file__).parent.iterdir()}
    for name in featx.__all__:
        assert getattr(featx, name).__doc__
        assert name in dir(featx)
        assert name not in parts


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'featx' has no attribute 'extrakt'"):
        featx.extrakt  # noqa: B018


def test_functions_are_loaded_when_they_are_asked_for():
    script = (
        "import sys, featx\n"
        "before = [m for m in ('numpy', 'pandas', 'sklearn', 'torch', 'featx.api') if m in sys.modules]\n"
        "featx.fit; print(before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[] False", done.stderr
