"""What the options say becomes a request (`featx.api.asking`), with the folder that the command line uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.analysis.request import Request
from featx.api import asking
from featx.api.asking import Asked
from featx.api.words import loss_weights as loss_weights
from featx.api.words import pairs as pairs
from featx.errors import AnalysisError
from featx.featureset import FeatureSet
from featx_cli.console import cache_dir


def make_request(wish: Asked, files: Sequence[Path], **more: Any) -> Request:
    """Read what is asked for, and put it together.

    Parameters
    ----------
    wish : Asked
    files : sequence of Path
        Feature files, then the phenotype table.
    more
        Further fields of `featx.analysis.request.Request`.
    """
    *features, people = files
    if len(files) < (1 if wish.table else 2):
        raise AnalysisError(
            "features must come first and a phenotype table last (or --table NAME=FILE and a phenotype table); got "
            "only one file; write, say, featx fit features.h5 participants.tsv --target age"
        )
    return asking.make_request(wish, features, people, home=cache_dir(), **more)


def request_of(
    wish: Asked,
    people: Path,
    sets: Mapping[str, FeatureSet],
    combinations: Mapping[str, Sequence[str]],
    **more: Any,
) -> Request:
    """Put together what is asked about feature sets that are there, and the phenotype table.

    Parameters
    ----------
    wish, people, sets, combinations, more
        As in `featx.api.asking.request_of`.
    """
    return asking.request_of(wish, people, sets, combinations, home=cache_dir(), **more)
