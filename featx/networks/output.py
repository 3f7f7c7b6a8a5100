"""What a trained network answers: one output per phenotype, as a value. Needs no torch.

A network that featx trained ends in one linear layer; its columns belong to outputs, one after the other. How
columns become a prediction is `featx.networks.decoding.decode`.
"""

from __future__ import annotations

from dataclasses import dataclass

REGRESSION, SOFT_BINS, CLASSES, ORDINAL = "regression", "soft-bins", "classes", "ordinal"
FORMS = (REGRESSION, SOFT_BINS, CLASSES, ORDINAL)


@dataclass(frozen=True)
class Output:
    """One phenotype that a network answers with.

    Attributes
    ----------
    target : str
        The phenotype.
    form : str
        REGRESSION (1 column: standard deviations from a mean), SOFT_BINS (a column per bin, whose softmax are the
        bins' probabilities), CLASSES (a column per class, softmax), ORDINAL (a column per step between levels, whose
        sigmoid is the probability that the level lies above that step).
    width : int
        Columns.
    values : tuple of float
        Of a regression the mean and standard deviation of the training people, in the phenotype's unit; of soft bins
        their centres, evenly spaced; of ordered levels the number of each level, ascending (one more than columns);
        of two classes the place (0 or 1) of the one whose probability a tap reads, of more nothing.
    classes : tuple of str
        Of classes and of ordered levels, their names; else nothing.
    """

    target: str
    form: str
    width: int
    values: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
