"""SFCN with the weights of Peng et al. 2021."""

from __future__ import annotations

from featx.networks import recipes
from featx.networks.sheet import VOLUME, Network, Tap, Weights

_FROM = "https://raw.githubusercontent.com/ha-ha-ha-han/UKBiobank_deep_pretrain/master/"


def _sfcn(tag: str, channels: tuple[int, ...], outputs: int, weights: Weights, label: str) -> Network:
    taps = {f"block{at}": Tap(f"feature_extractor.conv_{at}", width) for at, width in enumerate(channels)}
    taps["features"] = Tap("classifier.average_pool", channels[-1], positions=False)
    taps["logits"] = Tap(f"classifier.conv_{len(channels)}", outputs, positions=False)
    return Network(
        name=f"sfcn.{tag}",
        family="SFCN",
        architecture="featx.networks.architectures.sfcn:SFCN",
        arguments={"channels": channels, "n_outputs": outputs},
        takes=VOLUME,
        recipe=recipes.SFCN,
        weights=weights,
        taps=taps,
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training=f"12,949 UK Biobank brains, to predict {label}",
        age_range_years=(42.0, 82.0),  # the span of its age bins
        reference="Peng et al. 2021, Medical Image Analysis 68:101871",
    )


SHEETS = (
    _sfcn(
        "ukb_age",
        (32, 64, 128, 256, 256, 64),
        40,
        Weights(
            url=f"{_FROM}brain_age/run_20190719_00_epoch_best_mae.p",
            file="sfcn_ukb_age_run_20190719_00_epoch_best_mae.p",
            digest="git-blob-sha1:3631938002f789a842469132155380fa36de7d4d",
            licence="MIT",
        ),
        "age in 40 one-year bins",
    ),
    _sfcn(
        "ukb_sex",
        (28, 58, 128, 256, 256, 64),
        2,
        Weights(
            url=f"{_FROM}sex_prediction/run_20191008_00_epoch_last.p",
            file="sfcn_ukb_sex_run_20191008_00_epoch_last.p",
            digest="git-blob-sha1:ac0d602bb7d56d8fc3e05fb00414c0905bcc1ffb",
            licence="MIT",
        ),
        "sex",
    ),
)
