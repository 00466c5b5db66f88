"""Tracker for Weights & Biases: on its server, or in files that can be uploaded later."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ...core.contracts import Tracker, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.optional import required
from ...core.toolkit.tracking import Sent, curve_of, outcome_of, scalars_of

_STATE = "wandb.json"
_BY = "The tracker 'wandb'"


class WandB(Tracker):
    """Log of a run in Weights & Biases, or in files: ``wandb sync RUN/wandb/offline-run-*``.

    Every training has its own curves, named after metric and training: ``val_uar/fold0/mel`` and
    ``val_uar/fold0/fused``; for one modality of the fused model ``val_uar/fold0/fused/mel``; in a
    tuned run ``val_uar/fold0/mel/trial2``. A section of the page therefore shows one metric of all
    trainings per epoch. In wandb, the run's config is the configuration, the run's summary has the
    final results and the verdict, and the run's files contain ``results.json``. Online, a resumed
    run continues the same wandb run. Offline, the files of the last attempt contain the whole run.
    A failed run is marked as failed.

    Parameters
    ----------
    project : str
        The project that collects the runs.
    entity : str or None
        The user or team that owns the project. None means the default of the user logged in.
    name : str or None
        Name of the run. None means the name of the run directory.
    group : str or None
        Name of a group; runs of one group are shown together.
    mode : {"online", "offline", "disabled"} or None
        Whether to upload the run, to write it to files, or to do neither. None means wandb's own
        setting (``WANDB_MODE``, ``wandb offline``). The tracker never prompts for a login: if a
        login is needed, fusion rejects the run before it starts.
    directory : str or None
        Folder for wandb's files. None means ``WANDB_DIR``, or else the run directory.
    """

    name = "wandb"
    conformance = {"parameters": {"mode": "offline"}}  # noqa: RUF012

    def __init__(
        self,
        *,
        project: str = "fusion",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        directory: str | None = None,
    ) -> None:
        library = required("wandb", extra="wandb", by=_BY)
        self._owner = {"project": project, "entity": entity, "group": group}
        self._name = name
        self._directory = directory or os.environ.get("WANDB_DIR")
        self._mode = _mode(library, mode)
        self._library = library
        self._path = Path()
        self._run: Any = None
        self._finished = False

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        self._path, self._sent = run, Sent(run, _STATE)
        state = self._sent.names
        if self._mode != "online" or state.get("mode") != "online":
            # Files are uploaded as a whole, so the files of each attempt contain the whole run.
            run_id = state.get("id", uuid.uuid4().hex[:12])
            self._sent.forget()
            state |= {"id": run_id, "mode": self._mode}
            self._sent.save()
        self._run = self._library.init(
            **self._owner,
            id=state["id"],
            name=self._name or run.name,
            config=dict(config),
            mode=self._mode,
            dir=self._directory or str(run),
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",  # a wandb run of the caller, e.g. in a notebook, continues
            settings=self._library.Settings(
                console="off",  # do not capture fusion's progress display as a log
                max_end_of_run_history_metrics=0,  # do not print curves after fusion's results
                max_end_of_run_summary_metrics=0,
            ),
        )
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")

    def epoch(self, event: Mapping[str, Any]) -> None:
        if self._run is None or not self._sent.is_new(event):
            return
        curve = curve_of(event)
        points = {_key(name, curve): value for name, value in scalars_of(event).items()}
        self._run.log({"epoch": event["epoch"], **points})
        self._sent.add(event)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        self._run.summary.update({**outcome_of(summary), "verdict": summary["verdict"]})
        results = str(self._path / "results.json")
        self._run.save(results, base_path=str(self._path), policy="now", glob=False)
        self._finished = True

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=0 if self._finished else 1)


def _key(name: str, curve: str) -> str:
    """Return the name of a curve; wandb groups charts by the part before the first slash."""
    metric, _, modality = name.partition(".")
    return f"{metric}/{curve}/{modality}" if modality else f"{metric}/{curve}"


def _mode(library: Any, requested: str | None) -> str:
    """Return the mode of the run: "online", "offline" or "disabled".

    Raises
    ------
    ParameterError
        If the run would be uploaded and no user is logged in.
    """
    if requested in ("offline", "disabled"):
        return requested
    settings = library.setup(library.Settings(mode=requested) if requested else None).settings
    mode = str(requested or settings.mode)
    if mode in ("online", "run") and not library.login(prompt=False, verify=False):
        raise ParameterError(
            f"{_BY} can't upload the run to {settings.base_url}: no user is logged in there.",
            hint="Log in (wandb login, or the environment variable WANDB_API_KEY), or write the "
            "run to files: --set wandb.mode=offline",
        )
    return {"run": "online", "dryrun": "offline"}.get(mode, mode)


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [WandB]
