"""Sections of docstrings, and descriptions of parameters."""

from fusion.core.registry.docstrings import parameter_docs, sections, summary


class Sample:
    """Does one thing.

    The rule is

    ::

        a = b
          + c

    for all modalities, with ``x`` in it.

    Parameters
    ----------
    alpha : float
        How much | how little.
    mode : {"a", "b"}
        Which.

    Cost
    ----
    Nothing.

    References
    ----------
    Somebody (2020).
    """


def test_sections_of_a_docstring():
    result = dict(sections(Sample))
    assert list(result) == ["", "Parameters", "Cost", "References"]
    assert result[""].startswith("Does one thing.\n\nThe rule is")
    assert result["Cost"] == "Nothing."
    assert result["References"] == "Somebody (2020)."
    assert summary(Sample) == "Does one thing."


def test_descriptions_of_parameters():
    assert parameter_docs(Sample.__doc__ or "") == {}  # a raw docstring is indented
    message = (
        'One.\n\nAttributes\n----------\na, b : int\n    Two\n    lines.\n\nc\n    A {"d"}: it.\n'
    )
    assert parameter_docs(message) == {"a": "Two lines.", "b": "Two lines.", "c": 'A {"d"}: it.'}
