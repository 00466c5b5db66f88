"""What is installed here, whose names are taken."""

import pytest

from fusion.core.registry.registry import Registry


@pytest.fixture(scope="package")
def registry() -> Registry:
    return Registry()
