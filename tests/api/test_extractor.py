"""FeatureExtractor: the features of `featx extract`, as a transformer that scikit-learn takes for one of its own."""

import copy
import pickle
import shutil

import joblib
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import featx
from featx import FeatureExtractor, store
from featx.api import rows
from featx.api.pictured import items_of, read_item, stamp
from featx.errors import AnalysisError, ImageError, IndexingError, NetworkError, WeightsError
from featx.images.image import Image
from featx.images.volume import read_volume

NETWORK = "squeezenet1_0.imagenet@random:0"
SMALL = {"axis": "axial", "slices": 1, "tap": ("fire4", "features"), "device": "cpu"}


@pytest.fixture
def extractor(monkeypatch):
    """A small one, with nothing kept from before."""
    monkeypatch.setattr(rows, "_KEPT", type(rows._KEPT)())
    return FeatureExtractor(NETWORK, **SMALL)


@pytest.fixture
def paths(heads):
    """Of the six that are whole."""
    return [str(heads / f"sub-{at}_T1w.nii.gz") for at in range(6)]


@pytest.fixture
def runs(monkeypatch):
    """How many images went through the network, by call."""
    seen = []
    made = rows._made
    monkeypatch.setattr(rows, "_made", lambda items, *more: seen.append(len(items)) or made(items, *more))
    return seen


# --- features -------------------------------------------------------------------------------------------------


def test_features_are_those_of_extract(extractor, paths, heads, tmp_path):
    images = featx.index(heads).iloc[:6]
    summary = featx.extract(images, NETWORK, output=tmp_path / "f.h5", **SMALL)
    X = extractor.fit(paths).transform(paths)
    assert X.dtype == np.float32
    assert set(extractor.feature_sets_) == set(summary.sets)
    sets = [store.read_set(tmp_path / "f.h5", name).X for name in extractor.feature_sets_]
    np.testing.assert_allclose(X, np.concatenate(sets, axis=1), rtol=1e-5, atol=1e-6)
    assert extractor.feature_sets_ == {
        name: X.shape[1] for name, X in zip(extractor.feature_sets_, sets, strict=True)
    }
    assert extractor.device_ == "cpu"
    made = store.read_set(tmp_path / "f.h5", next(iter(summary.sets))).provenance
    assert extractor.weights_sha256_ == made["weights_sha256"]


def test_whatever_stands_for_an_image_gives_the_same_row(extractor, paths, heads):
    wanted = extractor.transform(paths[:3])
    volumes = [read_volume(path) for path in paths[:3]]
    table = featx.index(heads).iloc[:3]
    for X in (
        np.array(paths[:3]),
        np.array(paths[:3], dtype=object)[:, None],
        pd.Series(paths[:3], index=[4, 5, 6]),
        pd.DataFrame({"image": paths[:3]}),
        [Image("a", "a", "", "", path) for path in paths[:3]],
        table,
        table[["path"]],
        [nib.load(path) for path in paths[:3]],
        [nib.Nifti1Image(volume.stored[..., None], volume.affine) for volume in volumes],
        [nib.Nifti1Image(volume.data, volume.affine) for volume in volumes],
    ):
        np.testing.assert_allclose(extractor.transform(X), wanted, rtol=1e-5, atol=1e-6)


def test_a_mask_and_a_member_of_the_index_count(extractor, paths):
    with pytest.raises(ImageError, match="nowhere.nii"):
        extractor.transform(pd.DataFrame({"path": paths[:1], "mask": ["nowhere.nii"]}))
    with pytest.raises(ImageError, match="must be a whole zip file; .*sub-0_T1w"):
        extractor.transform(pd.DataFrame({"path": paths[:1], "member": ["inside.nii"]}))


def test_slices_kept_apart_stand_one_behind_the_other(paths):
    apart = FeatureExtractor(NETWORK, **{**SMALL, "slices": 3, "pool": "slices"}).transform(paths[:1])
    mean = FeatureExtractor(NETWORK, **{**SMALL, "slices": 3}).transform(paths[:1])
    fire4, last = np.split(apart[0], [3 * 256])
    pooled = np.concatenate([fire4.reshape(3, 256).mean(axis=0), last.reshape(3, 512).mean(axis=0)])
    np.testing.assert_allclose(pooled, mean[0], rtol=1e-5, atol=1e-6)


# --- as scikit-learn wants it ---------------------------------------------------------------------------------


