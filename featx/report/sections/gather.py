"""All further parts of a run's page, in the order in which they stand there."""

from __future__ import annotations

from featx.analysis.runs.rundir import Run
from featx.report.blocks import Extras, Section
from featx.report.panels import Scored
from featx.report.sections import growth, layers, people, relevance, residuals, spaces


def sections_of_run(run: Run, extras: Extras) -> list[Section]:
    """What concerns all targets: learning curves, losses of networks, maps of features, relevance maps.

    Raises
    ------
    AnalysisError, StoreError
        A file or folder of `extras` is not what it must be.
    """
    found = [
        growth.learning_section(run, extras.curves),
        growth.losses_section(run),
        spaces.section_of(run, extras),
        relevance.section_of(extras),
    ]
    return [one for one in found if one is not None]


def sections_of_target(run: Run, scored: Scored, extras: Extras) -> list[Section]:
    """What concerns one target: errors by age and site, layers and axes, the images that are predicted worst.

    Raises
    ------
    AnalysisError
        A folder of `extras` is not what it must be.
    """
    found = [
        residuals.section_of(run, scored, extras),
        layers.section_of(run, scored),
        None if extras.is_private else people.section_of(run, scored, extras.qc),
    ]
    return [one for one in found if one is not None]
