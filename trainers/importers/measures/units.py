"""Converts quantities into the one form that records have: decimal digits and a UCUM code (see hmchain.record).

Equal quantities become the same text, whatever unit and scale they were written in: 10*3/uL is 10*9/L, 150 [lb_av] are
68.0388555 kg, {beats}/min is /min. A unit is taken apart into atoms, whose prefixes and factors become one factor, and
put together again as the unit that its dimension has here. All of it is exact, so what no decimal factor joins stays
apart: kPa and mm[Hg], [degF] and Cel, /h and /min. Annotations say nothing in UCUM and are left out, but for the body
surface of a filtration rate.

The grammar is ucumvert's, made from UCUM's own table and tried on UCUM's own examples. The first quantity loads it, in
0.7 s. Source: ucum.org, version 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from trainers.importers.measures.unit_names import spelled

MAX_CHARACTERS = 64  # of a number, and of a unit
MAX_EXPONENT = 40  # of ten, in a quantity; the observable universe is some 10*27 m

_EXACTLY = Context(prec=256, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation, Overflow])
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_COUNT = re.compile(r"(?!1$)[0-9.]+")  # as units some system's own codes: to UCUM, 21 is twenty-one times as much
_SURFACE = "{1.73_m2}"

_TENS = dict(zip("yzafpnum", range(-24, 0, 3), strict=True)) | dict(zip("kMGTPEZY", range(3, 27, 3), strict=True))
_PREFIXES = {p: Fraction(10) ** n for p, n in (_TENS | {"c": -2, "d": -1, "da": 1, "h": 2, "": 0}).items()}
_PREFIXES |= {f"{p}i": Fraction(1024) ** n for n, p in enumerate("KMGT", 1)}
# what no hospital measures: gauss (G), from peta on anything, from mega on these
_BEYOND, _LARGE = frozenset("PEZY"), frozenset("MGT")
_NEVER_LARGE = frozenset({"g", "l", "L", "m", "mol", "eq", "osm"})


def _table(text: str) -> dict[str, tuple[str, Fraction]]:
    """{first: (second, third)} of each row."""
    return {first: (second, Fraction(size)) for first, second, size in (row.split() for row in text.split(";"))}


# an atom, another one, and how many of that it is
_ATOMS = _table(
    """l L 1; [IU] [iU] 1; t g 1e6; bar Pa 1e5; kat U 6e7; wk d 7; cal J 4.184; cal_th J 4.184; [Cal] J 4184;
    [lb_av] g 453.59237; [oz_av] g 28.349523125; [stone_av] g 6350.29318; [foz_us] L 0.0295735295625;
    [in_i] m 0.0254; [ft_i] m 0.3048; [yd_i] m 0.9144; [mi_i] m 1609.344; [cup_us] L 0.2365882365"""
)
# a dimension, the unit it is written in, and how many of the dimension's own that is
_PREFERRED = _table(
    """g kg 1e3; L L 1; /L 10*12/L 1e12; m/h km/h 1e3; g/L mg/L 1e-3; mol mmol 1e-3; mol/L mmol/L 1e-3; eq/L meq/L 1e-3;
    osm/g mosm/kg 1e-6; g/g mg/g 1e-3; mol/mol mmol/mol 1e-3; L/L % 1/100; g/m2 kg/m2 1e3; m[Hg] mm[Hg] 1e-3;
    m[H2O] cm[H2O] 1e-2; Pa kPa 1e3; J kJ 1e3; V mV 1e-3; B dB 1e-1; B[SPL] dB[SPL] 1e-1; min s 1/60; h s 1/3600;
    /s /min 1/60; L/s L/min 1/60; C mC 1e-3; F uF 1e-6;
    L/g/min mL/kg/min 1e-6; L/min/{1.73_m2} mL/min/{1.73_m2} 1e-3"""
)
# The same for units below a scale: what is measured on both sides of it (a cell and a person, red cells and white
# ones, a sedimentation and a run) is not the same fact.
_SMALL = _table("g pg 1e-12; L fL 1e-15; /L 10*9/L 1e9; m/h mm/h 1e-3")
_SCALES = {"g": Fraction("1e-6"), "L": Fraction("1e-6"), "/L": Fraction("1e12"), "m/h": Fraction(1)}


def quantity(value: str | int | float | Decimal, unit: str) -> dict[str, str]:
    """{"value": decimal text, "unit": UCUM code} of so many units; "" and "1" are no dimension.

    A float is the number that its shortest text says. Raises ValueError for what is no finite number of an ordinary
    size, and for a unit that is neither a UCUM code nor a usual name of one.
    """
    number = _number(value)
    factor, code = _canonical(unit)
    try:
        product = _EXACTLY.multiply(number, factor).normalize(_EXACTLY)
    except (Inexact, InvalidOperation, Overflow) as fault:
        raise ValueError("a number with more digits than any measurement has") from fault
    if product and abs(product.adjusted()) > MAX_EXPONENT:
        raise ValueError("a number of no size that is measured")
    return {"value": f"{product:f}" if product else "0", "unit": code}


def _number(value: str | int | float | Decimal) -> Decimal:
    if isinstance(value, bool):
        raise ValueError("not a number")
    text = (repr(value) if isinstance(value, float) else str(value)).strip()
    if len(text) > MAX_CHARACTERS or not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return Decimal(text)


@lru_cache(maxsize=4096)
def _canonical(unit: str) -> tuple[Decimal, str]:
    """How many of the canonical unit this one is, and that unit. Raises ValueError for no unit."""
    over, under, factor = _reduced(_tree(unit))
    base = _written(over, under)
    small = factor < _SCALES.get(base, 0)
    code, size = (_SMALL if small else _PREFERRED).get(base, (base, Fraction(1)))
    ratio = factor / size
    try:
        return _EXACTLY.divide(Decimal(ratio.numerator), Decimal(ratio.denominator)), code
    except Inexact as fault:
        raise ValueError(f"no decimal number of {code} is a {_short(unit)}") from fault


def _tree(unit: str) -> Any:
    from lark.exceptions import LarkError

    if len(unit) <= MAX_CHARACTERS and not _COUNT.fullmatch(unit.strip()):
        for code in dict.fromkeys(spelled(unit)):
            try:
                tree = _parser().parse(code)
            except LarkError:
                continue
            if _is_measured(tree):
                return tree
    raise ValueError(f"unknown unit {_short(unit)}")


def _is_measured(tree: Any) -> bool:
    """Whether nothing in a unit is beyond medicine: then PG/ML, which UCUM reads as petagauss a megalitre, is no more
    than pg/mL in capitals.
    """
    atoms = [(prefix, symbol) for prefix, symbol, _ in _atoms(tree, 1)]
    return not any(
        symbol == "G" or prefix in _BEYOND or (prefix in _LARGE and symbol in _NEVER_LARGE) for prefix, symbol in atoms
    )


@cache
def _parser() -> Any:
    from ucumvert import get_ucum_parser  # type: ignore[import-untyped]

    return get_ucum_parser()


def _short(unit: str) -> str:
    text = "".join(c if c.isprintable() and c != "'" else "?" for c in unit[:24])
    return f"'{text}…'" if len(unit) > 24 else f"'{text}'"


def _reduced(tree: Any) -> tuple[dict[str, int], dict[str, int], Fraction]:
    """Atoms above the line and below it, each with its power, and the factor before them all."""
    sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
    factor = Fraction(1)
    for prefix, symbol, power in _atoms(tree, 1):
        if abs(power) > MAX_EXPONENT:
            raise ValueError("a unit of no size that is measured")
        atom, size = _ATOMS.get(symbol, (symbol, Fraction(1)))
        if symbol in ("10*", "10^") or symbol.isdecimal():
            atom, size = "", Fraction(symbol.rstrip("*^"))
        factor *= (_PREFIXES[prefix] * size) ** power
        if atom:
            side = sides[power < 0]
            side[atom] = side.get(atom, 0) + abs(power)
    for side, litre in zip(sides, (Fraction(1000), Fraction(1, 1000)), strict=True):
        if side.get("m") == 3:  # a cubic metre is a volume, and has the litre's unit
            del side["m"]
            side["L"], factor = side.get("L", 0) + 1, factor * litre
    return *sides, factor


def _atoms(node: Any, sign: int) -> Iterator[tuple[str, str, int]]:
    """(prefix, symbol, power) of each atom and number in a tree of ucumvert's grammar."""
    if not hasattr(node, "children"):  # a token: an annotation, all others are inside of what is below
        if node == _SURFACE:
            yield "", _SURFACE, sign
        return
    *before, last = node.children
    if node.data == "simple_unit":
        yield str(before[0]) if before else "", str(last), sign
    elif node.data == "annotatable":
        yield from ((prefix, symbol, power * int(last)) for prefix, symbol, power in _atoms(before[0], sign))
    elif node.data == "component":
        yield from _atoms(before[0], sign)
    else:  # a term, or the main one: what comes last is divided by, or multiplied with
        yield from _atoms(before[0], sign) if len(before) == 2 else ()
        yield from _atoms(last, -sign if before and before[-1] == "/" else sign)


def _written(over: dict[str, int], under: dict[str, int]) -> str:
    above, below = (
        [f"{atom}{'' if power == 1 else power}" for atom, power in sorted(side.items(), key=_order)]
        for side in (over, under)
    )
    return ".".join(above) + "".join(f"/{atom}" for atom in below) or "1"


def _order(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] == _SURFACE, item[0]
