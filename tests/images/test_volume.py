import contextlib
import gzip
import os
import struct
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest

from featx.errors import ImageError
from featx.images.check import check_grid, check_values
from featx.images.volume import (
    MNI152_1MM,
    MNI152_2MM,
    Grid,
    Volume,
    grid_affine,
    orientation,
    read_volume,
    reorient,
    resample,
    voxel_sizes_mm,
    write_volume,
)
from tests.conftest import phantom

SHAPE = (7, 10, 12)
AFFINE = np.array([[0, 0, -1.5, 30], [2.0, 0, 0, -20], [0, 1.0, 0, -10], [0, 0, 0, 1]])  # I to A, J to S, K to L


def _array(seed=0, dtype=np.int16):
    return np.random.default_rng(seed).integers(-300, 3000, SHAPE).astype(dtype)


def _save(path, image):
    nib.save(image, path)
    return path


def _nifti(array, kind=nib.Nifti1Image, affine=AFFINE):
    image = kind(array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti(tmp_path, name, kind):
    path = tmp_path / name
    raw = _nifti(_array(), kind).to_bytes()
    path.write_bytes(gzip.compress(raw) if name.lower().endswith("gz") else raw)
    volume = read_volume(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, _array())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


def test_slope_and_intercept_are_applied(tmp_path):
    image = _nifti(_array())
    image.header.set_slope_inter(0.25, -7)
    path = _save(tmp_path / "a.nii.gz", image)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[112:120] = struct.pack("<ff", 0.5, -100)
    raw[352:] = _array().tobytes(order="F")
    path.write_bytes(gzip.compress(raw))
    np.testing.assert_allclose(read_volume(path).data, _array() * 0.5 - 100, rtol=1e-6)
    np.testing.assert_allclose(read_volume(path).data, nib.load(path).get_fdata(), rtol=1e-6)


def test_big_endian(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nib.Nifti1Image(_array().astype(">i2"), AFFINE, header)
    volume = read_volume(_save(tmp_path / "a.nii", image))
    np.testing.assert_array_equal(volume.data, _array())
    assert volume.data.dtype.isnative


def test_qform_only(tmp_path):
    image = nib.Nifti1Image(_array(), None)
    image.set_qform(AFFINE, code=1)
    image.set_sform(None, code=0)
    volume = read_volume(_save(tmp_path / "a.nii.gz", image))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_mgz(tmp_path):
    path = _save(tmp_path / "a.mgz", nib.MGHImage(_array(dtype=np.uint8), AFFINE))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, _array(dtype=np.uint8))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_one_frame_of_a_4d_file_is_a_volume(tmp_path):
    path = _save(tmp_path / "a.nii.gz", _nifti(_array()[..., None]))
    np.testing.assert_array_equal(read_volume(path).data, _array())


@pytest.fixture(params=["igzip", "gzip"])
def either_gzip(request, monkeypatch):
    """Both ways to unpack: python-isal where it is installed, and the standard library's."""
    kind = pytest.importorskip("isal.igzip").IGzipFile if request.param == "igzip" else gzip.GzipFile
    monkeypatch.setattr("featx.images.volume.unpacking", kind)


# --- refusals -------------------------------------------------------------------------------------------------


def _refused(path, code, match):
    with pytest.raises(ImageError, match=match) as caught:
        read_volume(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value)


def test_a_real_4d_file(tmp_path):
    path = _save(tmp_path / "a.nii.gz", _nifti(np.stack([_array()] * 3, axis=-1)))
    _refused(path, "not-3d", "must be one 3D volume; .* has shape 7x10x12x3")


@pytest.mark.usefixtures("either_gzip")
def test_a_truncated_gz(tmp_path):
    path = _save(tmp_path / "a.nii.gz", _nifti(_array()))
    path.write_bytes(path.read_bytes()[:-300])
    _refused(path, "truncated", "ends before its compressed data do")


def test_a_truncated_nii(tmp_path):
    path = _save(tmp_path / "a.nii", _nifti(_array()))
    path.write_bytes(path.read_bytes()[:-300])
    _refused(path, "truncated", "ends before its 7x10x12 voxels")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 50, bytes(2000)])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mgz"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_volume(tmp_path / name)
    assert caught.value.code in ("unreadable", "truncated")


