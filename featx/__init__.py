"""featx: features of frozen pretrained networks from brain MRI, and honest heads for any phenotype.

::

    import featx
    images = featx.index("BRAINS/")
    featx.extract(images, "squeezenet1_0.imagenet", output="features.h5")
    run = featx.fit("features.h5", "participants.tsv", target=["age", "sex"])
    run.scores

Each verb of the command line is a function here, with its names, defaults, checks and sentences (`featx.api`), and
`FeatureExtractor` is a transformer of scikit-learn. They are loaded when they are asked for, so that ``import featx``
is light. Below::

    errors, schema                   the exceptions; the name of every stored thing
    featureset                       a feature set as a value
    store                            feature files (HDF5): the wall between GPU box and laptop
    images/    index volume check synthetic
    networks/  (table) recipe weights, one architecture per file
    extraction/ plan loader engine   images through networks into the feature file (torch)
    analysis/  cohort/ folds/ adjust/ heads/ inference/ runs/   features to scores (never torch)
    report/    figures page          one HTML page per run
    training/  relevance/            networks that train; what a head looks at
    study/     api/                  one file to a whole study; the functions of `featx`

A module imports only from lower floors: errors, schema < featureset < store, images < networks, analysis <
extraction, report < training < relevance < study < api < the command line (`featx_cli`). Nothing on the analysis
side imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.api.extracting import extract as extract
    from featx.api.extractor import FeatureExtractor as FeatureExtractor
    from featx.api.finding import check as check
    from featx.api.finding import index as index
    from featx.api.fitting import curve as curve
    from featx.api.fitting import fit as fit
    from featx.api.predicting import predict as predict
    from featx.api.pretraining import pretrain as pretrain
    from featx.api.reading import list_heads as list_heads
    from featx.api.reading import list_networks as list_networks
    from featx.api.reading import read_features as read_features
    from featx.api.reading import read_head as read_head
    from featx.api.reading import read_run as read_run
    from featx.api.showing import compare as compare
    from featx.api.showing import map_relevance as map_relevance
    from featx.api.showing import run_study as run_study
    from featx.api.showing import write_report as write_report
    from featx.api.training import train as train

__version__ = "0.1.0"

# Where each name is; none is that of a part of the package (featx.report, featx.networks, featx.training).
_IN = {
    "extracting": ("extract",),
    "extractor": ("FeatureExtractor",),
    "finding": ("check", "index"),
    "fitting": ("curve", "fit"),
    "predicting": ("predict",),
    "pretraining": ("pretrain",),
    "reading": ("list_heads", "list_networks", "read_features", "read_head", "read_run"),
    "showing": ("compare", "map_relevance", "run_study", "write_report"),
    "training": ("train",),
}
_MODULES = {name: f"featx.api.{module}" for module, names in _IN.items() for name in names}
__all__ = sorted([*_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
