"""The tiny networks as a package, for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.relevance.heads import own_networks


@pytest.fixture(scope="module", autouse=True)
def _networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_networks(tmp_path_factory.mktemp("nets")):
        yield