@pytest.mark.usefixtures("either_gzip")
def test_every_damage_of_a_gz_is_an_image_error_or_harmless(tmp_path):
    rng = np.random.default_rng(0)
    whole = _save(tmp_path / "whole.nii.gz", _nifti(_array())).read_bytes()
    path = tmp_path / "a.nii.gz"
    for at in range(0, len(whole) - 1, 41):
        path.write_bytes(whole[:at])
        with pytest.raises(ImageError):
            read_volume(path)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 2):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            read_volume(path)


def _bomb(head=b"", megabytes=60):
    """Some kB that stand for many MB of zeros, after a header."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(head) + packer.compress(bytes(megabytes << 20)) + packer.flush()


@pytest.mark.usefixtures("either_gzip")
@pytest.mark.parametrize("headed", [True, False])
def test_a_bomb_is_not_unpacked(tmp_path, headed):
    head = _nifti(_array()).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(_bomb(head if headed else b""))
    tracemalloc.start()
    match = f"holds more than the {len(head)} bytes of its header and voxels" if headed else "what its name says"
    _refused(tmp_path / "a.nii.gz", "unreadable", match)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_a_header_that_announces_too_much(tmp_path):
    head = bytearray(_nifti(_array()).to_bytes())
    head[42:48] = struct.pack("<hhh", 30_000, 30_000, 30_000)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(head))
    match = r"at most 4 GiB; the header of .*a.nii.gz announces 30000x30000x30000 voxels, 50291.4 GiB; if that"
    _refused(tmp_path / "a.nii.gz", "out-of-memory", match)


@pytest.mark.usefixtures("either_gzip")
@pytest.mark.parametrize("block", [5000, 100_000])
def test_a_gz_of_several_members_is_read_whole(tmp_path, block):
    """As bgzip and pigz write them."""
    raw = _nifti(np.tile(_array(), (3, 4, 5))).to_bytes()
    blocks = [gzip.compress(raw[at : at + block]) for at in range(0, len(raw), block)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(blocks))
    assert len(blocks) > 1
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").stored, np.tile(_array(), (3, 4, 5)))
    (tmp_path / "a.nii.gz").write_bytes(b"".join(blocks)[:-12])
    _refused(tmp_path / "a.nii.gz", "truncated", "ends before its compressed data do")


@pytest.mark.usefixtures("either_gzip")
@pytest.mark.parametrize("n_bytes", [100, 70_000, 3_000_000])
def test_what_follows_the_voxels_is_let_be(tmp_path, n_bytes):
    """FreeSurfer writes tags there."""
    raw = nib.MGHImage(_array(dtype=np.uint8), AFFINE).to_bytes() + np.random.default_rng(0).bytes(n_bytes)
    (tmp_path / "a.mgz").write_bytes(gzip.compress(raw, compresslevel=1))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mgz").stored, _array(dtype=np.uint8))


@pytest.mark.usefixtures("either_gzip")
def test_a_wrong_checksum(tmp_path):
    raw = bytearray(gzip.compress(_nifti(_array()).to_bytes()))
    raw[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(raw)
    _refused(tmp_path / "a.nii.gz", "unreadable", "must be what its name says")


@pytest.mark.usefixtures("either_gzip")
def test_text_in_a_gz(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"participant_id,age\n" * 100))
    _refused(tmp_path / "a.nii.gz", "unreadable", "must be what its name says")


def test_every_truncation_and_many_damages_are_image_errors(tmp_path):
    rng = np.random.default_rng(0)
    whole = _save(tmp_path / "whole.nii", _nifti(_array())).read_bytes()
    path = tmp_path / "a.nii"
    for at in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:at])
        with pytest.raises(ImageError):
            read_volume(path)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, 352, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with np.errstate(all="ignore"), contextlib.suppress(ImageError):  # a damage may be harmless
            read_volume(path)


def test_a_missing_file(tmp_path):
    _refused(tmp_path / "no.nii.gz", "missing-file", "No such file")


def test_a_folder_named_like_an_image(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    _refused(tmp_path / "a.nii.gz", "missing-file", "Is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = _save(tmp_path / "a.nii.gz", _nifti(_array()))
    path.chmod(0)
    _refused(path, "missing-file", "Permission denied")


def test_a_dicom(tmp_path):
    _refused(tmp_path / "a.dcm", "unsupported-format", "dcm2niix")


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
def test_complex_numbers(tmp_path, kind):
    path = _save(tmp_path / "a.nii.gz", _nifti(_array().astype(kind) * (1 + 2j)))
    _refused(
        path,
        "unsupported-format",
        rf"must be plain numbers; those of .*a\.nii\.gz are of the type {np.dtype(kind)}; save",
    )


def test_colours(tmp_path):
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = _save(tmp_path / "a.nii", _nifti(colours))
    _refused(path, "unsupported-format", r"must be plain numbers; those of .*a\.nii are of the type colours; save")


def test_no_orientation(tmp_path):
    image = nib.Nifti1Image(_array(), None)
    image.set_qform(None, code=0)
    image.set_sform(None, code=0)
    _refused(_save(tmp_path / "a.nii.gz", image), "unknown-orientation", "sform and qform codes 0")


def test_a_singular_affine(tmp_path):
    path = _save(tmp_path / "a.nii", _nifti(_array()))
    raw = bytearray(path.read_bytes())
    raw[280:296] = bytes(16)  # srow_x
    path.write_bytes(raw)
    _refused(path, "bad-affine", "must be finite and invertible")


# --- orientation, grid, resampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LIA", "SPR"])
def test_reorient_moves_every_voxel_with_its_place(codes):
    volume = Volume(np.asfortranarray(_array().astype(np.float32)), AFFINE)
    turned = reorient(volume, codes)
    assert orientation(turned.affine) == codes
    assert turned.data.flags.f_contiguous
    at = np.argwhere(turned.data == turned.data)[::37]
    millimetres = nib.affines.apply_affine(turned.affine, at)
    back = np.rint(nib.affines.apply_affine(np.linalg.inv(AFFINE), millimetres)).astype(int)
    np.testing.assert_array_equal(turned.data[tuple(at.T)], volume.data[tuple(back.T)])


@pytest.mark.parametrize("grid", [MNI152_1MM, MNI152_2MM])
def test_a_grid_has_the_affine_of_the_published_template(grid):
    affine = grid_affine(grid)
    assert orientation(affine) == grid.orientation
    np.testing.assert_array_equal(affine[:3, 3], (90, -126, -72))


def test_resampling_to_the_same_grid_changes_nothing():
    data = phantom().astype(np.float32)
    same = resample(Volume(data, grid_affine(MNI152_2MM)), MNI152_2MM)
    np.testing.assert_array_equal(same.data, data)


def test_resampling_finds_the_same_places():
    """A linear ramp in millimetres is the same ramp on any grid that lies inside."""
    affine = np.diag([1.7, 2.3, 1.9, 1.0])
    affine[:3, 3] = (-120, -150, -100)
    at = np.stack(np.meshgrid(*(np.arange(n) for n in (140, 120, 120)), indexing="ij"), -1)
    ramp = (nib.affines.apply_affine(affine, at) @ [1.0, 10.0, 100.0]).astype(np.float32)
    on = resample(Volume(ramp, affine), MNI152_2MM)
    at = np.stack(np.meshgrid(*(np.arange(n) for n in MNI152_2MM.shape), indexing="ij"), -1)
    wanted = nib.affines.apply_affine(grid_affine(MNI152_2MM), at) @ [1.0, 10.0, 100.0]
    np.testing.assert_allclose(on.data, wanted, atol=0.02)


def _on(data, affine):
    return Volume(np.asarray(data, np.float32), affine)


def test_check_values():
    data = _array().astype(np.float32)
    check_values(_on(data, AFFINE), "here")
    data[1, 2, 3], data[4, 5, 6] = np.nan, np.inf
    with pytest.raises(ImageError, match="2 of 840 are NaN or infinite in here") as caught:
        check_values(_on(data, AFFINE), "here")
    assert caught.value.code == "non-finite"
    with pytest.raises(ImageError, match="every voxel is 0 in here") as caught:
        check_values(_on(np.zeros(SHAPE), AFFINE), "here")
    assert caught.value.code == "constant"


def test_check_grid():
    affine = grid_affine(MNI152_2MM)
    data = np.zeros(MNI152_2MM.shape)
    check_grid(_on(data, affine), MNI152_2MM, "net", "here")
    with pytest.raises(
        ImageError, match="91x109x91 voxels of 2 mm in LAS; got 90x109x91 voxels of 2 x 2 x 2 mm"
    ) as caught:
        check_grid(_on(data[1:], affine), MNI152_2MM, "net", "here")
    assert caught.value.code == "wrong-grid"
    with pytest.raises(ImageError, match="got 91x109x91 voxels of 1.98 x 1.98 x 1.98 mm"):
        check_grid(_on(data, affine @ np.diag([0.99, 0.99, 0.99, 1])), MNI152_2MM, "net", "here")
    moved = affine.copy()
    moved[1, 3] += 40
    with pytest.raises(
        ImageError, match=r"lies at \(90, -126, -72\) mm; in here it lies at \(90, -86, -72\) mm"
    ) as caught:
        check_grid(_on(data, moved), MNI152_2MM, "net", "here")
    assert caught.value.code == "wrong-place"
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    with pytest.raises(ImageError, match=r"rotated by up to 17.2 degrees") as caught:
        check_grid(_on(data, turn @ affine), MNI152_2MM, "net", "here")
    assert caught.value.code == "oblique"


def test_what_is_written_is_read_and_is_the_same_every_time(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "c.nii"):
        write_volume(tmp_path / name, phantom(), grid_affine(MNI152_2MM))
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.data, phantom())
    np.testing.assert_array_equal(volume.affine, grid_affine(MNI152_2MM))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert read_volume(tmp_path / "c.nii").data.dtype == np.float32


# --- real files -----------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    "name, shape, codes",
    [
        ("formats/bigendian_crop.nii", (33, 41, 25), "LAS"),
        ("formats/freesurfer_norm.mgz", (256, 256, 256), "LIA"),
        ("formats/skullstripped_08mm.nii.gz", (192, 235, 187), "RAS"),
        ("formats/head_16mm_header_extension.nii.gz", (104, 150, 133), "RAS"),
        ("mni1mm/patient07_T1_brain_MNI.nii.gz", (182, 218, 182), "LAS"),
        ("ds000011/sub-01/anat/sub-01_T1w.nii.gz", (160, 192, 192), "LAS"),
    ],
)
def test_real_files_read_as_nibabel_reads_them(data, name, shape, codes):
    volume = read_volume(data / name)
    assert (volume.data.shape, orientation(volume.affine)) == (shape, codes)
    np.testing.assert_array_equal(volume.data, nib.load(data / name).get_fdata().astype(np.float32))


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LIA", "PSR", "AIL", "SPR"])
def test_a_grid_is_oriented_as_it_says(codes):
    affine = grid_affine(Grid("any", (4, 5, 6), 2.0, codes, (1.0, 2.0, 3.0)))
    assert orientation(affine) == codes
    assert voxel_sizes_mm(affine).tolist() == [2, 2, 2]
    assert affine[:3, 3].tolist() == [1, 2, 3]
