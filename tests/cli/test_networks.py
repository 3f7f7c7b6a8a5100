"""featx networks: list, show, and fetch against a server on 127.0.0.1."""

import json
import re
import sys
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

import featx.networks
from featx.errors import DependencyError
from featx.extraction import golden
from featx.networks import NETWORKS, get_network
from featx.networks.checkpoint import write_checkpoint
from featx.networks.described import EXAMPLE
from featx.networks.download import has_digest
from featx.networks.weights import build, load_network
from featx_cli.console import cache_dir
from featx_cli.networkcard import input_of
from tests.serving import Page, blob_json, blob_sha1, serve, tiny_sheet, tiny_state, weights_of


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def table(monkeypatch, tmp_path, server, home):
    """A table of tiny networks: plain.a and plain.b of one .pth, pickled.c of a .p behind the blob API, none.d."""
    torch.save(tiny_state(), tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    server.pages["/w.pth"] = Page(content)
    blob = f"/repos/x/y/git/blobs/{blob_sha1(content)}"
    server.pages[blob] = Page(blob_json(content))
    plain = weights_of(content, f"{server.url}/w.pth", "w.pth")
    packed = replace(plain, url=server.url + blob, file="c.p", digest=f"git-blob-sha1:{blob_sha1(content)}")
    sheets = {
        "plain.a": tiny_sheet(plain, name="plain.a"),
        "plain.b": tiny_sheet(plain, name="plain.b"),
        "pickled.c": tiny_sheet(packed, name="pickled.c"),
        "none.d": tiny_sheet(name="none.d"),
    }
    monkeypatch.setattr(featx.networks, "NETWORKS", MappingProxyType(sheets))
    return sheets


# --- list -----------------------------------------------------------------------------------------------------


def test_all_names_are_listed_by_family(featx, home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    said = featx("networks", "list")
    head, _, foot = said.partition(f"{len(NETWORKS)} networks")
    assert set(NETWORKS) | {sheet.family for sheet in NETWORKS.values()} <= {
        re.sub(r" \(\d+\)$|\*$", "", word) for line in head.splitlines() for word in re.split(" {2,}", line.strip())
    }
    assert max(map(len, head.splitlines())) <= 100
    assert len(head.splitlines()) < 90
    for wanted in ("featx networks list 'resnet*'", "featx networks show NAME", "timm:NAME"):
        assert wanted in foot


@pytest.mark.parametrize(
    "words, names",
    [
        (("squeezenet1_0",), {"squeezenet1_0.imagenet"}),
        (("SFCN.*",), {"sfcn.ukb_age", "sfcn.ukb_sex", "sfcn.narrow"}),
        (("[rm]3d_18.*",), {"r3d_18.kinetics400"}),
        (("ukb", "--family", "sfcn"), {"sfcn.ukb_age", "sfcn.ukb_sex"}),
    ],
)
def test_a_pattern_picks(featx, home, words, names):
    said = featx("networks", "list", *words)
    rows = [line.split()[0] for line in said.splitlines() if line.startswith("  ") and "parameters" not in line]
    assert set(rows) == names
    assert {one["name"] for one in json.loads(featx("networks", "list", *words, "--json"))} == names


def test_a_family_is_listed_as_a_table(featx, home):
    lines = featx("networks", "list", "--family", "SFCN").splitlines()
    assert lines[0] == "SFCN"
    assert lines[1].split() == ["network", "parameters", "wants", "taps", "weights", "licence", "cache"]
    row = next(line for line in lines if "sfcn.ukb_age" in line)
    assert re.fullmatch(
        r"  sfcn.ukb_age +3.0 M  MNI152 1 mm \(FSL\), 160x192x160 +\d+ +11.\d MB  MIT +not fetched", row
    )
    narrow = next(line for line in lines if "sfcn.narrow" in line)
    assert re.search(r" -  - +none published$", narrow)
    assert lines[1].index("wants") == row.index("MNI152") == narrow.index("MNI152")
    assert lines[1].index("cache") == row.index("not fetched") == narrow.index("none published")


def test_the_whole_table_as_json(featx, home):
    told = json.loads(featx("networks", "list", "--json"))
    assert [one["name"] for one in told] == list(NETWORKS)
    for one in told:
        sheet = NETWORKS[one["name"]]
        assert {name: tap["width"] for name, tap in one["taps"].items()} == {
            name: tap.width for name, tap in sheet.taps.items()
        }
        assert (one["weights"] is None) == (sheet.weights is None)
        assert one["weights"] is None or one["weights"]["digest"] == sheet.weights.digest
        assert (one["fetched"] is None) == (one["name"] != "sfcn_4mm.synthetic")  # that one is bundled
        assert one["views"] == {view.name: view.name in sheet.default_views for view in sheet.recipe.views}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("nosuch",), "a pattern must fit a network; 'nosuch' fits none; known are "),
        (("squeeze", "--family", "SFCN"), "must fit a network of the family 'SFCN'; 'squeeze' fits none; known are"),
        (("--family", "nosuch"), "a family must be one of the table; 'nosuch' is none; known are "),
    ],
)
def test_a_pattern_that_fits_nothing(featx, home, words, sentence):
    said = featx("networks", "list", *words, code=2)
    assert sentence in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "name, enters",
    [
        ("sfcn.ukb_age", "160x192x160"),
        ("squeezenet1_0.imagenet", "slices 224"),
        ("r3d_18.kinetics400", "slices 112"),
    ],
)
def test_what_enters_a_network(name, enters):
    assert input_of(get_network(name)) == enters


