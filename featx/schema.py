"""The name of every stored thing: HDF5 groups and attributes, table columns, reason codes. Nothing else names them.

A feature file (``features.h5``) holds one group per **feature set**, which is what one network, read at one tap
and pooled one way, says of every image::

    /sets/<name>/features        float32 (n_images, n_features)   rows in the order of image_id
    /sets/<name>/image_id        utf-8   (n_images,)              sorted, unique
    /sets/<name>/participant_id  utf-8   (n_images,)
    /sets/<name>/session_id      utf-8   (n_images,)              "" where there is none
    /sets/<name> attributes      PROVENANCE, its digest under `KEY`, that of the three id columns under `IDS_SHA256`
    /failures/<column>           utf-8   (n_failures,)            the columns of FAILURES

``<name>`` is ``network[@weights]/view/tap/pooling``, such as ``squeezenet1_0.imagenet/axial/fire5/mean`` or
``sfcn.ukb_age@random-0/volume/features/mean``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a stored table, or one attribute of a feature set.

    Attributes
    ----------
    name : str
        As it is written.
    dtype : str
        "text", "int" or "float".
    meaning : str
        What it says, with its unit.
    """

    name: str
    dtype: str
    meaning: str


def names(columns: tuple[Column, ...]) -> list[str]:
    """Names of columns, in their stored order.

    Examples
    --------
    >>> names(FAILURES)[:2]
    ['image_id', 'network']
    """
    return [column.name for column in columns]


# --- the feature file -----------------------------------------------------------------------------------------

FORMAT = "featx-features"
FORMAT_VERSION = 1
SETS = "sets"
FAILURES_GROUP = "failures"
FEATURES = "features"
IMAGE_ID = "image_id"
PARTICIPANT_ID = "participant_id"
SESSION_ID = "session_id"
KEY = "key"
IDS_SHA256 = "ids_sha256"

PROVENANCE = (
    Column("network", "text", "name in the table of networks"),
    Column("weights", "text", "what was asked for: official, random:SEED, or file:NAME"),
    Column("weights_sha256", "text", "sha256 of the tensors that were loaded, names included"),
    Column("recipe", "text", "the steps from volume to tensor, as JSON"),
    Column("recipe_digest", "text", "sha256 of `recipe`"),
    Column("view", "text", "the axis that was sliced, or 'volume'"),
    Column("tap", "text", "the place in the network that was read"),
    Column("pooling", "text", "how the tap became a row"),
    Column("precision", "text", "arithmetic of the network: float32"),
    Column("versions", "text", "featx, torch, torchvision, numpy, nibabel, as JSON; not part of the key"),
)
# What makes two feature sets comparable. Versions are told, but a patch release of numpy is no other feature.
# Nor is a file of weights under another name: their sha256 is in the key.
KEY_FIELDS = tuple(name for name in names(PROVENANCE) if name not in ("weights", "versions"))

# --- tables ---------------------------------------------------------------------------------------------------

IMAGES = (
    Column(IMAGE_ID, "text", "participant_id, then session_id and run where there are any, joined by '_'"),
    Column(PARTICIPANT_ID, "text", "BIDS: sub-..."),
    Column(SESSION_ID, "text", "BIDS: ses-...; empty where there is none"),
    Column("run", "text", "BIDS: run-...; empty where there is none"),
    Column("path", "text", "the file, absolute or relative to the table's folder"),
    Column("member", "text", "the file inside an archive; empty for a plain file"),
)

FAILURES = (
    Column(IMAGE_ID, "text", "the image"),
    Column("network", "text", "the network (with its weights) that has no row for it; empty before any network"),
    Column("step", "text", "index, read, check, recipe, network or store"),
    Column("code", "text", "a key of REASONS"),
    Column("sentence", "text", "what must be how, what was got, where, what to do"),
)

