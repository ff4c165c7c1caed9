"""JSON from others: a value or a ValueError, never the end of the process."""

import json
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.jsontext import MAX_BRACKETS, check_depth, parse


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_what_json_wrote_is_read(value: object) -> None:
    assert parse(json.dumps(value)) == parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, b"[" * 200_000, "[" * MAX_BRACKETS], ids=lambda t: repr(t[:6])
)
def test_deep_nesting_is_refused_whatever_the_limit_on_recursion(text: str | bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10**6))  # py-evm raises it likewise
    try:
        with pytest.raises(ValueError, match=r"."):
            parse(text)
    finally:
        sys.setrecursionlimit(before)


@given(st.binary(max_size=50) | st.text(max_size=50))
def test_nothing_else_than_value_error_is_raised(text: str | bytes) -> None:
    with suppress(ValueError):
        parse(text)


def test_a_long_text_may_be_nested_as_deep_as_answers_are_and_no_deeper() -> None:
    logs = json.dumps([{"topics": [["0x"]], "data": "[[{"}] * 10 + [{}] * 20_000)
    check_depth(logs.encode())
    for deep in ("[" * 100 + "]" * 100, '{"a":[' * 10**5, f"[{logs}" * 100):
        with pytest.raises(ValueError, match="nested too deep"):
            check_depth(deep.encode())
