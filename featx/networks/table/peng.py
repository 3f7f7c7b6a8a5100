"""SFCN with the weights of Peng et al. 2021, and the narrow variant, of which none are published."""

from __future__ import annotations

from featx.networks import recipes
from featx.networks.sheet import VOLUME, Network, Tap, Weights

_FROM = "https://raw.githubusercontent.com/ha-ha-ha-han/UKBiobank_deep_pretrain/master/"
AGES = (42.0, 82.0)  # first and last edge of the age bins, in years


def _sfcn(
    tag: str,
    channels: tuple[int, ...],
    ages: tuple[float, ...],
    training: str,
    *,
    n_outputs: int,
    n_parameters: int,
    weights: Weights | None = None,
) -> Network:
    taps = {f"block{at}": Tap(f"feature_extractor.conv_{at}", width) for at, width in enumerate(channels)}
    taps["features"] = Tap("classifier.average_pool", channels[-1], positions=False)
    taps["logits"] = Tap(f"classifier.conv_{len(channels)}", n_outputs, positions=False)
    taps["prediction"] = Tap("decode", 1, positions=False)
    return Network(
        name=f"sfcn.{tag}",
        family="SFCN",
        architecture="featx.networks.architectures.sfcn:SFCN",
        arguments={"channels": channels, "n_outputs": n_outputs, "ages": ages},
        takes=VOLUME,
        recipe=recipes.SFCN,
        weights=weights,
        taps=taps,
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training=training,
        age_range_years=AGES if weights else None,
        reference="Peng et al. 2021, Medical Image Analysis 68:101871",
        n_parameters=n_parameters,
        labels=(tag.removeprefix("ukb_"),) if weights else (),
    )


SHEETS = (
    _sfcn(
        "ukb_age",
        (32, 64, 128, 256, 256, 64),
        AGES,
        "12,949 UK Biobank brains, to predict age in 40 one-year bins; prediction is the age in years",
        n_outputs=40,
        n_parameters=2_952_936,
        weights=Weights(
            url=f"{_FROM}brain_age/run_20190719_00_epoch_best_mae.p",
            file="sfcn_ukb_age_run_20190719_00_epoch_best_mae.p",
            digest="git-blob-sha1:3631938002f789a842469132155380fa36de7d4d",
            licence="MIT",
        ),
    ),
    _sfcn(
        "ukb_sex",
        (28, 58, 128, 256, 256, 64),
        (),
        "12,949 UK Biobank brains, to predict sex; prediction is the probability of male",
        n_outputs=2,
        n_parameters=2_918_144,
        weights=Weights(
            url=f"{_FROM}sex_prediction/run_20191008_00_epoch_last.p",
            file="sfcn_ukb_sex_run_20191008_00_epoch_last.p",
            digest="git-blob-sha1:ac0d602bb7d56d8fc3e05fb00414c0905bcc1ffb",
            licence="MIT",
        ),
    ),
    _sfcn(
        "narrow",
        (32, 64, 64, 64, 64, 64),
        AGES,
        "nothing: weights of it are not published; its 40 bins are those of sfcn.ukb_age",
        n_outputs=40,
        n_parameters=395_688,
    ),
)
