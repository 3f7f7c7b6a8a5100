"""The SFCNs of Leonardsen et al.: four heads of 2022, and the multi-task network of 2025."""

from __future__ import annotations

from featx.networks import recipes
from featx.networks.sheet import VOLUME, Network, Tap, Weights

CHANNELS = (32, 64, 128, 256, 256, 64)
AGES = (3, 95)  # youngest and oldest that the heads of 2022 predict
_ARCHITECTURES = "featx.networks.architectures.leonardsen"
_TRAINING = "34,285 brains of many data sets, UK Biobank among them, to predict age; prediction is the age in years"
_UNTRAINED = "nothing: weights of it are not published; prediction is the probability of the second class"
_TASKS = ("age", "sex", "handedness", "bmi", "fluid_intelligence", "neuroticism")

_TAPS = {f"block{at}": Tap(f"feature_extractor.conv_{at}", width) for at, width in enumerate(CHANNELS)} | {
    "features": Tap("pool", CHANNELS[-1], positions=False)
}


def _head(head: str, n_outputs: int, n_parameters: int, sha1: str = "") -> Network:
    """One of 2022; with official weights where their git blob is given."""
    weights = Weights(
        url=f"https://api.github.com/repos/estenhl/pyment-public/git/blobs/{sha1}",
        file=f"leonardsen2022_sfcn_{head}.h5",
        digest=f"git-blob-sha1:{sha1}",
        licence="CC-BY-NC",
    )
    return Network(
        name=f"sfcn_{head}.leonardsen2022",
        family="SFCN",
        architecture=f"{_ARCHITECTURES}:LeonardsenSFCN",
        arguments={"channels": CHANNELS, "head": head, "ages": AGES},
        takes=VOLUME,
        recipe=recipes.LEONARDSEN_2022,
        weights=weights if sha1 else None,
        taps=_TAPS
        | {
            "logits": Tap("predictions", n_outputs, positions=False),
            "prediction": Tap("decode", 1, positions=False),
        },
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training=_TRAINING if sha1 else _UNTRAINED,
        age_range_years=(float(AGES[0]), float(AGES[1])) if sha1 else None,
        reference="Leonardsen et al. 2022, NeuroImage 256:119210",
        n_parameters=n_parameters,
        reads=f"{_ARCHITECTURES}:read_weights",
        labels=("age",) if sha1 else (),
    )


SHEETS = (
    _head("reg", 1, 2_950_401, "f87a66558433308bb8a5ecfb6aaa784811c5cd45"),
    _head("sm", 93, 2_956_381, "7b4f7bf4c989b80877b0bc0efe8b5125157788b5"),
    _head("rank", 91, 2_956_251, "5d1bc5fc66327eb905acf81d9956f0391277b078"),
    _head("bin", 1, 2_950_401),
    Network(
        name="sfcn_multi.leonardsen2025",
        family="SFCN",
        architecture=f"{_ARCHITECTURES}:MultiTaskSFCN",
        arguments={"channels": CHANNELS},
        takes=VOLUME,
        recipe=recipes.LEONARDSEN_2025,
        weights=None,
        taps=_TAPS | {task: Tap(f"heads.{task}", 1, positions=False) for task in _TASKS},
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training="nothing, until a file of weights is given; sex and handedness are read as probabilities",
        age_range_years=None,
        reference="Leonardsen et al. 2025, medRxiv 2025.12.19.25342659",
        n_parameters=2_950_726,
        reads=f"{_ARCHITECTURES}:read_weights",
    ),
)