# --- show -----------------------------------------------------------------------------------------------------


def test_a_card(featx, home):
    said = featx("networks", "show", "sfcn.ukb_age")
    for wanted in (
        "wants       MNI152 1 mm (FSL): 182x218x182 voxels of 1 mm, LAS or any other order of the same axes",
        "skull-stripped: a brain on a background of 0; registered to the MNI152 template",
        "what enters the network: 160x192x160",
        "crop box=((11, 171), (13, 205), (11, 171))",
        "views       volume*: the whole volume",
        "any other module by its path, --tap PATH (`show sfcn.ukb_age --modules` lists them)",
        "pooling     mean*, max, std",
        "parameters  2,952,936",
        "licence MIT, digest git-blob-sha1:3631938002f789a842469132155380fa36de7d4d",
        f"not fetched: `featx networks fetch sfcn.ukb_age` puts them at {home}/sfcn_ukb_age_",
        "controls: sfcn.ukb_age@random:0, sfcn.ukb_age@reinit:0",
        "trained on  12,949 UK Biobank brains",
        "ages 42 to 82 years",
        "reference   Peng et al. 2021",
        "example     featx extract images.csv --network sfcn.ukb_age -o features.h5",
    ):
        assert wanted in said
    assert re.search(r"  features\* +64 features  classifier.average_pool \(one vector, not pooled\)\n", said)


def test_a_card_of_a_network_on_slices(featx, home):
    said = featx("networks", "show", "squeezenet1_0.imagenet")
    assert "sagittal*: slices axis=sagittal first=14 last=74 count=16; resize size=224; normalise mean=(0.485" in said
    assert "change them by --axis, --slices, --size, --channels, --missing\n" in said
    assert "behind a tap :max instead of the mean of its positions" in said
    assert "pooling     mean*, max, std, concat, slices" in said
    said = featx("networks", "show", "vit_b_16.imagenet")
    assert "change them by --axis, --slices, --channels, --missing\n" in said
    assert "behind a tap :max or :cls (the class token) instead" in said


def test_a_card_of_a_network_without_weights(featx, home):
    said = featx("networks", "show", "sfcn.narrow")
    assert "featx knows of none: give --weights sfcn.narrow=FILE, or ask for the control sfcn.narrow@random" in said
    assert "--network sfcn.narrow@random:0 -o" in said


def test_every_card_can_be_shown(featx, home):
    """One network of every architecture, since cards of the others differ in numbers only."""
    by_code = {(sheet.architecture, sheet.takes, sheet.class_tokens): name for name, sheet in NETWORKS.items()}
    for name in by_code.values():
        said = featx("networks", "show", name)
        assert said.startswith(f"{name} ({NETWORKS[name].family})\n")
        for tap in NETWORKS[name].taps:
            assert f" {tap}" in said


def test_modules_are_listed(featx, home):
    said = featx("networks", "show", "squeezenet1_0.imagenet", "--modules")
    assert "  features.3.squeeze_activation  ReLU\n" in said


