"""Tracker for MLflow: runs of an experiment in a local database or on a tracking server."""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...cache.remote.urls import without_user
from ...core.contracts import Tracker, hookimpl
from ...core.toolkit.optional import required
from ...core.toolkit.tracking import Sent, curve_of, flat, outcome_of, scalars_of

_STATE = "mlflow.json"
_STORE = "store"  # key of the store to which the run ids of the state belong
_PARENT = "run"  # key of the id of the whole run
T = TypeVar("T")


class MLflow(Tracker):
    """Log of a run in MLflow: ``mlflow ui --backend-store-uri sqlite:///runs/mlflow.db``.

    The MLflow run has the configuration as parameters, the final results as metrics, the verdict as
    its description, and ``results.json`` as an artefact. Every training is a nested run
    (``fold0/mel``, in a tuned run ``fold0/mel/trial2``) with its metrics per epoch. If several
    nested runs are selected, MLflow draws their curves in one chart. Parameter values that are too
    long for MLflow are truncated. A resumed run continues its MLflow run; a failed run is marked as
    failed.

    Parameters
    ----------
    uri : str or None
        Tracking server (``http://...``) or database (``sqlite:///...``). None means the environment
        variable ``MLFLOW_TRACKING_URI``, or else the database ``mlflow.db`` beside the run
        directory. The run directory stores this parameter, so put no password into the parameter:
        use ``MLFLOW_TRACKING_URI`` or ``MLFLOW_TRACKING_PASSWORD`` instead.
    experiment : str
        The experiment that collects the runs; it is created if it does not exist.
    name : str or None
        Name of the run. None means the name of the run directory.
    """

    name = "mlflow"

    def __init__(
        self, *, uri: str | None = None, experiment: str = "fusion", name: str | None = None
    ) -> None:
        required("mlflow", extra="mlflow", by="The tracker 'mlflow'", package="mlflow-skinny")
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._experiment = experiment
        self._name = name
        self._client: Any = None
        self._experiment_id = ""
        self._run = Path()
        self._open: dict[str, str] = {}  # maps curve to id of its MLflow run; "" is the whole run
        self._finished = False

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        beside = (run.parent / "mlflow.db").absolute().as_posix()
        uri = self._uri or f"sqlite:///{beside}"
        self._run, self._sent = run, Sent(run, _STATE)
        self._client = importlib.import_module("mlflow.tracking").MlflowClient(tracking_uri=uri)
        store = without_user(uri)
        parent = self._earlier_run(store)
        if parent is not None:
            self._reopen("", parent)
            return
        self._experiment_id = self._find_experiment()
        parent = self._create(self._name or run.name, {"fusion.run": str(run)})
        self._open[""] = parent
        self._sent.forget()
        self._sent.names |= {_STORE: store, _PARENT: parent}
        self._sent.save()
        self._log_params(parent, flat(config))

    def epoch(self, event: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        # Reopen the nested run even for an event that was sent before: the run may be marked as
        # failed.
        run_id = self._training(curve_of(event))
        if self._sent.is_new(event):
            self._log_metrics(run_id, scalars_of(event), event["epoch"])
            self._sent.add(event)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        parent = self._open[""]
        self._log_metrics(parent, outcome_of(summary), 0)
        self._client.set_tag(parent, "mlflow.note.content", summary["verdict"])
        self._client.log_artifact(parent, str(self._run / "results.json"))
        self._finished = True

    def close(self) -> None:
        client, self._client = self._client, None
        while client is not None and self._open:
            _, run_id = self._open.popitem()  # the nested runs first, the whole run last
            client.set_terminated(run_id, "FINISHED" if self._finished else "FAILED")

    # -- MLflow runs -----------------------------------------------------------------

    def _earlier_run(self, store: str) -> str | None:
        """Return the id of the MLflow run in which this run was logged before, or None.

        The result is None if the run was logged to another store, or if the MLflow run was
        deleted.
        """
        parent = self._sent.names.get(_PARENT)
        if parent is None or self._sent.names.get(_STORE) != store:
            return None
        failure = importlib.import_module("mlflow.exceptions").MlflowException
        try:
            info = self._client.get_run(parent).info
        except failure:
            return None
        self._experiment_id = info.experiment_id
        return parent if info.lifecycle_stage == "active" else None

    def _find_experiment(self) -> str:
        existing = self._client.get_experiment_by_name(self._experiment)
        if existing is not None:
            return str(existing.experiment_id)
        # By default MLflow stores the artefacts of a database's runs in the working directory.
        beside = None if self._uri else (self._run.parent / "mlartifacts").absolute().as_uri()
        return str(self._client.create_experiment(self._experiment, artifact_location=beside))

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(self._experiment_id, tags={"mlflow.runName": name, **tags})
        return str(run.info.run_id)

    def _reopen(self, curve: str, run_id: str) -> None:
        self._client.set_terminated(run_id, "RUNNING")
        self._open[curve] = run_id

    def _training(self, curve: str) -> str:
        if curve not in self._open:
            run_id = self._sent.names.get(curve)
            if run_id is None:
                tags = {"mlflow.parentRunId": self._open[""]}
                self._sent.names[curve] = self._open[curve] = self._create(curve, tags)
            else:
                self._reopen(curve, run_id)
        return self._open[curve]

    # -- parameters and metrics ------------------------------------------------------

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        limits = importlib.import_module("mlflow.utils.validation")
        entity = importlib.import_module("mlflow.entities").Param
        longest = limits.MAX_PARAM_VAL_LENGTH
        entities = [entity(_key(name), str(value)[:longest]) for name, value in params.items()]
        for batch in _batches(entities, limits.MAX_PARAMS_TAGS_PER_BATCH):
            self._client.log_batch(run_id, params=batch)

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        limits = importlib.import_module("mlflow.utils.validation")
        entity = importlib.import_module("mlflow.entities").Metric
        now = int(1000 * time.time())
        entities = [entity(_key(name), value, now, step) for name, value in metrics.items()]
        for batch in _batches(entities, limits.MAX_METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)


def _key(name: str) -> str:
    """Replace the characters that MLflow does not allow in a name by underscores."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [MLflow]