EXCLUSIONS = (
    Column("target", "text", "the phenotype; empty where the person is left out of all"),
    Column(IMAGE_ID, "text", "empty for a person without an image"),
    Column(PARTICIPANT_ID, "text", ""),
    Column("code", "text", "a key of REASONS"),
    Column("sentence", "text", ""),
)

SPLITS = (
    Column("target", "text", "the phenotype"),
    Column(IMAGE_ID, "text", ""),
    Column(PARTICIPANT_ID, "text", ""),
    Column("fold", "int", "the outer fold in which this image is test, from 0"),
)

# A run holds predictions/TARGET.csv; for classes, one column PROBABILITY + level follows per level.
PREDICTIONS = (
    Column("features", "text", "the feature sets that were used; '-' for the baseline"),
    Column("head", "text", "key of HEADS, or 'baseline'"),
    Column(IMAGE_ID, "text", ""),
    Column(PARTICIPANT_ID, "text", ""),
    Column(SESSION_ID, "text", ""),
    Column("fold", "int", "the outer fold in which this image was test"),
    Column("observed", "text", "the phenotype: a number in its own unit, or a level"),
    Column("predicted", "text", "out-of-fold prediction: a number in the same unit, or the likeliest level"),
)
PROBABILITY = "probability_"

SCORES = (
    Column("target", "text", "the phenotype"),
    Column("kind", "text", "continuous, binary or multiclass"),
    Column("features", "text", "the feature sets that were used; '-' for the baseline"),
    Column("head", "text", "key of HEADS, or 'baseline'"),
    Column("metric", "text", "key of METRICS in featx.analysis.inference.scores"),
    Column("value", "float", "over all out-of-fold predictions together"),
    Column("low", "float", "lower end of the 95 % interval (bootstrap over people)"),
    Column("high", "float", "upper end of it"),
    Column("baseline", "float", "the same metric of the baseline; empty where it is not defined"),
    Column("n", "int", "images that were scored"),
)

RUN_JSON = "run.json"
SPLITS_CSV = "splits.csv"
SCORES_CSV = "scores.csv"
EXCLUSIONS_CSV = "exclusions.csv"
FAILURES_CSV = "failures.csv"
PREDICTIONS_DIR = "predictions"
HEADS_DIR = "heads"
REPORT_HTML = "report.html"

# --- why something is missing ---------------------------------------------------------------------------------

REASONS = {
    # images
    "missing-file": "the file is not there or may not be read",
    "unsupported-format": "the file's name ends in nothing that featx reads",
    "unreadable": "the file is not what its name says",
    "truncated": "the file ends before its data do",
    "not-3d": "the image has several frames, or fewer than three axes",
    "bad-affine": "the header's affine is singular or not finite",
    "unknown-orientation": "the header says nothing of the image's orientation",
    "non-finite": "voxels are NaN or infinite",
    "constant": "all voxels have one value",
    "wrong-grid": "shape or voxel size is not what the network wants",
    "wrong-place": "the grid lies elsewhere in the space than the network wants",
    "oblique": "the voxel axes do not run along the axes of the space",
    "out-of-memory": "one image alone does not fit the device",
    "non-finite-features": "the network's answer is NaN or infinite",
    "network-error": "the network failed on this image",
    "unexpected": "something featx did not foresee; the sentence quotes it",
    # people and phenotypes
    "no-phenotype": "the image's participant is not in the phenotype table",
    "no-image": "the participant has no features",
    "missing-features": "the image is in some of the feature sets that were asked for, not in all",
    "missing-value": "the phenotype is empty for this person",
    "unknown-target": "the phenotype table has no such column",
    "all-missing": "no matched person has a value",
    "constant-target": "all matched people have one value",
    "too-few-people": "fewer people, or fewer in a class, than folds",
    "not-a-number": "a phenotype of numbers holds text",
    "too-many-classes": "a phenotype of text has more levels than a class has use for",
    "non-finite-target": "a phenotype holds an infinity",
    "wrong-kind": "the kind, or every head that was asked for, does not suit the phenotype",
}
