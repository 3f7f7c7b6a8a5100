"""The columns of what `featx compare` writes, and its files. What is not of runs alone has its names here."""

from __future__ import annotations

from featx.schema import Column

COMPARE_JSON = "compare.json"
RANKING_CSV = "ranking.csv"
DIFFERENCES_CSV = "differences.csv"
MEAN_RANKS_CSV = "mean_ranks.csv"
CURVES_CSV = "curves.csv"
CROSSINGS_CSV = "crossings.csv"
COSTS_CSV = "costs.csv"
COMPARE_HTML = "compare.html"

RANKING = (
    Column("target", "text", "the phenotype"),
    Column("kind", "text", "continuous, ordinal, binary or multiclass"),
    Column("rank", "int", "1 for the best by the first metric of the kind"),
    Column("arm", "text", "its name in this comparison"),
    Column("role", "text", "key of featx.analysis.comparing.arms.ROLES"),
    Column("run", "text", "the run that it is from"),
    Column("features", "text", "as in the run's scores"),
    Column("head", "text", ""),
    Column("confounds", "text", ""),
    Column("metric", "text", "the first metric of the kind"),
    Column("value", "float", "mean over the repeats that all runs have, and over seeds"),
    Column("low", "float", "lower end of its interval (bootstrap over people)"),
    Column("high", "float", "upper end"),
    Column(
        "first", "float", "share of the draws of people in which it is the best; of equally good arms each a part"
    ),
    Column("rank_low", "float", "lower end of the interval of its rank over draws"),
    Column("rank_high", "float", "upper end"),
    Column("behind", "float", "how much better the best arm is"),
    Column("behind_low", "float", "lower end of the interval of that, by paired bootstrap over people"),
    Column("behind_high", "float", "upper end"),
    Column(
        "apart",
        "text",
        "yes where that interval does not hold 0: worse than the best, beyond chance; else no; empty without",
    ),
    Column("n", "int", "images that were scored"),
    Column("n_people", "int", "people behind them"),
    Column("n_repeats", "int", "repeats of the folds that were compared"),
    Column("n_seeds", "int", "trainings of each fold, over which scores are means"),
)

DIFFERENCES = (
    Column("target", "text", "the phenotype"),
    Column("question", "text", "arms, over the baseline, gain over confounds, or gain over volumes"),
    Column("arm_a", "text", ""),
    Column("arm_b", "text", ""),
    Column("metric", "text", "key of METRICS in featx.analysis.inference.metrics"),
    Column("value_a", "float", ""),
    Column("value_b", "float", ""),
    Column("difference", "float", "how much better a is than b, on the same people and folds"),
    Column("low", "float", "lower end of its interval, by paired bootstrap over people"),
    Column("high", "float", "upper end"),
    Column("better", "text", "a, b, or empty where the interval holds 0"),
    Column("p_bootstrap", "float", "two-sided"),
    Column("p_corrected_t", "float", "corrected resampled t-test over folds (Nadeau & Bengio 2003)"),
    Column("p_delong", "float", "for AUC of two classes, one image per person (DeLong 1988); first repeat and seed"),
    Column(
        "p_permutation", "float", "people's errors exchanged between the arms; for metrics that are means of them"
    ),
    Column(
        "effect", "float", "Cohen's d of paired errors of people, for the same metrics; positive where a errs less"
    ),
    Column(
        "q",
        "float",
        "p_corrected_t (p_bootstrap where there is one fold) after Benjamini & Hochberg, over all tests of a metric",
    ),
    Column("equal", "text", "yes where the interval lies within the margin, no where it does not, empty without one"),
)

MEAN_RANKS = (
    Column("arm", "text", "heads that suit the kinds of the phenotypes are one arm here"),
    Column("mean_rank", "float", "over the phenotypes; equal scores share their ranks"),
    Column("n_targets", "int", "phenotypes that all arms of the table have"),
    Column("n_first", "int", "of them, those in which it has the best score"),
)

CURVES = (
    Column("target", "text", "the phenotype"),
    Column("kind", "text", ""),
    Column("arm", "text", "its name in this comparison"),
    Column("role", "text", "key of featx.analysis.comparing.arms.ROLES"),
    Column("run", "text", "the folder that the point is from"),
    Column("n_train", "int", "people who train, or groups where families are kept whole"),
    Column("n_test", "int", "test images"),
    Column("tested", "text", "the same people for all sizes, or each size its own"),
    Column("draw", "int", "of people; where networks train, also repeats and seeds"),
    Column("metric", "text", ""),
    Column("value", "float", ""),
)

CROSSINGS = (
    Column("target", "text", "the phenotype"),
    Column("metric", "text", ""),
    Column("tested", "text", "the same people for all sizes, or each size its own"),
    Column("n_test", "int", "test images, of the largest size"),
    Column("arm", "text", "the one that may overtake"),
    Column("overtaken", "text", "the other"),
    Column("n_cross", "float", "people who train where the curves of medians cross, linear in log n; empty: nowhere"),
    Column("low", "float", "lower end of its interval by bootstrap over draws; empty: below the smallest n"),
    Column("high", "float", "upper end; empty: beyond the largest n"),
    Column("share", "float", "share of those draws in which they cross within the range"),
    Column("verdict", "text", "crosses, ahead throughout, behind throughout, or falls behind"),
    Column("n_low", "int", "smallest n that both have"),
    Column("n_high", "int", "largest n that both have"),
)

COSTS = (
    Column("run", "text", ""),
    Column("what", "text", "extraction, training or fitting"),
    Column(
        "of",
        "text",
        "the network (extraction), the arm and its targets (training), or all heads of the run (fitting)",
    ),
    Column("device", "text", "as it was recorded: cpu, cuda ...; empty where it was not"),
    Column("minutes", "float", "summed over jobs, fits and devices; empty where nothing is recorded"),
    Column("n", "int", "images that were extracted, or networks that were trained; empty for fitting"),
    Column("told_by", "text", "the file that says so, or why nothing does"),
)
