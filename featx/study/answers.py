"""What runs say, in one sentence a phenotype, as their pages say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featx.analysis.runs.rundir import read_run
from featx.report.answers import answer, score_table


def answers_of(runs: Sequence[Path]) -> list[str]:
    """The headline of each phenotype of each run, with the arm that it is of.

    Parameters
    ----------
    runs : sequence of Path
        Folders of `featx fit` or `featx train`.
    """
    said = []
    for path in runs:
        run = read_run(path)
        for facts in run.facts["targets"]:
            scores = run.scores[run.scores["target"] == facts["name"]]
            compared = run.comparisons[run.comparisons["target"] == facts["name"]]
            found = answer(facts, score_table(scores, facts.get("unit", "")), scores, compared)
            arm = found.detail.partition(":")[0]
            said.append(f"{found.target} ({path.name}{f', {arm}' if arm else ''}): {found.headline}")
    return said
