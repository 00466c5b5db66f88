"""Every built-in tracker passes the suite that third parties get, with the real library."""

from typing import ClassVar

import pytest
from tracker_libraries import mlflow_or_skip, quiet_wandb

from fusion.plugins.trackers.jsonl import JSONL
from fusion.plugins.trackers.mlflow import MLflow
from fusion.plugins.trackers.tensorboard import TensorBoard
from fusion.plugins.trackers.wandb import WandB
from fusion.testing import TrackerSuite


class TestJSONL(TrackerSuite):
    plugin = JSONL


class TestTensorBoard(TrackerSuite):
    plugin = TensorBoard

    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("tensorboard", exc_type=ImportError)


class TestMLflow(TrackerSuite):
    plugin = MLflow

    @pytest.fixture(autouse=True)
    def library(self, tmp_path, monkeypatch):
        mlflow_or_skip(tmp_path, monkeypatch)


class TestWandB(TrackerSuite):
    plugin = WandB
    parameters: ClassVar = {"mode": "offline"}

    @pytest.fixture(autouse=True)
    def library(self, tmp_path, monkeypatch):
        quiet_wandb(tmp_path, monkeypatch)
