"""Weights & Biases: a run on its server, or in files that can be sent there later."""

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
    """Logs a run to Weights & Biases, or into files: ``wandb sync RUN/wandb/offline-run-*``.

    Every training has its own curves, named after metric and training: ``val_uar/fold0/mel``,
    ``val_uar/fold0/fused``, of one modality in it ``val_uar/fold0/fused/mel``, in a tuned run
    ``val_uar/fold0/mel/trial2``; so a section of the page holds one metric of all trainings,
    over the epoch. The configuration is the run's config, the final figures and the verdict are
    its summary, and ``results.json`` is among its files. A run that is taken up again goes on
    where it was; in files, the last ones hold all of it. One that failed is marked so.

    Parameters
    ----------
    project : str
        The project that collects the runs.
    entity : str or None
        The user or team that owns it. None: the default of who is logged in.
    name : str or None
        Name of the run. None: that of the run directory.
    group : str or None
        Runs of one group are shown together.
    mode : {"online", "offline", "disabled"} or None
        Whether to send it, or to keep it in files, or neither. None: what wandb's environment
        (``WANDB_MODE``, ``wandb offline``) says. Nobody is ever asked to log in: where that
        would be needed, the run is refused before it starts.
    directory : str or None
        Folder for wandb's files. None: what ``WANDB_DIR`` says, or else the run directory.
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
        self._asked = {"project": project, "entity": entity, "group": group}
        self._name = name
        self._directory = directory or os.environ.get("WANDB_DIR")
        self._mode = _mode(library, mode)
        self._library = library
        self._path = Path()
        self._run: Any = None
        self._finished = False

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        self._path, self._sent = run, Sent(run, _STATE)
        known = self._sent.names
        if self._mode != "online" or known.get("mode") != "online":
            # Files are sent as a whole: each attempt's have to hold all of the run.
            run_id = known.get("id", uuid.uuid4().hex[:12])
            self._sent.forget()
            known |= {"id": run_id, "mode": self._mode}
            self._sent.save()
        self._run = self._library.init(
            **self._asked,
            id=known["id"],
            name=self._name or run.name,
            config=dict(config),
            mode=self._mode,
            dir=self._directory or str(run),
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",  # the caller's own run, in a notebook, stays as it is
            settings=self._library.Settings(
                console="off",  # our progress is no log
                max_end_of_run_history_metrics=0,  # nor do our results need curves below them
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
    """The metric first: what stands before a slash is the section that wandb shows a chart in."""
    metric, _, modality = name.partition(".")
    return f"{metric}/{curve}/{modality}" if modality else f"{metric}/{curve}"


def _mode(library: Any, asked: str | None) -> str:
    """What is going to happen with the run.

    Raises
    ------
    ParameterError
        If it is to be sent, and nobody is logged in.
    """
    if asked in ("offline", "disabled"):
        return asked
    settings = library.setup(library.Settings(mode=asked) if asked else None).settings
    mode = str(asked or settings.mode)
    if mode in ("online", "run") and not library.login(prompt=False, verify=False):
        raise ParameterError(
            f"{_BY} would send the run to {settings.base_url}, and nobody is logged in there.",
            hint="Log in (wandb login, or the environment variable WANDB_API_KEY), or keep it in "
            "files: --set wandb.mode=offline",
        )
    return {"run": "online", "dryrun": "offline"}.get(mode, mode)


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [WandB]
