"""FHIR as XML, turned into the JSON that says the same: FHIR's models say which fields are lists, numbers, resources.

Narratives and extensions of plain values are passed over, as no record has them. What FHIR does not know is handed on
and fails where the resource is validated.

Source: HL7 FHIR R4, 2.6.1 (XML) and 2.6.2 (JSON).
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from trainers.importers.reading.jsonstream import BOM
from trainers.importers.reading.xmlstream import Element, elements

_FHIR = "{http://hl7.org/fhir}"
_ROOT = re.compile(rb"<(?:[\w.-]+:)?[A-Z][A-Za-z]+\s[^<>]*[\"']http://hl7\.org/fhir[\"']")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_PLAIN = re.compile(r"-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")


def looks_like_fhir(head: bytes) -> bool:
    """Whether head is that of XML whose root is of FHIR's namespace."""
    return head.removeprefix(BOM).lstrip().startswith(b"<") and _ROOT.search(head) is not None


def resources(blocks: Iterable[bytes]) -> Iterator[tuple[bool, Any]]:
    """Whether it is an entry of a bundle, and the content as of JSON: each entry, or the one resource of the file.

    Raises ValueError whose text is a reason; what came before has been given by then.
    """
    for element in elements(blocks, lambda root: 2 if root == f"{_FHIR}Bundle" else 1):
        name = _local(element)
        if name == "entry":
            yield True, _entry(element)
        elif name[:1].isupper():
            yield False, _resource(element)


def _entry(element: Element) -> Any:
    from fhir.resources.R4B.bundle import BundleEntry

    return _attempted(element, BundleEntry)


def _attempted(element: Element, model: Any) -> Any:
    """The content, or a ValueError in its place."""
    try:
        return _content(element, model)
    except ValueError as fault:
        return fault


def _resource(element: Element) -> Any:
    from fhir.resources.R4B import get_fhir_model_class

    name = _local(element)
    try:
        model = get_fhir_model_class(name)
    except Exception:  # KeyError, and what the library meets on names that are none
        return {"resourceType": name}
    content = _attempted(element, model)
    return content if isinstance(content, ValueError) else {"resourceType": name, **content}


def _content(element: Element, model: Any) -> dict[str, Any]:
    """The members of the JSON object for an element. Raises ValueError."""
    shapes = _shapes(model)
    content: dict[str, Any] = {name: said for name, said in element.attributes.items() if name[:1] != "{"}
    for child in element.children:
        name = _local(child)
        listed, kind = shapes.get(name, (False, str))
        value = _value(child, kind)
        if value is None:
            continue
        if listed:
            content.setdefault(name, []).append(value)
        elif name in content:
            raise ValueError("an element is there twice that may be there once")
        else:
            content[name] = value
    return content


def _value(element: Element, kind: Any) -> Any:
    """What an element is as JSON, by its type; None for what no record has."""
    if not hasattr(kind, "get_model_klass"):
        return _plain(element.attributes.get("value"), kind)
    name = kind.__name__
    if name == "NarrativeType":
        return None
    if name == "ResourceType":
        if len(element.children) != 1:
            raise ValueError("no resource where one is needed, or several")
        content = _resource(element.children[0])
        if isinstance(content, ValueError):
            raise content
        return content
    return _content(element, kind.get_model_klass())


def _plain(text: str | None, kind: Any) -> Any:
    """A value in JSON's type; as text where it is not written as that, which then is not valid."""
    if text is None:
        return None
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is int and _WHOLE.fullmatch(text):
        return int(text)
    if kind is Decimal and _PLAIN.fullmatch(text):
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text


def _local(element: Element) -> str:
    """FHIR's own name of an element; another namespace's stays what it is, which no model has."""
    return element.name.removeprefix(_FHIR)


@lru_cache(maxsize=1024)
def _shapes(model: Any) -> Mapping[str, tuple[bool, Any]]:
    """By its name in XML, whether a field is a list, and its type."""
    return {field.alias or name: _shape(field.annotation) for name, field in model.model_fields.items()}


def _shape(annotation: Any) -> tuple[bool, Any]:
    listed, kind = False, annotation
    while typing.get_args(kind):
        listed = listed or typing.get_origin(kind) is list
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return listed, kind
