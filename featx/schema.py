"""The name of every stored thing: HDF5 groups and attributes, table columns, reason codes. Nothing else names them.

A feature file (``features.h5``) holds one group per **feature set**, which is what one network, read at one tap
and pooled one way, says of every image::

    /sets/<name>/features        float32 (n_images, n_features)   rows in the order of image_id
                                 of the pooling "slices": (n_images, n_slices, n_features)
    /sets/<name>/image_id        utf-8   (n_images,)              sorted, unique
    /sets/<name>/participant_id  utf-8   (n_images,)
    /sets/<name>/session_id      utf-8   (n_images,)              "" where there is none
    /sets/<name> attributes      PROVENANCE, its digest under `KEY`, that of the three id columns under `IDS_SHA256`
    /failures/<column>           utf-8   (n_failures,)            the columns of FAILURES
    /accepted/<column>           utf-8   (n_accepted,)            the same, of misfits that were let through
    /jobs/<column>               utf-8   (n_jobs,)                the columns of JOBS: who wrote it, and of what

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
ACCEPTED_GROUP = "accepted"
JOBS_GROUP = "jobs"
FEATURES = "features"
IMAGE_ID = "image_id"
PARTICIPANT_ID = "participant_id"
SESSION_ID = "session_id"
KEY = "key"
IDS_SHA256 = "ids_sha256"

PROVENANCE = (
    Column("network", "text", "name in the table of networks"),
    Column(
        "weights",
        "text",
        "official, random:SEED, file:NAME, factory, or reinit:SEED of one of them",
    ),
    Column("weights_sha256", "text", "sha256 of the tensors that were loaded, names included"),
    Column("recipe", "text", "the steps from volume to tensor, as JSON"),
    Column("recipe_digest", "text", "sha256 of `recipe`"),
    Column("view", "text", "the axis that was sliced (axial~drop4: slices are missing), or 'volume'"),
    Column("tap", "text", "the place in the network that was read"),
    Column("pooling", "text", "how the tap became a row"),
    Column("precision", "text", "arithmetic of the network: float32, tf32, float16 or bfloat16 (autocast)"),
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
    Column("path", "text", "the file or archive, absolute or relative to the table's folder; or a URL"),
    Column("member", "text", "the file inside an archive; empty for a plain file"),
    Column("mask", "text", "a brain mask on the same grid that is applied on reading; empty where there is none"),
)

# `featx index`: everybody who is in the index, in the tree it was made from, or in its participants.tsv.
OVERVIEW = (
    Column(PARTICIPANT_ID, "text", "named as in the images, else as in the tree, else as in participants.tsv"),
    Column("n_images", "int", "0 for a participant without an image"),
    Column("sessions", "text", "those of the images, separated by spaces"),
    Column("modalities", "text", "BIDS suffixes of all image files that the tree holds, separated by spaces"),
    Column("listed", "text", "yes or no: whether participants.tsv has a row; empty where there is none"),
    Column("same_as", "text", "image_id of other images that are the same file, or hold the same bytes"),
)

FAILURES = (
    Column(IMAGE_ID, "text", "the image"),
    Column("network", "text", "the network (with its weights) that has no row for it; empty before any network"),
    Column("step", "text", "index, read, check, recipe, network or store"),
    Column("code", "text", "a key of REASONS"),
    Column("sentence", "text", "what must be how, what was got, where, what to do"),
)

# Who extracted into a feature file, for `featx status`; no part of any key.
JOBS = (
    Column("writer", "text", "host, process and chance"),
    Column("asked", "text", "sha256 of the ids that it was asked for, and of the sets"),
    Column("started", "text", "seconds since 1970"),
    Column("last", "text", "its last sign of life, seconds since 1970"),
    Column("record", "text", "all that it told, as JSON: see featx.extraction.record"),
)

# `featx check`: what fits whom, and what was measured (see featx.images.findings).
CHECKS = (
    Column(IMAGE_ID, "text", "the image"),
    Column("network", "text", "whose contract it was held against; empty where none was named"),
    Column("fits", "text", "yes or no"),
    Column("code", "text", "a key of REASONS: why it does not fit; else what should be known; empty where nothing"),
    Column("sentence", "text", "what must be how, what was got, where, what to do"),
    Column("also", "text", "further codes, separated by spaces"),
    Column("orientation", "text", "directions towards which the voxel axes grow"),
    Column("shape", "text", "voxels along them"),
    Column("voxel_mm", "text", "edges of a voxel"),
    Column("zeros", "float", "share of voxels that are exactly 0"),
    Column("low", "float", "smallest voxel"),
    Column("high", "float", "largest voxel"),
    Column("bright", "float", "90th percentile of the voxels above 0"),
    Column("at_top", "float", "share of the voxels above 0 that have the largest value"),
    Column("below", "float", "share of the voxels that are not near 0 which lie below it"),
    Column("of_one_value", "float", "share of what is brighter than a tenth of bright tissue that has one value"),
    Column("litres", "float", "volume of what is brighter than a tenth of bright tissue"),
    Column("outside", "float", "share of the space far outside the template's brain that is not dark"),
    Column("overlap", "float", "share of it in the part of the template's brain of the same volume"),
    Column("likeness", "float", "correlation with the template's grey values"),
    Column("offset_mm", "float", "from the centre of the template's brain"),
)

# `featx qc`: numbers to compare images of one study by (see featx.images.quality and featx.analysis.outliers).
QUALITY = (
    Column(IMAGE_ID, "text", "the image"),
    Column(PARTICIPANT_ID, "text", ""),
    Column(SESSION_ID, "text", "empty where there is none"),
    Column("rank", "int", "1 for the image that is furthest on the worse side of the others"),
    Column("outlier", "float", "how far, in robust standard deviations of all images"),
    Column("worst_by", "text", "the number by which it is; empty where none is on the worse side"),
    Column("snr", "float", "white matter over the noise in it"),
    Column("cnr", "float", "white from grey matter: difference of means over the spread within"),
    Column("efc", "float", "entropy focus criterion, 0 to 1: ghosts and blur raise it"),
    Column("fber", "float", "energy of the foreground over that of the air; empty where the air was set to 0"),
    Column("sharpness", "float", "Laplacian over gradient without the share of noise, per mm: blur lowers it"),
    Column("litres", "float", "volume of what is brighter than a tenth of bright tissue"),
    Column("outside", "float", "share of the space far outside the template's brain that is not dark"),
    Column("overlap", "float", "share of the bright volume in the part of the template's brain of the same volume"),
    Column("likeness", "float", "correlation with the template's grey values"),
    Column("offset_mm", "float", "from the centre of the template's brain"),
    Column("p05", "float", "5th percentile of the foreground, in grey values of the image"),
    Column("p50", "float", "median of the foreground"),
    Column("p95", "float", "95th percentile of the foreground"),
    Column(
        "feature_distance",
        "float",
        "from the others in features of a network, in robust standard deviations beyond the usual (about 0); of one "
        "feature ten count at most, and with fewer than five images per feature it may miss unusual combinations",
    ),
    Column("feature_rank", "int", "1 for the largest distance"),
)

# `featx prepare`: brains that are ready for `featx check` and `featx extract`, which take this table.
PREPARED = (
    Column(IMAGE_ID, "text", "the image"),
    Column(PARTICIPANT_ID, "text", ""),
    Column(SESSION_ID, "text", "empty where there is none"),
    Column("run", "text", "empty where there is none"),
    Column("path", "text", "the prepared brain, absolute"),
    Column("extraction", "text", "template (found in the head), given mask, or none: a brain already"),
    Column("dice", "float", "overlap of the brain's mask with the template's, on the 2 mm grid"),
    Column("overlap", "float", "share of the bright volume in the part of the template's brain of the same volume"),
    Column("likeness", "float", "correlation with the template's grey values"),
    Column("litres", "float", "volume of what is brighter than a tenth of bright tissue, after registration"),
    Column("scale", "float", "length in the template per length in the image, over all directions"),
    Column("elapsed_s", "float", "seconds that it took"),
)

EXCLUSIONS = (
    Column("target", "text", "the phenotype; empty where the person is left out of all"),
    Column(IMAGE_ID, "text", "empty for a person without an image"),
    Column(PARTICIPANT_ID, "text", ""),
    Column("code", "text", "a key of REASONS"),
    Column("sentence", "text", ""),
)

SPLITS = (
    Column("target", "text", "the phenotype; '*' for folds that all targets share"),
    Column(IMAGE_ID, "text", ""),
    Column(PARTICIPANT_ID, "text", ""),
    Column("repeat", "int", "from 0"),
    Column("fold", "int", "the outer fold in which this image is test, from 0; -1 where it only trains"),
)

# What the people of a run are shown and drawn by, where it was told a column of sites, ages or groups.
PEOPLE = (
    Column(IMAGE_ID, "text", "every image that has a row in the phenotype table"),
    Column(PARTICIPANT_ID, "text", ""),
    Column("site", "text", "empty where it is not known"),
    Column("age", "float", "in the unit of its column; empty where it is not known"),
    Column("group", "text", "what folds and draws of people keep whole, such as a family; empty without groups"),
)

SHARED = "*"  # in the column target: the folds of all targets

# What an arm is: these three columns stand in every table that tells of arms.
_ARM = (
    Column("features", "text", "the feature sets that were used; '-' for none"),
    Column("head", "text", "key of HEADS, 'baseline', or an arm that trains (key of ARMS)"),
    Column("confounds", "text", "ignored, only, added, or removed from: features, target, both"),
)

# A run holds predictions/TARGET.csv. Columns of numbers may follow: PROBABILITY + level for classes, CONFOUND_PART
# where the target was residualised, CORRECTED + method where age bias was corrected.
PREDICTIONS = (
    *_ARM,
    Column(IMAGE_ID, "text", ""),
    Column(PARTICIPANT_ID, "text", ""),
    Column(SESSION_ID, "text", ""),
    Column("repeat", "int", "from 0"),
    Column("fold", "int", "the outer fold in which this image was test"),
    Column("observed", "text", "the phenotype: a number in its own unit, or a level"),
    Column("predicted", "text", "out-of-fold prediction: a number in the same unit, or the likeliest level"),
)
# A network that was trained adds these; they are empty in rows of others, such as the baseline.
TRAINED = (
    Column("arm", "text", "key of ARMS in featx.training.arms; the head's name as well"),
    Column(
        "seed",
        "float",
        "a whole number; repeats count seeds: repeat r of the folds with the s-th seed of S is r * S + s",
    ),
    Column("epoch", "float", "the epoch whose weights were kept, from 0"),
)
# How networks learned: a row per fit, phase and epoch.
TRAINING_CURVES = (
    Column("target", "text", "the phenotype, or those of one network, joined by '+'"),
    Column("arm", "text", "key of ARMS in featx.training.arms"),
    Column("repeat", "int", "as in the predictions: folds and seeds"),
    Column("fold", "int", "the fold that tests; -1 of the network that is kept, which trains on all who train"),
    Column("seed", "int", ""),
    Column("phase", "text", "output (the last layer trains) or all"),
    Column("epoch", "int", "from 0"),
    Column("train_loss", "float", "weighted sum over outputs, each the mean over labels; while the epoch went on"),
    Column("validation_loss", "float", "the same of the validation people, after the epoch"),
    Column("learning_rate", "float", "of the epoch"),
)
PROBABILITY = "probability_"
CORRECTED = "corrected_"
CONFOUND_PART = "confound_part"

SCORES = (
    Column("target", "text", "the phenotype"),
    Column("kind", "text", "continuous, ordinal, binary or multiclass"),
    *_ARM,
    Column("metric", "text", "key of METRICS in featx.analysis.inference.metrics"),
    Column("value", "float", "over all out-of-fold predictions of a repeat together; mean over repeats"),
    Column("low", "float", "lower end of the 95 % interval (bootstrap over people, groups kept whole)"),
    Column("high", "float", "upper end of it"),
    Column("baseline", "float", "the same metric of the baseline; empty where it is not defined"),
    Column("n", "int", "images that were scored"),
    Column("n_people", "int", "people behind them"),
)

COMPARISONS = (
    Column("target", "text", "the phenotype"),
    Column(
        "question",
        "text",
        "'features' (a against b), 'gain over confounds' (with features, without), 'over the baseline'",
    ),
    Column("features_a", "text", ""),
    Column("features_b", "text", ""),
    Column("head", "text", ""),
    Column("confounds_a", "text", ""),
    Column("confounds_b", "text", ""),
    Column("metric", "text", ""),
    Column("value_a", "float", ""),
    Column("value_b", "float", ""),
    Column("difference", "float", "how much better a is than b, on the same people and folds"),
    Column("low", "float", "95 % interval, by paired bootstrap over people"),
    Column("high", "float", ""),
    Column("better", "text", "a, b, or empty where the interval holds 0"),
    Column("p_bootstrap", "float", "two-sided"),
    Column("p_corrected_t", "float", "corrected resampled t-test over folds (Nadeau & Bengio 2003)"),
    Column("p_delong", "float", "for AUC of two classes, one image per person (DeLong 1988); first repeat"),
    Column("effect", "float", "Cohen's d of paired absolute errors, for numbers; positive where a errs less"),
    Column("q", "float", "p_corrected_t after Benjamini & Hochberg, over the targets of the same comparison"),
)

PERMUTATIONS = (
    Column("target", "text", "the phenotype"),
    *_ARM,
    Column("metric", "text", ""),
    Column("value", "float", "of ridge on the real target; classes are coded -1 and 1"),
    Column("null_mean", "float", "mean over the permuted targets"),
    Column("null_high", "float", "the best of 95 % of them"),
    Column("p", "float", "(1 + permuted targets that do as well) / (1 + permuted targets)"),
    Column("q", "float", "after Benjamini & Hochberg, over the targets"),
    Column("n_permutations", "int", ""),
)

BREAKDOWNS = (
    Column("target", "text", "the phenotype"),
    *_ARM,
    Column("by", "text", "'site', 'age', 'age-matched', 'calibration' (Cox's recalibration), or 'worst predicted'"),
    Column("label", "text", "the site, the band of age, the people who are left, or the image"),
    Column("metric", "text", ""),
    Column("value", "float", "empty where it is undefined"),
    Column("low", "float", ""),
    Column("high", "float", ""),
    Column("n", "int", "images"),
    Column("n_people", "int", ""),
)

AGE_BIAS = (
    Column("target", "text", "the phenotype, an age"),
    *_ARM,
    Column("correction", "text", "raw, cole or beheshti; after beheshti no metric is a measure of accuracy"),
    Column("metric", "text", "mae, r, or delta_r: correlation of (prediction - age) with age, the bias"),
    Column("value", "float", ""),
    Column("low", "float", ""),
    Column("high", "float", ""),
    Column("slope", "float", "of prediction on age among training people, mean over folds"),
)

CURVE = (
    Column("target", "text", "the phenotype"),
    Column("kind", "text", ""),
    *_ARM,
    Column("n_train", "int", "people who were drawn to train, or groups where families are kept whole"),
    Column("n_images", "int", "their images, each draw counted"),
    Column("n_test", "int", "test images, the same for every point"),
    Column("draw", "int", "from 0; the same people for all features and heads"),
    Column("metric", "text", ""),
    Column("value", "float", "on the test people"),
)

RUN_JSON = "run.json"
SPLITS_CSV = "splits.csv"
SCORES_CSV = "scores.csv"
COMPARISONS_CSV = "comparisons.csv"
PERMUTATIONS_CSV = "permutations.csv"
BREAKDOWNS_CSV = "breakdowns.csv"
AGE_BIAS_CSV = "age_bias.csv"
EXCLUSIONS_CSV = "exclusions.csv"
FAILURES_CSV = "failures.csv"
PEOPLE_CSV = "people.csv"
PREDICTIONS_DIR = "predictions"
HEADS_DIR = "heads"
REPORT_HTML = "report.html"
TRAINING_JSON = "training.json"
TRAINING_CURVES_CSV = "training_curves.csv"
NETWORKS_DIR = "networks"
STUDY_TOML, CITATIONS_BIB, METHODS_MD = "study.toml", "citations.bib", "methods.md"
FIGURES_DIR, RELEVANCE_DIR = "figures", "relevance"
CURVE_CSV = "curve.csv"
CURVE_JSON = "curve.json"
PREPARED_CSV = "prepared.csv"
QC_CSV = "qc.csv"
QC_HTML = "index.html"
QC_PICTURES_DIR = "pictures"

# --- why something is missing ---------------------------------------------------------------------------------

REASONS = {
    # images
    "missing-file": "the file is not there or may not be read",
    "missing-member": "the archive does not hold the file",
    "remote": "the file could not be fetched from its URL",
    "mask-mismatch": "the brain mask does not lie on the grid of its image",
    "unsupported-format": "the file's name ends in nothing that featx reads, or its voxels are no plain numbers",
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
    "background-not-zero": "what lies outside the brain has one value, and that is not 0",
    "standardised": "many voxels lie below 0: grey values were standardised before",
    "not-a-scan": "much of the brain has one value: a mask, labels, or a scan that is cut off",
    "not-skull-stripped": "more is bright than a brain: its skull, mostly",
    "too-little-brain": "less is bright than a whole brain",
    "not-registered": "the brain does not lie where the template's brain lies",
    "wrong-range": "grey values are not in the range that the recipe takes for granted",
    "smaller-than-template": "the brain lies right and is not scaled to the template (no misfit)",
    "clipped": "many voxels have the largest value: bright tissue may be cut off (no misfit)",
    "hot-voxels": "the largest voxel is far brighter than tissue (no misfit)",
    "negative-values": "some voxels lie below 0 (no misfit)",
    "out-of-memory": "one image alone does not fit the device",
    "non-finite-features": "the network's answer is NaN or infinite",
    "network-error": "the network failed on this image",
    "worker-died": "the process that read the image died, twice when it read it alone",
    "not-prepared": "bias correction, brain extraction or registration failed",
    "not-written": "what was made of the image could not be written",
    "unexpected": "something featx did not foresee; the sentence quotes it",
    # people and phenotypes
    "no-phenotype": "the image's participant is not in the phenotype table",
    "no-image": "the participant has no features",
    "missing-features": "the image is in some of the feature sets that were asked for, not in all",
    "missing-value": "the phenotype is empty for this person",
    "diverged": "the loss of a network in training became infinite or no number",
    "unknown-target": "the phenotype table has no such column",
    "all-missing": "no matched person has a value",
    "constant-target": "all matched people have one value",
    "too-few-people": "fewer people, or fewer in a class, than folds",
    "not-a-number": "a phenotype of numbers holds text",
    "too-many-classes": "a phenotype of text has more levels than a class has use for",
    "non-finite-target": "a phenotype holds an infinity",
    "wrong-kind": "the kind, or every head that was asked for, does not suit the phenotype",
    "filtered": "the person does not meet the condition of --where",
    "missing-confound": "a confound, site or group is empty for this person",
    "collinear-confound": "a confound is determined by the others, or by the site",
    "constant-confound": "a confound has one value",
    "too-few-sites": "there is one site only",
    "site-too-small": "a site has one person to train on, which says nothing of its spread",
    "divided-group": "the folds that were given divide a group",
    "not-in-splits": "the table or column of splits says nothing of this image",
    "target-in-features": "the phenotype is a column of the table that it would be predicted from",
    "unfitted": "a head could not be fitted to the phenotype",
    "wrong-confound": "a confound holds something that is no number, or an infinity",
}
