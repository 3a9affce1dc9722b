"""A database that goes away for a while: what was asked of it is asked again."""

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import tenacity
from sqlalchemy import exc as sa_errors

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

_LONGEST_SECONDS = 600.0
_PAUSE_SECONDS = 0.5
# PostgreSQL shuts down, was shut down, crashed, or is not yet up; class 08 is a lost connection.
_AWAY = {"57P01", "57P02", "57P03"}
_LOG = logging.getLogger("batchscope")


def through_outages(asked: Callable[[bool], Answer]) -> Answer:
    """Ask a database, and again for ten minutes while it is away.

    Args:
        asked: is told whether it was asked before, so that it may have been carried out.

    Raises:
        StoreError: it stayed away, or refused for another reason.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_away),
        wait=tenacity.wait_fixed(_PAUSE_SECONDS),
        stop=tenacity.stop_after_delay(_LONGEST_SECONDS),
        before_sleep=_say_once,
        reraise=True,
    )
    for attempt in retrying:
        with attempt:
            return asked(attempt.retry_state.attempt_number > 1)
    raise AssertionError("the last attempt returns or raises")


def patient(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """A function that may be carried out twice, asked through outages."""

    @functools.wraps(function)
    def asked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        return through_outages(lambda _: function(*arguments, **named))

    return asked


def _say_once(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1:
        _LOG.warning("The database is away: waiting for it, ten minutes at most.")


def _is_away(error: BaseException) -> bool:
    cause = error.__cause__
    if not isinstance(cause, sa_errors.DBAPIError) or not hasattr(cause.orig, "sqlstate"):
        return False
    state: Any = getattr(cause.orig, "sqlstate", None)
    return cause.connection_invalidated or state is None or state[:2] == "08" or state in _AWAY
