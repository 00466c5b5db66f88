"""Optional packages that only some methods need."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..contracts.errors import ParameterError


def required(module: str, *, extra: str, by: str, package: str | None = None) -> ModuleType:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Name of the module, e.g. ``"optuna"``.
    extra : str
        The extra of the package ``modal-fusion`` that installs the module.
    by : str
        Feature that needs the module, as the subject of the message: ``"The tracker 'mlflow'"``.
    package : str, optional
        Name of the distribution if it differs from the module's.

    Raises
    ------
    ParameterError
        If the package is not installed, or its import fails.
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
            else f"The installed version does not work here: "
            f"pip install --upgrade 'modal-fusion[{extra}]'",
        ) from error
