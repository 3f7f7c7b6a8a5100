import pickle

import pytest

from featx import errors, schema


def _leaves(kind=errors.FeatxError):
    return [leaf for child in kind.__subclasses__() for leaf in (_leaves(child) or [child])]


@pytest.mark.parametrize("leaf", _leaves(), ids=lambda leaf: leaf.__name__)
def test_every_leaf_is_a_builtin_too_and_stands_in_the_tree(leaf):
    assert any(issubclass(leaf, builtin) for builtin in (ValueError, RuntimeError, ImportError))
    assert leaf.__name__ in errors.__doc__


def test_coded_errors_survive_a_trip_between_processes():
    back = pickle.loads(pickle.dumps(errors.ImageError("constant", "a sentence")))  # noqa: S301
    assert (back.code, str(back)) == ("constant", "a sentence")


def test_every_reason_says_what_it_means():
    assert all(meaning and meaning[0].islower() for meaning in schema.REASONS.values())
