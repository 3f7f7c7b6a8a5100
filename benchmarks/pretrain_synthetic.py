"""The network that featx brings along, pretrained on made brains, from nothing to its file: one command.

    python benchmarks/pretrain_synthetic.py COHORT [--people 2000] [--epochs 24] [--jobs 2] [-o FOLDER]

Makes the cohort where it is not there (the population `varied` of featx.images.synthetic: everybody has a scanner of
their own; half are of the template's size), trains sfcn_4mm.untrained from scratch for age (soft bins) and sex with
`featx pretrain`, and writes to FOLDER the three files of sfcn_4mm.synthetic: the weights, the sheet that the table
reads, and the card. Without -o they go into the package, and the golden features of `featx doctor` are noted anew;
with it the package stays as it is. Killed while it trains, the same command goes on. The same numbers of people,
epochs and seed give the same network on the same machine; on another one rounding differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from featx.extraction import golden
from featx.images.synthetic import make_cohort
from featx.networks import NETWORKS, get_network
from featx.networks.checkpoint import write_checkpoint
from featx.networks.described import facts_of
from featx.networks.download import PACKAGE
from featx.networks.sheet import Network, Weights
from featx.networks.table.synthetic import BUNDLED, NAME, UNTRAINED
from featx.networks.weights import load_network
from featx.training.card import card
from featx_cli.console import SOME_FAILED
from featx_cli.main import app

POPULATION = "varied"
LEARNS = {
    "optimiser": "adamw",
    "learning_rate": 0.002,
    "weight_decay": 0.001,
    "step_factor": 0.3,
    "batch_size": 8,
    "dropout": 0,
    "augmentation.shift_voxels": 2,
    "augmentation.mirror": "true",
    "augmentation.bias": 0.1,
}


def main() -> None:
    """Make, pretrain, bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="folder of the made brains")
    parser.add_argument("-o", "--output", type=Path, default=BUNDLED)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1000, help="of the people, and of the training")
    parser.add_argument("--jobs", type=int, default=2, help="processes that make brains")
    wish = parser.parse_args()
    start = time.monotonic()
    make_people(wish)
    trained = pretrain(wish)
    bundle(wish, trained)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")


def make_people(wish: argparse.Namespace) -> None:
    """The cohort, where it is not there."""
    table = wish.cohort / "participants.tsv"
    if not table.is_file():  # it is written last
        make_cohort(
            wish.cohort,
            wish.people,
            random_state=wish.seed,
            population=POPULATION,
            n_jobs=wish.jobs,
            progress=lambda done, n: done % 100 or print(f"{done} of {n} brains", flush=True),
        )
    n = len(table.read_text(encoding="utf-8").splitlines()) - 1
    if n != wish.people:
        raise SystemExit(f"{wish.cohort} must hold {wish.people} people; it holds {n}; name another folder")


def pretrain(wish: argparse.Namespace) -> Path:
    """The checkpoint of `featx pretrain`; what it needs lies beside the cohort."""
    beside = wish.cohort.with_name(f"{wish.cohort.name}.training")
    beside.mkdir(exist_ok=True)
    trained = beside / f"{NAME}.safetensors"
    images = beside / "images.csv"
    numbers = {**LEARNS, "epochs": wish.epochs, "step_epochs": max(1, wish.epochs // 3)}
    for words in (
        ["index", wish.cohort, "-o", images],
        ["pretrain", images, wish.cohort / "participants.tsv", "--target", "age", "--target", "sex"]
        + ["--network", UNTRAINED.name, "--name", NAME, "--recipe", "sfcn-scratch", "--seed", wish.seed]
        + ["--accept", "not-registered"]  # a part of a brain overlaps the template's by a part
        + [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]
        + ["--output", trained, "--replace"],
    ):
        code = app([str(word) for word in words], prog_name="featx", standalone_mode=False)
        if code not in (None, 0, SOME_FAILED):  # what failed is told, and left out
            raise SystemExit(code)
    return trained


def bundle(wish: argparse.Namespace, trained: Path) -> None:
    """The three files, and where they are the package's the golden features."""
    wish.output.mkdir(parents=True, exist_ok=True)
    facts = json.loads(trained.with_suffix(".json").read_text(encoding="utf-8"))
    command = f"benchmarks/pretrain_synthetic.py --people {wish.people} --epochs {wish.epochs} --seed {wish.seed}"
    sheet = replace(
        get_network(f"file:{trained}"),
        name=NAME,
        family=UNTRAINED.family,
        training=f"{facts['n_train']:,} made brains of featx ({facts['n_validation']:,} more chose the epoch), "
        f"of the population {POPULATION}, to predict age and sex: nobody was scanned; {command}",
        reference=UNTRAINED.reference,
        weights=None,
    )
    network = load_network(sheet, str(trained), BUNDLED).network
    weights = wish.output / f"{NAME}.safetensors"
    write_checkpoint(weights, network, sheet, note=sheet.training)
    sheet = replace(sheet, weights=_weights_of(weights))
    told = json.dumps(facts_of(sheet), indent=1, sort_keys=True)
    (wish.output / f"{NAME}.json").write_text(told + "\n", encoding="utf-8")
    (wish.output / f"{NAME}.md").write_text(_card(sheet, facts, command), encoding="utf-8")
    print(f"{weights}: {weights.stat().st_size:,} bytes")
    if wish.output.resolve() == BUNDLED.resolve():
        _note_golden(sheet)


def _weights_of(path: Path) -> Weights:
    content = path.read_bytes()
    return Weights(
        url=f"{PACKAGE}{path.name}",
        file=path.name,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        licence="BSD-3-Clause",
        size_bytes=len(content),
    )


def _card(sheet: Network, facts: dict, command: str) -> str:
    again = (
        "\n## Made by\n\n"
        f"    python {command} COHORT\n\n"
        "Every brain is the MNI152 template under a random anatomy and a random scanner (`featx.images.synthetic`):\n"
        "what age and sex do to it is what featx put in, ventricles, cortex and the size of the head, and nothing\n"
        f"else. What it says of real people is to be measured, never assumed. torch {torch.__version__}.\n"
    )
    return card(sheet, {**facts, "file": f"featx/networks/bundled/{NAME}.safetensors"}) + again


def _note_golden(sheet: Network) -> None:
    """golden.json of all networks of the table, with this one in the place of its last version."""
    known, table = golden.known_features(), {**NETWORKS, sheet.name: sheet}
    wanted = {golden.skeleton(one): one for one in table.values()}
    features = {
        key: known[key] if key in known else golden.check_architecture(one, "cpu").features
        for key, one in wanted.items()
    }
    path = Path(golden.__file__).with_name("golden.json")
    path.write_text(json.dumps(features, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