class OfNumbers(FeatureExtractor):
    """Says that it takes numbers, so that scikit-learn runs all its checks, also those that give it numbers."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


NO_IMAGES = "its X are numbers, which are no images: refused with a sentence of its own"
EXPECTED = {
    f"check_{name}": NO_IMAGES
    for name in (
        "fit_score_takes_y", "estimators_overwrite_params", "dont_overwrite_parameters",
        "estimators_fit_returns_self",
        "readonly_memmap_input", "n_features_in_after_fitting", "positive_only_tag_during_fit", "estimators_dtypes",
        "complex_data", "dtype_object", "estimators_empty_data_messages", "pipeline_consistency",
        "estimators_nan_inf", "estimator_sparse_tag", "estimator_sparse_array", "estimator_sparse_matrix",
        "estimators_pickle", "f_contiguous_array_estimator", "transformer_data_not_an_array", "transformer_general",
        "transformer_preserve_dtypes", "transformers_unfitted_stateless", "methods_sample_order_invariance",
        "methods_subset_invariance", "fit2d_1sample", "fit2d_1feature", "dict_unchanged", "fit_idempotent",
        "fit_check_is_fitted", "n_features_in", "fit2d_predict1d",
    )
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # those that the checks provoke
@pytest.mark.parametrize("kind, expected", [(FeatureExtractor, {}), (OfNumbers, EXPECTED)])
def test_scikit_learns_checks(kind, expected):
    """All pass where they apply; those that cannot are the listed ones, and no other."""
    told = check_estimator(kind(NETWORK, **SMALL), expected_failed_checks=expected, on_skip=None, on_fail=None)
    assert [one["check_name"] for one in told if one["status"] == "failed"] == []
    assert {one["check_name"] for one in told if one["status"] == "xfail"} == set(expected)
    assert len([one for one in told if one["status"] == "passed"]) >= (12 if expected else 1)


def test_tags_say_what_it_takes(extractor):
    tags = extractor.__sklearn_tags__()
    assert (tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string) == (True, False, True)
    assert not tags.requires_fit


def test_what_scikit_learn_would_check_on_images(extractor, paths):
    """Its checks give numbers; here are those that say something of images."""
    before = copy.deepcopy(extractor.get_params())
    X = extractor.transform(paths)  # unfitted: it has no state
    names = tuple(paths)
    assert extractor.fit(paths, y=None) is extractor
    np.testing.assert_array_equal(extractor.fit(paths).fit_transform(paths, range(6)), X)
    assert extractor.get_params() == before
    assert tuple(paths) == names  # X is left as it was
    order = [3, 0, 5]
    np.testing.assert_array_equal(extractor.transform([paths[at] for at in order]), X[order])
    np.testing.assert_array_equal(extractor.transform([paths[1], paths[1]]), X[[1, 1]])
    copied = pickle.loads(pickle.dumps(extractor))  # noqa: S301 - its own
    assert len(pickle.dumps(extractor)) < 5000  # without the network
    assert copied.get_params() == before
    np.testing.assert_array_equal(copied.transform(paths), X)
    other = clone(extractor).set_params(tap="fire4")
    assert not hasattr(other, "feature_sets_")
    assert other.transform(paths[:1]).shape == (1, 256)


def test_names_and_tables(extractor, paths):
    names = extractor.get_feature_names_out()
    assert names[0] == "squeezenet1_0.imagenet@random-0/axial/fire4/mean/0"
    assert len(names) == 768
    table = extractor.set_output(transform="pandas").transform(pd.Series(paths[:2], index=["a", "b"]))
    assert table.columns.tolist() == names.tolist()
    assert table.index.tolist() == ["a", "b"]


def test_in_a_pipeline_folds_do_not_extract_again(extractor, paths, runs, tmp_path):
    y = np.arange(6.0)
    whole = make_pipeline(extractor, StandardScaler(), Ridge())
    predicted = cross_val_predict(whole, paths, y, cv=3)
    assert sum(runs) == 6
    plain = make_pipeline(StandardScaler(), Ridge())
    np.testing.assert_allclose(predicted, cross_val_predict(plain, extractor.transform(paths), y, cv=3))
    joblib.dump(whole.fit(paths, y), tmp_path / "brain_age.joblib")
    np.testing.assert_allclose(joblib.load(tmp_path / "brain_age.joblib").predict(paths), whole.predict(paths))
    assert sum(runs) == 6


# --- what is kept ---------------------------------------------------------------------------------------------


def test_a_row_is_made_again_if_its_image_or_its_making_changes(extractor, paths, runs, tmp_path):
    here = tmp_path / "head.nii.gz"
    shutil.copy(paths[0], here)
    first = extractor.transform([here])
    shutil.copy(paths[1], here)
    np.testing.assert_array_equal(extractor.transform([str(here)]), extractor.transform(paths[1:2]))
    assert not np.array_equal(first, extractor.transform([here]))
    assert sum(runs) == 3
    clone(extractor).set_params(slices=2).transform([here])
    assert sum(runs) == 4
    image = nib.load(paths[0])
    extractor.transform([image, image, nib.load(paths[0])])
    assert sum(runs) == 5


def test_memory_is_shared_between_processes(extractor, paths, runs, tmp_path, monkeypatch):
    extractor.set_params(memory=str(tmp_path / "kept"))
    X = extractor.transform(paths[:2])
    kept = sorted((tmp_path / "kept").rglob("*"))
    assert [path.suffix for path in kept] == ["", ".npy", ".npy"]
    monkeypatch.setattr(rows, "_KEPT", type(rows._KEPT)())  # as in another process
    np.testing.assert_array_equal(extractor.transform(paths[:2]), X)
    assert sum(runs) == 2


def test_rows_in_memory_are_bounded(extractor, paths, runs, monkeypatch):
    monkeypatch.setattr(rows, "MOST_BYTES", 2 * 768 * 4)
    extractor.transform(paths[:3])
    assert len(rows._KEPT) == 2
    extractor.transform(paths[1:3])
    assert sum(runs) == 3
    extractor.transform(paths[:1])  # the oldest had gone
    assert sum(runs) == 4


def test_what_is_behind_a_url_is_not_known_again(paths):
    (item,) = items_of(["https://host/a.nii.gz"])
    assert stamp(item) == ""
    assert stamp(items_of(["nowhere.nii"])[0]) == ""
    assert stamp(items_of(paths[:1])[0])


# --- what is refused ------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_used_is_refused_by_its_sentence(extractor, heads, paths):
    with pytest.raises(ImageError, match=r"an image must be whole; .*sub-6_T1w.nii.gz ends before") as told:
        extractor.transform([*paths[:1], heads / "sub-6_T1w.nii.gz"])
    assert told.value.code == "truncated"


def test_a_row_of_nan_where_it_is_asked_for(extractor, heads, paths):
    extractor.set_params(on_error="nan")
    bad = heads / "sub-6_T1w.nii.gz"
    with pytest.warns(
        UserWarning, match="2 of 3 images have no features, and a row of NaN; the first: an image must be"
    ):
        X = extractor.transform([bad, paths[0], "nowhere.nii"])
    assert np.isnan(X[[0, 2]]).all()
    np.testing.assert_array_equal(X[1:2], extractor.transform(paths[:1]))


@pytest.mark.parametrize(
    "X, sentence",
    [
        ("a.nii", "got str; write \\[image\\] where there is one only"),
        (None, "got NoneType"),
        ([], "got none of them \\(0 samples\\)"),
        (pd.DataFrame({"path": []}), "got none of them \\(0 samples\\)"),
        (np.zeros((2, 3)), "got an array of shape \\(2, 3\\); choose the column that holds them"),
        ([1.5], "got 1.5 at place 0"),
        (["a.nii", ""], "got '' at place 1"),
        ([np.zeros((2, 2, 2))], "got ndarray at place 0"),
        (pd.Series(["a.nii", None]), "at place 1; give the path of an image there"),
    ],
)
def test_what_is_no_list_of_images(extractor, X, sentence):
    with pytest.raises(IndexingError, match="X must be a list of images: paths, .*" + sentence):
        extractor.fit(X)


class InMemory:
    """Voxels with an affine, as images of other libraries are."""

    def __init__(self, voxels, affine):
        self.dataobj, self.affine = voxels, affine


@pytest.mark.parametrize(
    "voxels, affine, code, sentence",
    [
        (np.zeros((2, 2, 2, 2)), np.eye(4), "not-3d", r"one 3D volume; image 0 of X has shape \(2, 2, 2, 2\)"),
        (
            np.zeros((2, 2, 2), complex),
            np.eye(4),
            "unsupported-format",
            "those of image 0 of X are of the type complex128",
        ),
        (np.zeros((2, 2, 2)), np.zeros((4, 4)), "bad-affine", "that of image 0 of X is"),
        (np.zeros((2, 2, 2)), np.eye(3), "bad-affine", "finite, invertible and 4 x 4"),
    ],
)
def test_an_image_in_memory_keeps_the_rules_of_a_file(voxels, affine, code, sentence):
    (item,) = items_of([InMemory(voxels, affine)])
    with pytest.raises(ImageError, match=sentence) as told:
        read_item(item)
    assert told.value.code == code


@pytest.mark.parametrize(
    "more, error, sentence",
    [
        ({"network": "nosuch"}, NetworkError, "'nosuch' is not"),
        ({"network": ["sfcn.ukb_age"]}, AnalysisError, r"an extractor must have one network; got \['sfcn.ukb_age'\]"),
        ({"on_error": "skip"}, AnalysisError, "what becomes of an image that cannot be used; 'skip' is no such word"),
        ({"batch_size": 0}, NetworkError, "a batch size must be auto, or a number of images"),
        ({"axis": "oblique"}, NetworkError, "'oblique' is of none of squeezenet1_0.imagenet"),
        ({"network": "squeezenet1_0.imagenet", "weights": "nowhere.pth"}, WeightsError, "nowhere.pth"),
        ({"accept": "anything"}, NetworkError, "'anything'"),
    ],
)
def test_parameters_of_no_use_are_refused_in_fit(extractor, paths, more, error, sentence):
    with pytest.raises(error, match=sentence):
        extractor.set_params(**more).fit(paths)
