"""JSON from others: a value or a ValueError, never the end of the process."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.jsontext import MAX_BRACKETS, MAX_ODD, check_depth, parse, text, whole


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_what_json_wrote_is_read(value: object) -> None:
    assert parse(json.dumps(value)) == parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "deep", ["[" * 200_000, '{"a":' * 200_000, b"[" * 200_000, "[" * MAX_BRACKETS], ids=lambda t: repr(t[:6])
)
def test_deep_nesting_is_refused_whatever_the_limit_on_recursion(deep: str | bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10**6))  # py-evm raises it likewise
    try:
        with pytest.raises(ValueError, match=r"."):
            parse(deep)
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_text_has_so_many_brackets_and_no_more(kind: Callable[[str], str | bytes]) -> None:
    most = f"[{'{},' * (MAX_BRACKETS - 2)}[]]"
    assert len(parse(kind(most))) == MAX_BRACKETS - 1
    with pytest.raises(ValueError, match="brackets are more than any text of ours has"):
        parse(kind(most.replace("[]", "[[]]")))


@given(st.binary(max_size=50) | st.text(max_size=50))
def test_nothing_else_than_value_error_is_raised(anything: str | bytes) -> None:
    with suppress(ValueError):
        parse(anything)


def test_a_long_text_may_be_nested_as_deep_as_answers_are_and_no_deeper() -> None:
    logs = json.dumps([{"topics": [["0x"]], "data": "[[{"}] * 10 + [{}] * 20_000)
    check_depth(logs.encode())
    for deep in ("[" * 100 + "]" * 100, '{"a":[' * 10**5, f"[{logs}" * 100):
        with pytest.raises(ValueError, match="nested too deep"):
            check_depth(deep.encode())


def test_a_few_brackets_in_its_strings_make_no_text_deep() -> None:
    check_depth(json.dumps(["[" * MAX_ODD]).encode())
    with pytest.raises(ValueError, match="nested too deep"):
        check_depth(json.dumps(["[" * (MAX_ODD + 1)]).encode())


@pytest.mark.parametrize("other", [True, 1.0, "1", None, [1]], ids=repr)
def test_a_whole_number_is_nothing_else(other: object) -> None:
    assert whole(1) == 1
    with pytest.raises(TypeError, match="no whole number"):
        whole(other)


@pytest.mark.parametrize("other", [1, b"text", None, ["text"], {}], ids=repr)
def test_a_text_is_nothing_else(other: object) -> None:
    assert text("text") == "text"
    with pytest.raises(TypeError, match="not text"):
        text(other)
