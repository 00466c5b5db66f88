"""Registry of the installed plugins, whose names new plugins must not take."""

import pytest

from fusion.core.registry.registry import Registry


@pytest.fixture(scope="package")
def registry() -> Registry:
    return Registry()
