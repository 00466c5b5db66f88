"""Search for the speaker in a file name with a regular expression from the user."""

from __future__ import annotations

import re

from ..contracts.errors import CorpusError, ParameterError


class SpeakerPattern:
    r"""Regular expression with a group that matches the speaker.

    Parameters
    ----------
    text : str
        The expression, with one group or a group called ``speaker``: ``spk(\d+)``.
    parameter : str
        Name of the parameter that holds the expression, for error messages.

    Raises
    ------
    ParameterError
        If `text` is not a regular expression, or has several groups and none is called
        ``speaker``.
    """

    def __init__(self, text: str, parameter: str) -> None:
        try:
            self._regex = re.compile(text)
        except re.error as error:
            raise ParameterError(
                f"{parameter}={text!r} is not a regular expression: {error}."
            ) from None
        if "speaker" not in self._regex.groupindex and self._regex.groups != 1:
            raise ParameterError(
                f"{parameter}={text!r} has {self._regex.groups} groups, but needs exactly one, "
                "which matches the speaker.",
                hint=rf"For example: {parameter}='spk(\d+)', or name the group: '(?P<speaker>\d+)'",
            )
        self._group: str | int = "speaker" if "speaker" in self._regex.groupindex else 1
        self._parameter = parameter

    def find(self, *texts: str) -> str:
        """Return the speaker from the first of `texts` in which the expression matches.

        Raises
        ------
        CorpusError
            If the expression matches in none of the texts.
        """
        for text in texts:
            match = self._regex.search(text)
            if match and match[self._group]:
                return str(match[self._group])
        listed = " or ".join(repr(text) for text in texts)
        raise CorpusError(
            f"{self._parameter}={self._regex.pattern!r} finds no speaker in {listed}."
        )
