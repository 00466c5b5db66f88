"""Cells of a comparison, and the settings of each."""

from pathlib import Path

import pytest

from fusion import Balancer
from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.toolkit.run_files import as_type
from fusion.core.workflows.grid import Budget, Cell, Request, cell_config, make_cells


@pytest.fixture(scope="module")
def registry():
    return Registry()


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("600", Budget(steps=600)),
        ("600 steps", Budget(steps=600)),
        ("30min", Budget(minutes=30)),
        ("2h", Budget(minutes=120)),
        ("1.5 h", Budget(minutes=90)),
        ("45m", Budget(minutes=45)),
    ],
)
def test_budgets_are_parsed(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-3", "2.5", "ten", "5 days", "0h"])
def test_invalid_budgets_are_refused(text):
    with pytest.raises(ParameterError, match="--budget must be steps per training or a total time"):
        Budget.parse(text)


def test_every_strategy_is_combined_with_every_balancer(registry):
    cells = make_cells(
        ["concat", "gated"], ["none", "gradscale", "dropout+gradscale"], registry, controls=False
    )
    assert [cell.name for cell in cells] == [
        "concat", "concat + gradscale", "concat + dropout+gradscale",
        "gated", "gated + gradscale", "gated + dropout+gradscale",
    ]  # fmt: skip
    assert cells[2].balancers == ("dropout", "gradscale")
    assert cells[0].plain and not cells[1].plain and not any(cell.control for cell in cells)
    assert len({cell.folder for cell in cells}) == 6


def test_controls_that_were_not_requested_are_added(registry):
    cells = make_cells(["gated"], ["gradscale"], registry, controls=True)
    own = [cell.balance for cell in cells if not cell.control]
    also = {cell.balance for cell in cells if cell.control}
    assert own == ["gradscale"]
    assert {"none", "3x lr", "unimodal_loss"} <= also
    # A requested cell is no control, and no cell occurs twice.
    again = make_cells(["gated"], ["none", "unimodal_loss"], registry, controls=True)
    assert [cell.balance for cell in again if not cell.control] == ["none", "unimodal_loss"]
    assert [cell.balance for cell in again if cell.control] == ["3x lr"]


def test_the_rate_control_is_left_out_if_rates_are_searched(registry):
    cells = make_cells(["gated"], ["none"], registry, controls=True, tuned=True)
    assert [cell.balance for cell in cells] == ["none", "unimodal_loss"]


def test_balancers_declare_that_they_are_controls():
    assert Balancer.control is False
    assert Registry().balancer("unimodal_loss").control is True


def test_mistakes_in_strategies_and_balancers(registry):
    with pytest.raises(UnknownNameError, match="Did you mean 'gated'"):
        make_cells(["gatedd"], ["none"], registry, controls=True)
    with pytest.raises(UnknownNameError, match="no balancer 'gradscal'"):
        make_cells(["gated"], ["dropout+gradscal"], registry, controls=True)
    with pytest.raises(ParameterError, match="'gated' is named twice"):
        make_cells(["gated", "gated"], ["none"], registry, controls=True)
    with pytest.raises(ParameterError, match="'none' is named twice"):
        make_cells(["gated"], ["none", "none"], registry, controls=True)
    with pytest.raises(ParameterError, match="needs one or more strategies"):
        make_cells([], ["none"], registry, controls=True)


def request(**settings):
    cells = (Cell("gated"), Cell("concat", ("gradscale",)), Cell("gated", rate=3.0, control=True))
    return Request(RunConfig(data=("x",), seed=7, settings=settings), cells, (7, 8), Budget(), ())


def test_a_cell_has_the_settings_of_the_plugins_it_uses():
    requested = request(gated={"hidden": 8}, gradscale={"alpha": 1.0}, mel={"hop": 160})
    first = cell_config(requested, requested.cells[0], 0, 7)
    assert dict(first.settings) == {"gated": {"hidden": 8}, "mel": {"hop": 160}}
    second = cell_config(requested, requested.cells[1], 1, 8)
    assert dict(second.settings) == {"gradscale": {"alpha": 1.0}, "mel": {"hop": 160}}
    assert (second.strategy, second.balancers, second.seed, second.split_seed) == (
        "concat", ("gradscale",), 8, 7)  # fmt: skip


def test_the_rate_control_multiplies_the_learning_rate():
    requested = request(train={"lr": 0.01})
    assert cell_config(requested, requested.cells[0], 0, 7).train.lr == pytest.approx(0.01)
    assert cell_config(requested, requested.cells[2], 2, 7).train.lr == pytest.approx(0.03)
    assert requested.config.train.lr == pytest.approx(0.01)  # unchanged


def test_devices_are_assigned_in_turn():
    requested = request()
    requested = Request(requested.config, requested.cells, (0,), devices=("cuda:0", "cuda:1"))
    result = [cell_config(requested, cell, i, 0).device for i, cell in enumerate(requested.cells)]
    assert result == ["cuda:0", "cuda:1", "cuda:0"]


def test_a_request_survives_json():
    import json

    requested = request(train={"lr": 0.01})
    again = as_type(json.loads(json.dumps(requested.to_json())), Request, Path("compare.json"))
    assert again == requested
