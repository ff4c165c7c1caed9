"""Removes persons' names from free text: those that the same file has in its identification fields.

Words of fewer than four letters are too common to be looked for, and nobody's name is known but whom the file names: so
what is left is free text, and is marked as that (is_free). A name is found in capitals as in small letters, and whether
its accents are letters' own (NFC) or characters of their own (NFD, as macOS writes).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Set
from dataclasses import replace
from functools import cache
from typing import Any

from hmchain.record import Record

REMOVED = "[name]"
FREE_WORDS = 5  # from so many words on, a text was written freely, and not chosen from a list
LONGEST = 100  # characters of a word: what is longer is no name, and to normalise n marks in a row takes n * n steps


def names_in(*fields: str) -> set[str]:
    """The words of identification fields that would give somebody away if they stood elsewhere too, as _folded."""
    words = [word for text in fields for word in map(_composed, _words().findall(text)) if 4 <= len(word) <= LONGEST]
    return {_folded(word) for word in words if len(word) >= 6 or not word.isdigit()}


def nameless(record: Record, names: Set[str]) -> Record:
    """The record without the names, wherever it says something: in its codes' words as well."""
    codes = tuple(
        replace(
            code, code=code.code if code.system else without(code.code, names), display=without(code.display, names)
        )
        for code in record.codes
    )
    return replace(record, codes=codes, value=without(record.value, names), detail=without(record.detail, names))


def mentions(texts: Iterable[str], names: Set[str]) -> bool:
    """Whether any of the names is a word of these texts."""
    return bool(names) and any(_folded(word) in names for text in texts for word in _words().findall(text))


def without(content: Any, names: Set[str]) -> Any:
    """JSON whose texts have REMOVED in place of each of the names; other words stay as they were written.

    A text of one word is a code, and stays.
    """
    if not names:
        return content
    if isinstance(content, dict):
        return {key: without(child, names) for key, child in content.items()}
    if isinstance(content, list):
        return [without(child, names) for child in content]
    if not isinstance(content, str) or len(content.split()) < 2:
        return content
    return _words().sub(lambda word: REMOVED if _folded(word[0]) in names else word[0], content)


def is_free(content: Any) -> bool:
    """Whether any text of this JSON was written freely, so that it may name somebody."""
    if isinstance(content, dict | list):
        return any(map(is_free, content.values() if isinstance(content, dict) else content))
    return isinstance(content, str) and len(content.split()) >= FREE_WORDS


@cache
def _words() -> re.Pattern[str]:
    """Words, made at the first text: every command imports this module, and to look for all marks takes a while."""
    marks = "".join(each for each in map(chr, range(0x300, 0x1F000)) if unicodedata.category(each).startswith("M"))
    return re.compile(rf"[^\W_](?:[^\W_]|[{marks}])*")  # for re, accents and vowel signs are no part of a word


def _composed(word: str) -> str:
    return unicodedata.normalize("NFC", word) if len(word) <= LONGEST else word


def _folded(word: str) -> str:
    """The word as it is compared. Folding capitals may take a letter apart (İ): composed after it as well."""
    return _composed(_composed(word).casefold())
