"""The log: what is repeated is counted, not written again."""

import json
import logging

from latefusion.server.logs import APART, JsonLines, Seldom


def record(
    line: int, level: int, second: float, error: type[Exception] | None = None
) -> logging.LogRecord:
    caught = (error, error("x"), None) if error else None
    found = logging.LogRecord("asyncio", level, "a.py", line, "out of files", (), caught)
    found.created = second
    return found


def test_a_condition_is_logged_once_a_second_with_how_often_it_was_held() -> None:
    seldom = Seldom()
    seconds = [100, 100.1, 100.2, 100 + APART, 100.3 + APART, 200]
    assert [seldom.filter(record(7, logging.ERROR, second)) for second in seconds] == [
        *(True, False, False),
        *(True, False, True),
    ]
    last = record(7, logging.ERROR, 300)
    seldom.filter(record(7, logging.ERROR, 299.9))
    assert not seldom.filter(last)
    after = record(7, logging.ERROR, 400)
    assert seldom.filter(after)
    assert json.loads(JsonLines().format(after))["repeated"] == 1


def test_other_conditions_and_requests_are_logged_at_once() -> None:
    seldom = Seldom()
    assert seldom.filter(record(7, logging.ERROR, 100))
    assert seldom.filter(record(8, logging.ERROR, 100))
    assert seldom.filter(record(7, logging.ERROR, 100, OSError))
    assert seldom.filter(record(7, logging.ERROR, 100, ValueError))
    assert seldom.filter(record(7, logging.INFO, 100))
    assert seldom.filter(record(7, logging.INFO, 100))