def test_a_card_of_a_network_of_ones_own(featx, home, tmp_path):
    (tmp_path / "own.toml").write_text(EXAMPLE)
    name = "python:tests.serving:Tiny"
    said = featx("networks", "show", name, "--recipe", tmp_path / "own.toml", "--modules")
    assert re.search(r"taps +features\* +64 features  pool \(one vector, not pooled\)\n", said)
    assert f"weights     as its factory sets them, or --weights {name}=FILE\n" in said
    assert "  conv  Conv3d\n  norm  BatchNorm3d\n  top  Linear\n" in said
    assert "must come with a recipe" in featx("networks", "show", name, code=2)


def test_a_card_of_a_checkpoint(featx, home, tmp_path):
    path = tmp_path / "own.safetensors"
    sheet = get_network("sfcn.narrow")
    write_checkpoint(path, build(sheet), sheet, note="for a test")
    said = featx("networks", "show", f"file:{path}")
    assert said.startswith("sfcn.narrow (SFCN)\n")
    assert f"weights     those of {path}\n" in said
    assert f"example     featx extract images.csv --network file:{path} -o features.h5\n" in said


def test_modules_without_torch(featx, home, monkeypatch):
    monkeypatch.delitem(sys.modules, "featx.networks.weights")
    monkeypatch.setitem(sys.modules, "torch", None)
    said = featx("networks", "show", "squeezenet1_0.imagenet", "--modules", code=2)
    assert "--modules needs torch; torch is not there; run pip install 'featx[torch]'" in said


def test_an_unknown_network(featx, home):
    said = featx("networks", "show", "sqeezenet", code=2)
    assert said.startswith("featx: a network must be in the table")
    assert "'squeezenet1_0.imagenet'" in said


# --- fetch ----------------------------------------------------------------------------------------------------


def test_fetched_weights_are_verified_converted_and_used(featx, table, server, home):
    said = featx("networks", "fetch", "*")
    assert "featx knows of no published weights of none.d: left out" in said
    assert f"plain.a: verified, {home}/w.pth\n" in said
    assert f"pickled.c: verified, {home}/c.p.safetensors\n" in said
    notes = {f"{name}.golden.json" for name in ("plain.a", "plain.b", "pickled.c")}
    assert {path.name for path in home.iterdir()} == {"w.pth", "c.p", "c.p.safetensors"} | notes
    assert has_digest(home / "c.p", table["pickled.c"].weights.digest)
    assert len(server.asked) == 2  # plain.b is of the same file
    server.pages.clear()
    for name in ("plain.a", "pickled.c"):
        assert load_network(table[name], "official", cache_dir()).weights == "official"
        assert f"fetched: {home}" in featx("networks", "show", name)
    listed = featx("networks", "list")
    assert "plain.a*  plain.b*  pickled.c*  none.d\n" in listed
    assert re.search(r"pickled.c .* MIT +fetched\n", featx("networks", "list", "pickled"))
    assert [one["fetched"] for one in json.loads(featx("networks", "list", "--json"))] == [
        *[f"{home}/w.pth"] * 2, f"{home}/c.p.safetensors", None,
    ]  # fmt: skip
    assert featx("networks", "fetch", "*") == said  # verified again


def test_a_folder_for_a_cluster(featx, table, server, home, tmp_path, monkeypatch):
    said = featx("networks", "fetch", "pickled.c", "plain.a", "--to", tmp_path / "usb")
    assert f"where there is no network: copy {tmp_path}/usb there and set FEATX_HOME to it" in said
    assert not home.exists()
    server.pages.clear()
    (tmp_path / "usb/c.p").unlink()  # the converted file is enough
    (tmp_path / "usb").rename(tmp_path / "cluster")
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "cluster"))
    for name in ("plain.a", "pickled.c"):
        assert load_network(table[name], "official", cache_dir()).weights == "official"


def test_progress_is_told_with_its_rate(featx, table, server, home, capsys, monkeypatch):
    monkeypatch.setattr("featx_cli.console.LOG_EVERY_S", -1.0)
    seen = []
    monkeypatch.setattr("builtins.print", lambda *words, **how: seen.append(" ".join(map(str, words))))
    featx("networks", "fetch", "plain.a")
    assert any(re.fullmatch(r"plain.a: 1 of 1, [\d.]+ MB/s, 0:00:00 left", line) for line in seen)


