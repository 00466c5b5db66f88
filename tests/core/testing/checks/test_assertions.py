"""Failing and skipped checks with and without pytest, and the text of a fault."""

import io

import pytest

from fusion.core.contracts.errors import ParameterError, PluginError
from fusion.core.testing.checks.assertions import (
    CheckEnd,
    CheckFailed,
    CheckSkipped,
    Fault,
    describe,
    fail,
    require,
    require_silence,
    running,
    skip,
    without_pytest,
)

WORDS = {"expected": "the same scores", "cause": "a mean over the batch"}
FAULT = Fault("Sum (strategy 'sum')", "they differ", **WORDS)


def test_a_fault_is_formatted_with_one_margin():
    text = str(Fault("Sum", "it differs,\nhere and there", "the same"))
    assert text.splitlines() == [
        "Sum",
        "  what failed:    it differs,",
        "                  here and there",
        "  expected:       the same",
    ]
    assert list(FAULT.lines()) == ["what failed:", "expected:", "usual cause:"]


def test_checks_fail_and_skip_like_tests_under_pytest():
    with pytest.raises(pytest.fail.Exception) as caught:
        fail(FAULT.where, FAULT.failed, **WORDS)
    assert caught.value.msg == str(FAULT)
    assert not caught.value.pytrace  # the fault is in the plugin, so the suite's code is not shown
    with pytest.raises(pytest.skip.Exception, match="no GPU here"):
        skip("no GPU here")


def test_checks_raise_exceptions_without_pytest():
    with without_pytest():
        with pytest.raises(CheckFailed) as caught:
            fail(FAULT.where, FAULT.failed, **WORDS)
        assert caught.value.fault == FAULT
        with without_pytest(), pytest.raises(CheckSkipped, match="no GPU here"):
            skip("no GPU here")
        with pytest.raises(CheckSkipped):  # still without pytest after the inner context has ended
            skip("no GPU here")
    with pytest.raises(pytest.skip.Exception):
        skip("no GPU here")


def test_a_failed_check_is_not_mistaken_for_an_error_of_the_plugin():
    assert not issubclass(CheckEnd, Exception)
    with without_pytest(), pytest.raises(CheckFailed) as caught, running("a", "b", cause="c"):
        fail(FAULT.where, FAULT.failed, **WORDS)
    assert caught.value.fault == FAULT


def test_require_fails_only_if_the_condition_is_false():
    require(True, FAULT.where, FAULT.failed, **WORDS)
    with pytest.raises(pytest.fail.Exception, match="they differ"):
        require(False, FAULT.where, FAULT.failed, **WORDS)


def test_printed_output_fails_require_silence():
    require_silence("Sum", io.StringIO())
    with without_pytest(), pytest.raises(CheckFailed) as caught:
        require_silence("Sum", io.StringIO("x" * 100))
    assert caught.value.fault.failed == f"prints {'x' * 80!r} to standard output"


def error_of(cause):
    """Return the PluginError that fusion raises from the plugin's exception `cause`."""
    try:
        raise PluginError("sum raised in forward", hint="Mend it.") from cause
    except PluginError as error:
        return error


def test_descriptions_of_exceptions():
    assert describe(ValueError("two")) == "ValueError: two"
    assert describe(ParameterError("rate is 2.", hint="At most 1.")) == "ParameterError: rate is 2."
    # The description is that of the plugin's own exception, not of the PluginError.
    assert describe(error_of(KeyError("mel"))) == "KeyError: 'mel'"
    assert describe(error_of(None)) == "PluginError: sum raised in forward"


@pytest.mark.parametrize(
    ("error", "failed", "cause"),
    [
        (ValueError("two"), "forward raises ValueError: two", "a shape"),
        (error_of(KeyError("mel")), "forward raises KeyError: 'mel'", "a shape"),
        # fusion itself describes the invalid value that a plugin returned, and has a hint.
        (error_of(None), "forward raises PluginError: sum raised in forward", "Mend it."),
        (PluginError("no hint"), "forward raises PluginError: no hint", "a shape"),
    ],
)
def test_an_exception_of_the_plugin_is_a_failed_check(error, failed, cause):
    ended = pytest.raises(CheckFailed)
    with without_pytest(), ended as caught, running("Sum", "forward", cause="a shape"):
        raise error
    assert caught.value.fault == Fault("Sum", failed, "no exception", cause)
    assert caught.value.__cause__ is error


def test_the_traceback_of_the_plugin_is_kept_under_pytest():
    error = ValueError("two")
    failed = pytest.raises(AssertionError, match="forward raises ValueError: two")
    with failed as caught, running("Sum", "forward", cause="a shape"):
        raise error
    assert caught.value.__cause__ is error
