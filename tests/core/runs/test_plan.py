"""What a run stores of the plugins in use."""

import pytest

from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import plan_without_split


@pytest.mark.parametrize(("given", "stored"), [("product", None), ("persim", "persim")])
def test_a_parameter_that_was_added_is_stored_where_it_is_not_the_default(
    given, stored, tmp_path, monkeypatch
):
    """An audit or a run of a version without the parameter is still the same request."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"demo": {"speakers": "3", "clips": "1"}, "persistence": {"imager": given}}
    config = RunConfig(data=("demo",), features=("persistence",), settings=settings)
    plan = plan_without_split(config, Registry())
    found = plan.config.settings["persistence"]
    assert found.get("imager") == stored
    assert found["reduction"] == "lunes"  # every other default is stored
    assert plan.extractors["persistence"].imager == given
