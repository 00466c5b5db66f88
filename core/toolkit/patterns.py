"""Finding the speaker in a file name with the user's regular expression."""

from __future__ import annotations

import re

from ..contracts.errors import CorpusError, ParameterError


class SpeakerPattern:
    r"""A regular expression whose group is the speaker.

    Parameters
    ----------
    text : str
        The expression, with one group or a group called ``speaker``: ``spk(\d+)``.
    parameter : str
        The parameter it was given by; messages name it.

    Raises
    ------
    ParameterError
        If it is no regular expression, or which group is the speaker can't be told.
    """

    def __init__(self, text: str, parameter: str) -> None:
        try:
            self._regex = re.compile(text)
        except re.error as error:
            raise ParameterError(
                f"{parameter}={text!r} is no regular expression: {error}."
            ) from None
        if "speaker" not in self._regex.groupindex and self._regex.groups != 1:
            raise ParameterError(
                f"{parameter}={text!r} has {self._regex.groups} groups; it needs one, which is "
                "the speaker.",
                hint=rf"For example {parameter}='spk(\d+)', or name it: '(?P<speaker>\d+)'",
            )
        self._group: str | int = "speaker" if "speaker" in self._regex.groupindex else 1
        self._parameter = parameter

    def find(self, *texts: str) -> str:
        """The speaker in the first of `texts` that has one.

        Raises
        ------
        CorpusError
            If the expression matches in none.
        """
        for text in texts:
            match = self._regex.search(text)
            if match and match[self._group]:
                return str(match[self._group])
        given = " or ".join(repr(text) for text in texts)
        raise CorpusError(f"{self._parameter}={self._regex.pattern!r} finds no speaker in {given}.")
