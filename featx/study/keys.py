"""KEYS: what a study may say, table by table. Reading, help, `featx init` and the documentation are made of it.

A key that equals an option of a verb has that option's meaning and check: the study's calls are typed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXT, TEXTS, FLAG, ON = "text", "texts", "flag", "on"  # ON is a flag that is true without being said
WHOLE, NUMBER, NUMBERS = "whole", "number", "numbers"
FILE, FILES, SOURCES = "file", "files", "sources"
NAMED, NAMED_FILES, SETTINGS, GRIDS, HEADS = "named", "named files", "settings", "grids", "heads"

KINDS = {
    TEXT: "a text",
    TEXTS: "a list of texts",
    FLAG: "true or false",
    ON: "true or false",
    WHOLE: "a whole number",
    NUMBER: "a number",
    NUMBERS: "a number, a list of them, or a word",
    FILE: "a file's name",
    FILES: "a list of files' names",
    SOURCES: "a folder, a glob, a table of images, or a list of them",
    NAMED: "a table such as {NAME = 'text'}",
    NAMED_FILES: "a table such as {NAME = 'FILE'}",
    SETTINGS: "a table such as {NAME = VALUE}",
    GRIDS: "a table such as {HEAD = {PARAMETER = [VALUES]}}",
    HEADS: "true, or a list of heads of RUN/heads/",
}


@dataclass(frozen=True)
class Key:
    """One key of a study.

    Attributes
    ----------
    table : str
        "" for the keys that stand before all tables.
    name, kind : str
        The kind is one of `KINDS`.
    says : str
        What it means, in a few words.
    example : str
        A value as it stands in TOML; the default, where there is one.
    verbs : tuple of str
        Those that take it as an option.
    option : str
        "" for the key's own name.
    is_needed : bool
    """

    table: str
    name: str
    kind: str
    says: str
    example: str
    verbs: tuple[str, ...] = ()
    option: str = ""
    is_needed: bool = False

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return self.option or f"--{self.name.replace('_', '-')}"


_FITS, _ALL, _COMPARED = ("fit", "curve"), ("fit", "train", "curve"), ("fit", "train", "compare")
TABLES = {
    "": "The study. Files are named relative to this one.",
    "cohort": "Who, and their images.",
    "phenotypes": "What is predicted.",
    "networks": "Frozen networks, whose features are extracted into one file; the block may be repeated.",
    "features": "Features beside those of networks, and what is put side by side.",
    "heads": "What is fitted to features, in every fold (`featx heads` lists them).",
    "confounds": "What is held against the features, or removed.",
    "folds": "Who trains and who tests.",
    "statistics": "Intervals and p-values.",
    "arms": "Networks that train, on the same folds; the block may be repeated.",
    "curve": "Scores by the number of people who train.",
    "site": "Can the site be told from the features? What tells it may leak into every other answer.",
    "relevance": "Maps of where the network looks.",
    "compare": "Heads and arms against each other, where arms train.",
    "report": "The pages.",
}
REPEATED = ("networks", "arms")

KEYS = (
    Key("", "title", TEXT, "in a few words", '"What is asked"'),
    Key(
        "", "protocol", TEXT, "whose published numbers are drawn beside (`featx init --list`)",
        '"holderrieth2022"', ("report",),
    ),
    Key("", "output", TEXT, "the folder that is written; without it, named as this file", '"results"'),
    Key("", "jobs", WHOLE, "processes that fit; without it, one for each core", "2", _FITS),
    Key(
        "cohort", "images", SOURCES, "a folder, a glob, a table of images (.csv, taken as it is), or a list of these",
        '"BRAINS/"',
    ),
    Key(
        "cohort", "phenotypes", FILE, "the table of people (.csv, .tsv, .parquet, .xlsx)",
        '"participants.tsv"', is_needed=True,
    ),
    Key("cohort", "also", FILES, "further tables of the same people", '["qc/qc.csv"]', _ALL),
    Key("cohort", "where", TEXT, "who is analysed", '"age >= 40"', _ALL),
    Key("cohort", "site", TEXT, "the column of sites or scanners", '"site"', _ALL),
    Key("cohort", "group", TEXT, "a column that links people (families), who are never divided", '"family"', _ALL),
    Key("cohort", "age", TEXT, "the column of ages: scores by band of age", '"age"', ("fit", "train")),
    Key(
        "cohort", "id_pattern", TEXT, "regular expression that finds ids in paths",
        "'(?P<participant_id>sub-[^_/]+)'", ("index",),
    ),
    Key(
        "cohort", "file", TEXT, "which file of each folder or archive, as the end of its path",
        '"mri/norm.mgz"', ("index",),
    ),
    Key("cohort", "space", TEXT, "BIDS: images of this space", '"MNI152NLin6Asym"', ("index",)),
    Key("cohort", "desc", TEXT, "BIDS: images with this desc", '"brain"', ("index",)),
    Key("cohort", "suffix", TEXT, "BIDS: images with this suffix", '"T1w"', ("index",)),
    Key("cohort", "session", TEXT, "images of this session", '"ses-01"', ("index",)),
    Key("cohort", "entity", TEXTS, "BIDS: any other entity", '["res=2"]', ("index",)),
    Key(
        "phenotypes", "targets", TEXTS, "columns; a wildcard such as 'bone_*' for many",
        '["age", "sex"]', is_needed=True,
    ),
    Key(
        "phenotypes", "kinds", NAMED, "continuous, ordinal, binary or multiclass, where it is not to be inferred",
        '{age = "continuous"}', _ALL, "--kind",
    ),
    Key(
        "phenotypes", "correct_age", TEXTS, "targets that are ages: their bias is corrected, beside the raw numbers",
        '["age"]', ("fit",),
    ),
    Key(
        "networks", "name", TEXTS, "NAME, or NAME@random:0 for the same with random weights (`featx networks list`)",
        '["squeezenet1_0.imagenet", "squeezenet1_0.imagenet@random:0"]', ("extract",), "--network", is_needed=True,
    ),
    Key(
        "networks", "weights", NAMED, "a file, or random:SEED, reinit:SEED; without it, the official ones",
        '{"squeezenet1_0.imagenet" = "random:0"}', ("extract",),
    ),
    Key("networks", "tap", TEXTS, "where it is read: a tap, or all", '["all"]', ("extract",)),
    Key("networks", "axis", TEXTS, "sagittal, coronal, axial", '["axial"]', ("extract",)),
    Key("networks", "pool", TEXTS, "mean, max, std, concat, or slices (kept apart)", '["mean"]', ("extract",)),
    Key("networks", "slices", WHOLE, "slices along each axis", "32", ("extract",)),
    Key("networks", "size", NUMBERS, "edge of the slices in pixels, or native", "224", ("extract",)),
    Key("networks", "channels", TEXT, "replicate or neighbours", '"replicate"', ("extract",)),
    Key(
        "networks", "missing", TEXTS, "slices that are missing: none, drop:4, noise:4, ...",
        '["none", "drop:4"]', ("extract",),
    ),
    Key(
        "networks", "resample", FLAG, "resample volumes of another grid, not refuse them",
        "false", ("check", "extract"),
    ),
    Key(
        "networks", "accept", TEXTS, "misfits that are let through, knowingly",
        '["not-registered"]', ("check", "extract"),
    ),
    Key(
        "networks", "recipe", FILE, "of a network of your own, python:package.module:factory",
        '"own.toml"', ("check", "extract"),
    ),
    Key("networks", "device", TEXT, "auto, cpu or cuda", '"auto"', ("extract",)),
    Key("networks", "precision", TEXT, "auto, float32, tf32, float16 or bfloat16", '"auto"', ("extract",)),
    Key("networks", "batch_size", NUMBERS, "images per forward pass", '"auto"', ("extract",)),
    Key("networks", "gpus", NUMBERS, "GPUs of this machine, a process each: all, or 0,1", '"all"', ("extract",)),
    Key("features", "files", FILES, "feature files that were made elsewhere", '["features.h5"]'),
    Key(
        "features", "tables", NAMED_FILES, "tables of numbers (regional volumes) as feature sets",
        '{volumes = "volumes.tsv"}', _FITS, "--table",
    ),
    Key(
        "features", "use", TEXTS, "what is put side by side; without it, each network and each table",
        '["volumes", "all"]', _FITS, "--features",
    ),
    Key(
        "features", "aggregate", TEXT, "how slices that are kept apart become a row: mean, max, std, concat",
        '"mean"', _FITS,
    ),
    Key("heads", "use", TEXTS, "heads", '["ridge", "logistic"]', _FITS, "--head"),
    Key(
        "heads", "grid", GRIDS, "values to choose from, for an sklearn: head",
        '{"sklearn:svm.SVR" = {C = [0.1, 1, 10]}}', _FITS,
    ),
    Key("heads", "pca", NUMBER, "principal components first: how many, or their share of variance", "50", _FITS),
    Key("heads", "calibrate", TEXT, "probabilities: none, platt or isotonic", '"none"', _FITS),
    Key("heads", "class_weight", TEXT, "none or balanced", '"none"', _FITS),
    Key(
        "confounds", "use", TEXTS, "columns, or COLUMN:spline, :square, :category",
        '["brain_volume", "age:spline"]', _FITS, "--confound",
    ),
    Key(
        "confounds", "remove", TEXTS, "further arms with confounds removed from features, target, both",
        '["both"]', _FITS,
    ),
    Key("confounds", "harmonise", TEXT, "none or combat, which needs a site", '"none"', _FITS),
    Key("confounds", "preserve", TEXTS, "confounds whose effect ComBat keeps", '["age"]', _FITS),
    Key("folds", "scheme", TEXT, "kfold, or site: leave one site out", '"kfold"', _ALL),
    Key("folds", "n", WHOLE, "outer folds", "10", ("fit", "train"), "--folds"),
    Key("folds", "inner", WHOLE, "inner folds, which choose and validate", "5", _ALL, "--inner-folds"),
    Key("folds", "repeats", WHOLE, "repeats with other folds", "1", ("fit", "train")),
    Key("folds", "seed", WHOLE, "of folds and draws", "0", _ALL),
    Key("folds", "stratify", TEXT, "target, none or a column", '"target"', ("fit", "train")),
    Key("folds", "by_site", FLAG, "stratify by site as well", "false", ("fit", "train")),
    Key("folds", "splits", FILE, "splits.csv of another run: the very same folds", '"splits.csv"', _ALL),
    Key("folds", "split_column", TEXT, "a column of train and test, or of folds", '"fold"', _ALL),
    Key("folds", "test_where", TEXT, "the test cohort; all others train", "\"cohort == 'OASIS'\"", _ALL),
    Key("statistics", "bootstrap", WHOLE, "draws of people for the 95 % intervals", "2000", _COMPARED),
    Key("statistics", "permutations", WHOLE, "permuted targets, for p-values", "1000", ("fit",)),
    Key("arms", "network", TEXT, "NAME or NAME@WEIGHTS", '"sfcn_4mm.synthetic"', ("train",), is_needed=True),
    Key(
        "arms", "arm", TEXTS, "head-only, two-stage, full, scratch, reinit, wrong-label",
        '["full", "scratch"]', ("train",),
    ),
    Key("arms", "targets", TEXTS, "those of [phenotypes] that it is trained for; without it, all", '["age"]'),
    Key("arms", "seeds", NUMBERS, "how many seeds, or which", "5", ("train",)),
    Key("arms", "recipe", TEXT, "numbers of a published work", '"fine-tune"', ("train",)),
    Key("arms", "epochs", WHOLE, "at most", "50", ("train",)),
    Key("arms", "set", SETTINGS, "other numbers than the recipe's", '{"augmentation.noise" = 0.1}', ("train",)),
    Key("arms", "learning_rate", NUMBER, "of every phase", "0.001", ("train",)),
    Key("arms", "batch_size", WHOLE, "images of one step", "8", ("train",)),
    Key("arms", "patience", WHOLE, "epochs without a better validation loss", "20", ("train",)),
    Key("arms", "dropout", NUMBER, "before the last layer", "0.5", ("train",)),
    Key("arms", "weights", TEXT, "official, or a file", '"official"', ("train",)),
    Key("arms", "tap", TEXT, "where the network is read", '"features"', ("train",)),
    Key("arms", "axis", TEXT, "for networks on slices", '"sagittal"', ("train",)),
    Key("arms", "slices", WHOLE, "instead of the network's number", "32", ("train",)),
    Key("arms", "size", NUMBERS, "edge of the slices in pixels", "224", ("train",)),
    Key("arms", "channels", TEXT, "replicate or neighbours", '"replicate"', ("train",)),
    Key(
        "arms", "missing", TEXTS, "test people with slices missing, too: drop:4, noise:4, ...",
        '["drop:4"]', ("train",),
    ),
    Key("arms", "aggregation", TEXT, "slices to a row: mean, max or attention", '"mean"', ("train",)),
    Key("arms", "positions", FLAG, "learn a vector per slice position", "false", ("train",)),
    Key("arms", "network_recipe", FILE, "of a network of your own", '"own.toml"', ("train",)),
    Key("arms", "batch_norm", TEXT, "eval or adapt, of a network that stands still", '"eval"', ("train",)),
    Key("arms", "balance", TEXT, "none, weights or sampling, of those who train", '"none"', ("train",)),
    Key("arms", "together", FLAG, "one network for all targets", "false", ("train",)),
    Key("arms", "loss_weight", SETTINGS, "of targets in the loss of one network", "{age = 1.0}", ("train",)),
    Key("arms", "keep", ON, "train one more on all who train, and keep it", "true", ("train",)),
    Key("arms", "resample", FLAG, "resample volumes of another grid", "false", ("train",)),
    Key("arms", "accept", TEXTS, "misfits that are let through", '["not-registered"]', ("train",)),
    Key("arms", "device", TEXT, "auto, cpu or cuda", '"auto"', ("train",)),
    Key("arms", "precision", TEXT, "auto, 32-true, bf16-mixed or 16-mixed", '"auto"', ("train",)),
    Key("arms", "accumulate", WHOLE, "parts that each batch is run in", "1", ("train",)),
    Key("arms", "checkpointing", FLAG, "less memory, slower", "false", ("train",)),
    Key("arms", "devices", WHOLE, "GPUs for one network", "1", ("train",)),
    Key("arms", "jobs", WHOLE, "networks that train at a time", "1", ("train",)),
    Key("curve", "n", NUMBERS, "people who train, or their shares", "[50, 100, 200]", ("curve",), is_needed=True),
    Key("curve", "draws", WHOLE, "draws of people, for each number", "20", ("curve",)),
    Key("curve", "with_replacement", FLAG, "draw with replacement", "false", ("curve",)),
    Key("curve", "test_share", NUMBER, "share of people who test", "0.2", ("curve",)),
    Key("site", "check", FLAG, "predict [cohort] site from the features", "true"),
    Key(
        "relevance", "heads", HEADS, "true: the best head of each target; or names in run/heads/",
        "true", is_needed=True,
    ),
    Key("relevance", "people", WHOLE, "images that are averaged", "20", ("relevance",)),
    Key("relevance", "method", TEXT, "gradient or occlusion", '"gradient"', ("relevance",)),
    Key("relevance", "show", TEXT, "of a gradient: signed, absolute or times-input", '"signed"', ("relevance",)),
    Key("relevance", "patch", TEXT, "edge of the cubes that are occluded", '"12mm"', ("relevance",)),
    Key("relevance", "smooth", TEXT, "width of the Gaussian that maps are smoothed by", '"8mm"', ("relevance",)),
    Key("relevance", "sanity", FLAG, "through random weights, too; twice the time", "false", ("relevance",)),
    Key("compare", "reference", TEXT, "the arm that the answer is about", '"ridge on volumes"', ("compare",)),
    Key("compare", "volumes", TEXTS, "features that count as volumes", '["volumes"]', ("compare",)),
    Key("compare", "margin", SETTINGS, "differences that count as none, by target", "{age = 0.5}", ("compare",)),
    Key("report", "qc", TEXT, "a folder of `featx qc`: slices of who is predicted worst", '"qc"', ("report",)),
    Key("report", "privacy", FLAG, "without ids and small cells", "false", ("report", "compare")),
    Key("report", "least", WHOLE, "people in the smallest cell that is shown with privacy", "10", ("report",)),
)  # fmt: skip


def keys_of(table: str) -> dict[str, Key]:
    """The keys of a table by name, in their order.

    Examples
    --------
    >>> list(keys_of("site")), keys_of("folds")["n"].flag
    (['check'], '--folds')
    """
    return {key.name: key for key in KEYS if key.table == table}
