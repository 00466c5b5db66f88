"""Packages that only some methods need, and that may not be installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..contracts.errors import ParameterError


def required(module: str, *, extra: str, by: str, package: str | None = None) -> ModuleType:
    """Import a module that need not be there.

    Parameters
    ----------
    module : str
        What to import, e.g. ``"optuna"``.
    extra : str
        The extra of ``modal-fusion`` that installs it.
    by : str
        Who needs it, as a message says it: ``"The tracker 'mlflow'"``.
    package : str, optional
        The distribution, where it is not called like the module.

    Raises
    ------
    ParameterError
        If it is not installed, or its import fails because of another package.
    """
    package = package or module
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        reason = (
            f"the package {package}, which is not installed."
            if missing
            else f"the package {package}, which can't be imported: {error}."
        )
        raise ParameterError(
            f"{by} needs {reason}",
            hint=f"pip install 'modal-fusion[{extra}]'"
            if missing
            else f"It is installed, but not one that works here: "
            f"pip install --upgrade 'modal-fusion[{extra}]'",
        ) from error
