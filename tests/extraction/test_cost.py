"""What an extraction will cost: operations counted by hand and by torchvision, bytes that are there, probes."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from featx.errors import NetworkError
from featx.extraction import cost
from featx.extraction.cost import (
    NetworkCost,
    Probe,
    bytes_of_features,
    bytes_to_read,
    count_cost,
    decode_limit,
    rate_of,
    run_probe,
    spread,
    steady_rate,
)
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request
from featx.images.image import Image
from featx.images.index import index_images
from featx.networks.weights import build

SMALL = {"taps": ["fire2"], "views": ["axial"], "n_slices": 2}
NAME = "squeezenet1_0.imagenet"


def _convolution(in_, out, edge, at):
    return 2 * in_ * out * edge**2 * at**2


def test_operations_of_the_first_block_are_those_counted_by_hand():
    """96 filters of 7 x 7, stride 2, on 224 x 224 grey pixels; squeezed to 16, expanded to 64 + 64, at 54 x 54."""
    found = count_cost(make_request(NAME, weights="random:0", **SMALL))
    by_hand = _convolution(1, 96, 7, 109) + sum(
        _convolution(*layer, 54) for layer in ((96, 16, 1), (16, 64, 1), (16, 64, 3))
    )
    assert found.flop == 2 * by_hand
    assert found.widths == (128,)
    assert found.n_parameters == sum(one.numel() for one in build(make_request(NAME).sheet).parameters())


@pytest.mark.parametrize("name", ["resnet18.imagenet", "vit_b_16.imagenet"])
def test_operations_of_a_slice_are_those_that_torchvision_tells(name):
    """But for its head, and three grey channels summed into one; torchvision counts a product and its sum as one."""
    from torchvision.models import get_model_weights

    told = get_model_weights(name.partition(".")[0]).DEFAULT.meta["_ops"]
    found = count_cost(make_request(name, weights="random:0", taps=["features"], views=["axial"], n_slices=1))
    assert found.flop / 2e9 == pytest.approx(told, rel=0.06)


def test_operations_grow_with_slices_and_axes():
    one = count_cost(make_request(NAME, **SMALL | {"n_slices": 1}))
    five = count_cost(make_request(NAME, **SMALL | {"n_slices": 5}))
    both = count_cost(make_request(NAME, **SMALL | {"views": ["axial", "coronal"], "n_slices": 5}))
    assert (five.flop, both.flop) == (5 * one.flop, 10 * one.flop)
    slices = count_cost(make_request(NAME, **SMALL | {"poolings": ["slices", "mean"], "n_slices": 5}))
    assert sorted(slices.widths) == [128, 5 * 128]


def test_volumes_are_counted_behind_their_recipe():
    """SFCN crops to 160 x 192 x 160 voxels: 32 filters of 3 x 3 x 3 on them, and 64 on the half of each edge."""
    found = count_cost(make_request("sfcn.ukb_age", weights="random:0", taps=["block1"]))
    assert found.flop == 2 * 27 * (32 * 160 * 192 * 160 + 32 * 64 * 80 * 96 * 80)


def test_a_network_that_looks_at_its_numbers_is_run(monkeypatch):
    tried = []
    count = cost._count

    def looks(request, device):
        tried.append(device)
        if device == "meta":
            raise NotImplementedError("a meta tensor has no numbers")
        return count(request, device)

    expected = count_cost(make_request(NAME, **SMALL))
    monkeypatch.setattr(cost, "_count", looks)
    assert count_cost(make_request(NAME, **SMALL)) == expected
    assert tried == ["meta", "cpu"]


def test_what_does_not_run_is_a_sentence():
    with pytest.raises(NetworkError, match="names no module|must be"):
        count_cost(make_request(NAME, taps=["features.99"]))


def test_attention_is_counted_and_left_as_it_was():
    before = torch.backends.mha.get_fastpath_enabled()
    count_cost(make_request(NAME, **SMALL))
    assert torch.backends.mha.get_fastpath_enabled() is before


# --- bytes ----------------------------------------------------------------------------------------------------


def test_evenly_spread():
    for n_items, n in ((1000, 10), (7, 3), (3, 10), (1, 1)):
        found = spread(range(n_items), n)
        assert len(found) == min(n, n_items)
        assert (found[0], found[-1]) == (0, n_items - 1) if n > 1 else (0, 0)
        assert found == sorted(set(found))
        if len(found) > 2:
            assert max(np.diff(found)) - min(np.diff(found)) <= 1


def test_bytes_of_files_and_of_members(tmp_path):
    images = []
    for at in range(4):
        (tmp_path / f"{at}.nii").write_bytes(b"x" * (100 + at))
        images.append(Image(str(at), str(at), "", "", tmp_path / f"{at}.nii"))
    assert bytes_to_read(images) == 406
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("T1/T1.nii", b"y" * 1000)
        archive.writestr("rest", b"z" * 9999)
    members = [Image("z", "z", "", "", tmp_path / "a.zip", "T1/T1.nii")]
    assert bytes_to_read(images + members) == 1406
    gone = [Image("g", "g", "", "", tmp_path / "gone.nii"), Image("h", "h", "", "", tmp_path / "gone.zip", "m")]
    assert bytes_to_read(gone) == 0
    assert bytes_to_read(images + gone[:1]) == round(5 * 406 / 4)
    assert bytes_to_read([]) == 0


def test_the_size_of_the_feature_file_is_about_right(brains, tmp_path):
    images = index_images(str(brains(2)))
    request = make_request(NAME, weights="random:0", taps=["all"], views=["axial"], n_slices=1)
    extract(images, [load_job(request, "cpu", Path("unused"))], tmp_path / "f.h5", device="cpu")
    told = bytes_of_features(len(images), [count_cost(request)])
    assert told == pytest.approx((tmp_path / "f.h5").stat().st_size, rel=0.25)


# --- time -----------------------------------------------------------------------------------------------------


def test_a_probe_measures_and_leaves_nothing(brains, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = brains(3)
    (folder / "sub-02/anat/sub-02_space-MNI152_desc-brain_T1w.nii.gz").write_bytes(b"no image")
    images = index_images(str(folder))
    job = load_job(make_request(NAME, weights="random:0", **SMALL), "cpu", Path("unused"))
    found = run_probe(images, [job], device="cpu", running=Running())
    assert (found.n_images, found.n_failed, found.device_bytes) == (3, 1, 0)
    assert 0 < found.images_per_s < 1000
    assert 0 < found.decode_s < 5
    assert 1e8 < found.host_bytes < 1e11
    assert [row["image_id"] for row in found.failures] == ["sub-02"]
    assert list((tmp_path / "tmp").iterdir()) == []
    nothing = run_probe(images[2:], [job], device="cpu", running=Running())
    assert (nothing.images_per_s, nothing.decode_s) == (0.0, 0.0)


def test_the_rate_is_that_behind_the_first_quarter():
    assert steady_rate([(at, 5.0 + at / 4) for at in range(1, 13)]) == pytest.approx(4)
    assert steady_rate([(8, 3.0)] * 8 + [(16, 4.0)] * 8 + [(24, 5.0)] * 8 + [(32, 6.0)] * 8) == pytest.approx(8)
    failed_last = [(1, 2.0), (2, 4.0), (2, 4.1), (2, 4.2)]
    assert steady_rate(failed_last) == pytest.approx(0.5)
    assert steady_rate([(0, 0.1), (0, 0.2)]) == 0


def test_devices_are_proportional_until_the_cores_are_busy():
    probe = Probe(10, 0, images_per_s=10.0, decode_s=0.2, host_bytes=0, device_bytes=0)
    assert decode_limit(probe, 5) == 25.0
    assert [rate_of(n, probe, 5, shared=True) for n in (1, 2, 4, 8)] == [10.0, 20.0, 25.0, 25.0]
    assert [rate_of(n, probe, 5, shared=False) for n in (1, 2, 4, 8)] == [10.0, 20.0, 40.0, 80.0]
    assert rate_of(8, probe, 1, shared=True) == 10.0  # what was measured is not doubted
    assert bytes_of_features(0, [NetworkCost("", "", 0, 0, ())]) == 0