def test_a_dry_run_says_sizes(featx, table, server, home):
    said = featx("networks", "fetch", "plain.*", "pickled.c", "--dry-run")
    size = table["plain.a"].weights.size_bytes
    assert f"plain.b: {size / 1e6:.1f} MB, {server.url}/w.pth\n" in said
    assert f"2 files to download into {home}, about {2 * size / 1e6:.1f} MB" in said
    assert server.asked == []
    assert not home.exists()
    featx("networks", "fetch", "plain.a")
    said = featx("networks", "fetch", "plain.a", "--dry-run")
    assert f"there: {home}/w.pth" in said
    assert f"0 files to download into {home}" in said


def test_a_failed_download_costs_only_itself(featx, table, server, home):
    del server.pages["/w.pth"]
    said = featx("networks", "fetch", "plain.a", "pickled.c", code=3)
    assert "plain.a: FAILED\n" in said
    assert "pickled.c: verified" in said
    assert "1 of 2 could not be fetched:\n  plain.a: official weights of plain.a must be" in said
    assert {path.name for path in home.iterdir()} == {"c.p", "c.p.safetensors", "pickled.c.golden.json"}


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (RuntimeError("not enough memory\nsee the log"), "not enough memory"),
        (MemoryError(), "MemoryError"),
        (DependencyError("MONAI must be installed"), "MONAI must be installed"),
    ],
)
def test_golden_features_that_cannot_be_noted_cost_nothing_else(featx, table, home, monkeypatch, error, told):
    noted = golden.note

    def note(sheet, folder):
        if sheet.name == "plain.a":
            raise error
        noted(sheet, folder)

    monkeypatch.setattr(golden, "note", note)
    said = featx("networks", "fetch", "plain.a", "pickled.c")
    lines = [line for line in said.splitlines() if "golden features" in line]
    assert lines == [
        f"plain.a: no golden features could be noted for `featx doctor` ({told})",
        "pickled.c: golden features noted for `featx doctor`",
    ]
    assert {path.name for path in home.iterdir()} == {"w.pth", "c.p", "c.p.safetensors", "pickled.c.golden.json"}


def test_fetched_weights_of_another_network_are_a_failure(featx, table, server, home, tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other")
    content = (tmp_path / "other").read_bytes()
    server.pages["/other.pth"] = Page(content)
    weights = weights_of(content, f"{server.url}/other.pth", "other.pth")
    other = replace(table["plain.a"], name="other.e", weights=weights)
    monkeypatch.setattr("featx.networks.NETWORKS", {**table, "other.e": other})
    said = featx("networks", "fetch", "other.e", "pickled.c", code=3)
    assert "1 of 2 could not be fetched:\n  other.e: weights must fit other.e, tensor by tensor" in said
    assert "pickled.c: golden features noted" in said


def test_all_downloads_failed(featx, table, server, home, capsys):
    server.pages.clear()
    said = featx("networks", "fetch", "plain.a", "pickled.c", code=2)
    assert "one at least must be fetched; none could be; first: official weights of plain.a must" in said
    said = featx("networks", "fetch", "plain.a", code=2)
    assert said.startswith("featx: official weights of plain.a must be downloaded once; ")
    assert "run `featx networks fetch plain.a --to DIR`" in said
    assert "HTTP 404" in said


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("none.d",), "featx knows of none for none.d; ask for none.d@random:SEED, or give --weights none.d=FILE"),
        (("none.*",), "featx knows of none for none.d"),
        (("nosuch*",), "a pattern must fit a network; 'nosuch*' fits none"),
        (("nosuch",), "a network must be in the table"),
    ],
)
def test_what_cannot_be_fetched(featx, table, server, home, words, sentence):
    assert sentence in featx("networks", "fetch", *words, code=2)
    assert server.asked == []


@pytest.mark.parametrize("missing", ["torch", "safetensors", "torchvision"])
def test_fetching_needs_no_torch_but_conversion_does(featx, table, home, monkeypatch, missing):
    monkeypatch.delitem(sys.modules, "featx.networks.checkpoint")
    monkeypatch.setitem(sys.modules, missing, None)
    said = featx("networks", "fetch", "pickled.c", "plain.a")
    assert "pickled.c: its tensors will be converted on a machine that has torch, when it is first used" in said
    assert "plain.a: its tensors" not in said
    assert {path.name for path in home.iterdir()} == {"w.pth", "c.p"}


def test_the_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FEATX_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_dir() == tmp_path / ".cache/featx"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(cache_dir()) == "/x/featx"
    monkeypatch.setenv("FEATX_HOME", "~/weights")
    assert cache_dir() == tmp_path / "weights"
