"""Names of persons in words that were written freely: found by what the same file says of the person elsewhere.

Words of fewer than four letters are too common to be looked for, and nobody's name is known but whom the file names: so
what is left is free text, and is marked as that (is_free).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

REMOVED = "[name]"
FREE_WORDS = 5  # from so many words on, a text was written freely, and not chosen from a list

_BETWEEN = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]+")


def names_in(*fields: str) -> set[str]:
    """The words of identification fields that would give somebody away if they stood elsewhere too, in lower case."""
    words = (word.lower() for text in fields for word in _BETWEEN.split(text))
    return {word for word in words if len(word) >= 4 and (len(word) >= 6 or not word.isdigit())}


def mentions(texts: Iterable[str], names: set[str]) -> bool:
    """Whether any of the names is a word of these texts."""
    return bool(names) and any(word.lower() in names for text in texts for word in _BETWEEN.split(text))


def without(content: Any, names: set[str]) -> Any:
    """JSON whose texts have REMOVED in place of each of the names. A text of one word is a code, and stays."""
    if not names:
        return content
    if isinstance(content, dict):
        return {key: without(child, names) for key, child in content.items()}
    if isinstance(content, list):
        return [without(child, names) for child in content]
    if not isinstance(content, str) or len(content.split()) < 2:
        return content
    return _WORD.sub(lambda word: REMOVED if word[0].lower() in names else word[0], content)


def is_free(content: Any) -> bool:
    """Whether any text of this JSON was written freely, so that it may name somebody."""
    if isinstance(content, dict | list):
        return any(map(is_free, content.values() if isinstance(content, dict) else content))
    return isinstance(content, str) and len(content.split()) >= FREE_WORDS
