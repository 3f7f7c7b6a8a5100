"""The exceptions of featx. Every message is one sentence in four parts, then what to do.

::

    FeatxError
    ├── ImageError (ValueError)        one image cannot be used; carries a reason code
    ├── IndexingError (ValueError)     a source of images gives no usable index
    ├── NetworkError (ValueError)      an unknown network, tap, axis or pooling
    ├── WeightsError (ValueError)      weights that are missing, damaged or of another network
    ├── DeviceError (RuntimeError)     a device that was asked for and is not there
    ├── DependencyError (ImportError)  an optional package that is not installed
    ├── StoreError (ValueError)        a feature file that is damaged or of another making
    ├── CohortError (ValueError)       a phenotype table that does not fit
    ├── AnalysisError (ValueError)     an analysis that was asked for and cannot be: a head, folds, a folder
    ├── TargetError (ValueError)       one phenotype cannot be analysed; carries a reason code
    ├── TrainingError (RuntimeError)    a network's training came to nothing; carries a reason code
    ├── StudyError (ValueError)        a study's file that does not say what it must, or a call of it that fails
    └── BundleError (ValueError)       a fitted head that is damaged or does not fit the features

Each leaf is also the builtin that a caller would expect. Messages say *what* must be *how*, what was *got*,
*where*; then what to do. A reason code is a key of `featx.schema.REASONS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMED = 20


class FeatxError(Exception):
    """Whatever featx refuses, with one sentence that says why."""


class _CodedError(FeatxError):
    """An error that stands as a row in a table under its reason code.

    Parameters
    ----------
    code : str
        Key of `featx.schema.REASONS`.
    sentence : str
        The message.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)  # both, so that the error survives a trip between processes
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class ImageError(_CodedError, ValueError):
    """One image cannot be used; the others go on."""


class IndexingError(FeatxError, ValueError):
    """A source of images gives no usable index."""


class NetworkError(FeatxError, ValueError):
    """An unknown network, tap, axis or pooling."""


class WeightsError(FeatxError, ValueError):
    """Weights that are missing, damaged or made for another network."""


class DeviceError(FeatxError, RuntimeError):
    """A device that was asked for and is not there."""


class DependencyError(FeatxError, ImportError):
    """An optional package that is not installed."""


class StoreError(FeatxError, ValueError):
    """A feature file that is damaged or of another making."""


class CohortError(FeatxError, ValueError):
    """A phenotype table that does not fit."""


class AnalysisError(FeatxError, ValueError):
    """An analysis that was asked for and cannot be: an unknown head, too few folds, a folder that is no run."""


class TargetError(_CodedError, ValueError):
    """One phenotype cannot be analysed; the others go on."""


class TrainingError(_CodedError, RuntimeError):
    """A network's training came to nothing: its loss is no number, or it does not fit in memory."""


class BundleError(FeatxError, ValueError):
    """A fitted head that is damaged or does not fit the features."""


class StudyError(FeatxError, ValueError):
    """A study's file that does not say what it must, or one of its calls that was refused."""


def known(names: Iterable[str], got: str = "") -> str:
    """Known names as the end of a sentence that refuses an unknown one; the nearest, where there are many.

    Examples
    --------
    >>> known(["ridge", "logistic"])
    "known are 'logistic', 'ridge'"
    >>> known([f"resnet{at}" for at in range(100)], "resnt18")[:40]
    "known are 100, the nearest 'resnet18', '"
    """
    there = sorted(names)
    if got and len(there) > MOST_NAMED:
        near = get_close_matches(got, there, n=6, cutoff=0)
        return f"known are {len(there)}, the nearest " + ", ".join(map(repr, near))
    return "known are " + ", ".join(map(repr, there))


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to be quoted in a sentence.

    Examples
    --------
    >>> first_line(OSError("no such file\\nsee the log")), first_line(EOFError())
    ('no such file', 'EOFError')
    """
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
