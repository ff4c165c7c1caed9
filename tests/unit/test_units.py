"""Quantities of sources: one text for each, exactly, and ValueError, nothing else, for what is none."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.importers.measures.units import quantity

UCUM = (
    *(
        "g",
        "mg",
        "ug",
        "pg",
        "t",
        "[lb_av]",
        "[oz_av]",
        "[stone_av]",
        "m",
        "cm",
        "km",
        "[in_i]",
        "[ft_i]",
        "[mi_i]",
        "L",
    ),
    *("mL", "fL", "um3", "m3", "[foz_us]", "[cup_us]", "ms", "s", "min", "h", "d", "wk", "a", "mo", "Pa", "bar", "kat"),
    *(
        "mm[Hg]",
        "cm[H2O]",
        "kcal",
        "kJ",
        "mV",
        "Hz",
        "/min",
        "/s",
        "/h",
        "10*3/uL",
        "10*6/uL",
        "10*9/L",
        "/mm3",
    ),
    *("mg/dL", "g/L", "ng/mL", "mmol/L", "umol/L", "meq/L", "mosm/kg", "m[IU]/L", "U/L", "ukat/L", "mg/g", "mmol/mol"),
    *(
        "%",
        "kg/m2",
        "m2",
        "m/s",
        "km/h",
        "mm/h",
        "[mi_i]/h",
        "L/min",
        "mL/s",
        "mL/(kg.min)",
        "g/d",
        "g/(8.h)",
        "kg.m2/s2",
    ),
)


@pytest.mark.parametrize(
    ("value", "unit", "same"),
    [
        ("221", "giga.l-1", ("221", "10*9/L")),
        ("4.06", "tera.l-1", ("4.06", "10*12/L")),
        ("4.06", "M/uL", ("4.06", "10*12/L")),
        *(
            ("5.9", unit, ("5.9", "10*9/L"))
            for unit in ("10*3/uL", "10^3/ul", "K/uL", "G/L", "10³/µL", "x10E3/uL", "x10(3)/mm3")
        ),
        ("5900", "cells/mm3", ("5.9", "10*9/L")),
        *(("72", unit, ("72", "/min")) for unit in ("bpm", "{beats}/min", "beats/min", "/min", "count/min")),
        ("150", "lbs", ("68.0388555", "kg")),
        ("68038.8555", "g", ("68.0388555", "kg")),
        ("99", "mg/dL", ("990", "mg/L")),
        ("99", "MG/DL", ("990", "mg/L")),
        ("0.99", "g/l", ("990", "mg/L")),
        ("15", "g%", ("150000", "mg/L")),
        (".45", "L/L", ("45", "%")),
        *(("120", unit, ("120", "mm[Hg]")) for unit in ("mmHg", "mm Hg", "mm(hg)", "mm[Hg]")),
        *(("37", unit, ("37", "Cel")) for unit in ("degC", "°C", "℃", "Cel")),
        ("98.6", "°F", ("98.6", "[degF]")),
        ("37", "C", ("37", "Cel")),
        ("98.6", "F", ("98.6", "[degF]")),
        ("2", "uS", ("0.000002", "S")),
        ("504", "mC", ("504", "mC")),  # of an electric shock; C would be read as degrees
        *(("7.1", unit, ("7.1", "mg/L")) for unit in ("MG/L", "Mg/L", "UG/ML", "MG/l")),
        ("35", "PG/ML", ("0.000035", "mg/L")),
        ("29.8", "PG", ("29.8", "pg")),
        ("1500", "ML", ("1.5", "L")),
        ("5.1", "Mmol/L", ("5.1", "mmol/L")),
        ("2.5", "MIU/ML", ("2.5", "[iU]/L")),
        *(("2.5", unit, ("0.0025", "U/L")) for unit in ("MU/L", "mU/L", "MU/l")),
        *(("5.9", unit, ("5.9", "10*9/L")) for unit in ("G/l", "10E9/L")),
        ("4.06", "T/l", ("4.06", "10*12/L")),
        *(("12", unit, ("12", "cm[H2O]")) for unit in ("cmH2O", "cm(H2O)", "CMH2O", "cm H2O")),
        ("5", "MU", ("5000000", "U")),
        ("64", "MHz", ("64000000", "Hz")),
        ("29.8", "pg", ("29.8", "pg")),
        ("80.6", "um3", ("80.6", "fL")),
        *(("3", unit, ("3", "1")) for unit in ("", "1", "{score}", "count")),
        *(
            ("88", f"mL/min/{area}", ("88", "mL/min/{1.73_m2}"))
            for area in ("{1.73_m2}", "1.73m2", "1.73 m²", "1.73.m2")
        ),
        ("88", "mL/min", ("0.088", "L/min")),
        ("24", "kg/m^2", ("24", "kg/m2")),
        ("2.5", "uIU/mL", ("0.0025", "[iU]/L")),
        ("1", "ukat/L", ("60", "U/L")),
        ("500", "kcal", ("2092", "kJ")),
        ("8", "hrs", ("28800", "s")),
        ("40", "mL/min·kg", ("40", "mL/kg/min")),
        ("3", "g/24h", ("3", "g/d")),
        ("30", "mm/hr", ("30", "mm/h")),
        ("5", "/hpf", ("5", "/[HPF]")),
        ("4", "mEq/L", ("4", "meq/L")),
        ("1.01", "bar", ("101", "kPa")),
        ("3", "10*-6", ("0.000003", "1")),
    ],
)
def test_equal_quantities_have_one_text(value: str, unit: str, same: tuple[str, str]) -> None:
    assert quantity(value, unit) == {"value": same[0], "unit": same[1]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(
            (5.978707534265798, "5.978707534265798"),
            (1e-7, "0.0000001"),
            (0.1, "0.1"),
            (-0.0, "0"),
            (3, "3"),
            ("4.10", "4.1"),
        ),
        *(
            ("+5.", "5"),
            (" 7 ", "7"),
            (".5", "0.5"),
            ("1E2", "100"),
            ("-3.20e-1", "-0.32"),
            (Decimal("1.2300"), "1.23"),
        ),
    ],
)
def test_a_number_has_one_text(value: str | float | Decimal, text: str) -> None:
    assert quantity(value, "1")["value"] == text


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "NaN",
            "inf",
            "-Infinity",
            float("nan"),
            float("inf"),
            Decimal("sNaN"),
            True,
            "12 mg",
            "1,5",
            "1_000",
            "٣",
        ),
        *("0x10", "--1", "1e", "e5", "1" * 65, "9e999", "1e-999", 10**100, 1e300, None, b"5", [], "1/3", "<5", "1\n2"),
    ],
)
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="number"):
        quantity(value, "mg/dL")


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "foo",
            "mg//dL",
            "kg/",
            "(m",
            "mm[Hg",
            "{",
            "see note",
            "ng/mL FEU",
            "10*99999",
            "m999",
            "m" * 65,
            "\0",
            "'; --",
        ),
        *("21", "10", "1000", "7.2"),  # some system's own codes, by which nothing is multiplied
        *("EU/mL", "PU/L", "ZU"),  # exa, peta and zetta are of no unit that is measured
        *("(" * 30 + "m" + ")" * 29, "/3{a}", "0", "m0", "mg" + "\u202e" + "dL", "٣", "a" * 10_000),
    ],
)
def test_what_is_no_unit_is_refused_by_its_name(unit: str) -> None:
    with pytest.raises(ValueError, match=r"unit|no decimal number") as fault:
        quantity("1", unit)
    assert str(fault.value).isprintable()
    assert len(str(fault.value)) < 80


def test_parentheses_as_deep_as_a_unit_can_have_them_are_read() -> None:
    assert quantity("1", "(" * 31 + "m" + ")" * 31) == {"value": "1", "unit": "m"}


def test_what_no_decimal_factor_joins_stays_apart() -> None:
    assert quantity("16", "kPa")["unit"] == "kPa"
    assert quantity("7", "/h")["unit"] == "/h"
    assert quantity("98.6", "[degF]")["unit"] == "[degF]"


@pytest.mark.parametrize("unit", UCUM)
def test_factors_are_those_of_the_ucum_definitions(unit: str, registry: object) -> None:
    """Compared with pint's, which has them as floats from UCUM's own table."""
    ours = quantity("1", unit)
    per_unit = registry.from_ucum(unit).to(registry.from_ucum(ours["unit"])).magnitude  # type: ignore[attr-defined]
    assert float(ours["value"]) == pytest.approx(per_unit, rel=1e-9)


@pytest.fixture(scope="module")
def registry() -> object:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


@given(st.decimals(-10_000, 10_000, places=4), st.sampled_from(UCUM))
def test_a_quantity_is_its_own_canonical_form(value: Decimal, unit: str) -> None:
    once = quantity(value, unit)
    assert quantity(once["value"], once["unit"]) == once


@given(st.decimals(-10_000, 10_000, places=3), st.sampled_from([("mg", "kg", 6), ("uL", "L", 6), ("mmol", "mol", 3)]))
def test_scale_makes_no_difference(value: Decimal, units: tuple[str, str, int]) -> None:
    small, large, power = units
    assert quantity(value, small) == quantity(value.scaleb(-power), large)


@given(st.floats())
def test_a_float_is_the_number_of_its_shortest_text(value: float) -> None:
    with suppress(ValueError):
        assert float(quantity(value, "1")["value"]) == value


@given(
    st.text(max_size=20) | st.text("0123456789.eE+-", max_size=12),
    st.text(max_size=20) | st.text("mgLdl10*^/.{}[]()%", max_size=12),
)
def test_nothing_else_than_value_error_is_raised(value: str, unit: str) -> None:
    for number, name in ((value, "kg"), ("1", unit)):
        with suppress(ValueError):
            assert quantity(number, name)
