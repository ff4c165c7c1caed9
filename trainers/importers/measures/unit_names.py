"""UCUM codes for units as people write them: "K/uL", "10^3/µl", "giga.l-1", "MG/DL", "bpm", "°C".

Only what has one meaning in a hospital is here. Some of these are UCUM codes of something else (ft is a femtotonne,
K/uL kelvins in a microlitre), which no laboratory, device or scale measures in.

Source: UCUM 2.2; ISO+ (HL7 v2.5.1 table 0396 and its chapter 7); units seen in the exports that the importers read.
"""

from __future__ import annotations

import re
import unicodedata

# as they are written, upper and lower case apart: G/L is no g/L
_EXACT = {
    "K/uL": "10*3/uL",
    **dict.fromkeys(("G/L", "G/l"), "10*9/L"),
    **dict.fromkeys(("T/L", "T/l"), "10*12/L"),
    **dict.fromkeys(("MU/L", "MU/l"), "mU/L"),  # millions are given, and never found in a litre
    **dict.fromkeys(("MU/mL", "MU/ml"), "mU/mL"),
    "C": "Cel",
    "F": "[degF]",
    "Cal": "kcal",
    "Kcal": "kcal",
    "u/L": "U/L",
    "u/l": "U/L",
}

_WHOLE = {
    **dict.fromkeys(("", "none", "unitless", "ratio", "score", "index", "inr", "count", "counts", "steps"), "1"),
    **dict.fromkeys(("bpm", "beatsperminute", "breathsperminute", "perminute", "rpm"), "/min"),
    **dict.fromkeys(("degc", "deg.c", "celsius", "degreescelsius"), "Cel"),
    **dict.fromkeys(("degf", "deg.f", "fahrenheit", "degreesfahrenheit"), "[degF]"),
    **dict.fromkeys(("k/ul", "k/mm3", "thou/ul", "thou/mm3", "th/ul"), "10*3/uL"),
    **dict.fromkeys(("m/ul", "mil/ul", "mil/mm3", "mill/ul", "mill/mm3", "m/mm3"), "10*6/uL"),
    **dict.fromkeys(("ml/min.kg", "ml/(kg*min)", "ml/min/kg"), "mL/kg/min"),
    **dict.fromkeys(("percent", "pct", "vol%"), "%"),
    **dict.fromkeys(("g%", "gm%"), "g/dL"),
    "mg%": "mg/dL",
    "mph": "[mi_i]/h",
    "kph": "km/h",
    "kmh": "km/h",
}

_WORDS = {
    **dict.fromkeys(("beat", "beats", "breath", "breaths", "count", "counts", "cell", "cells", "copies"), "{count}"),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), "[lb_av]"),
    **dict.fromkeys(("oz", "ounce", "ounces"), "[oz_av]"),
    **dict.fromkeys(("in", "inch", "inches"), "[in_i]"),
    **dict.fromkeys(("ft", "foot", "feet"), "[ft_i]"),
    **dict.fromkeys(("mi", "mile", "miles"), "[mi_i]"),
    **dict.fromkeys(("msec", "msecs", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("wks", "week", "weeks"), "wk"),
    **dict.fromkeys(("mos", "month", "months"), "mo"),
    **dict.fromkeys(("yr", "yrs", "year", "years"), "a"),
    **dict.fromkeys(("gm", "gms", "gram", "grams"), "g"),
    **dict.fromkeys(("kgs", "kilogram", "kilograms"), "kg"),
    **dict.fromkeys(("meter", "metre", "meters", "metres"), "m"),
    **dict.fromkeys(("liter", "litre", "liters", "litres"), "L"),
    **dict.fromkeys(("mmhg", "mm(hg)"), "mm[Hg]"),
    **dict.fromkeys(("cmh2o", "cm(h2o)"), "cm[H2O]"),
    **dict.fromkeys(("thousand", "thousands"), "10*3"),
    **dict.fromkeys(("mega", "million", "millions"), "10*6"),
    **dict.fromkeys(("mcg", "mcgs"), "ug"),
    **dict.fromkeys(("mmole", "mmoles"), "mmol"),
    "cc": "mL",
    "cfu": "[CFU]",
    "giga": "10*9",
    "hpf": "[HPF]",
    "lpf": "[LPF]",
    "ph": "[pH]",
    "ppm": "[ppm]",
    "tera": "10*12",
    **{f"{prefix}iu": f"{prefix}[iU]" for prefix in ("", "k", "m", "u")},
}

# by what is left of them where a system knows one case only: "MG/DL"
_CASELESS = {
    code.casefold(): code
    for code in (
        *(
            "kg",
            "g",
            "mg",
            "ug",
            "ng",
            "pg",
            "L",
            "dL",
            "mL",
            "uL",
            "fL",
            "mol",
            "mmol",
            "umol",
            "nmol",
            "pmol",
            "eq",
            "meq",
        ),
        *(
            "osm",
            "mosm",
            "U",
            "mU",
            "kU",
            "m",
            "cm",
            "mm",
            "km",
            "min",
            "h",
            "s",
            "ms",
            "Cel",
            "Hz",
            "mV",
            "kPa",
            "kcal",
            "kJ",
        ),
    )
}

_SUPERSCRIPT = re.compile("10([⁰¹²³⁴-⁹]+)")
_POWER = re.compile(r"[xX*]?10(?:\*\*|\^|\*|exp|[eE]|(?=\())\(?\+?([0-9]{1,2})\)?(?![0-9])")
_SURFACE = re.compile(r"/\(?\{?1\.73[._]?(?:m\^?2|sqm)\}?\)?")
_DAY = re.compile(r"/(?:24\.?h(?:rs?)?|\(24\.h\))(?![a-z])")
_WORD = re.compile(
    r"(?<![\[{\w*])([A-Za-z]+\([A-Za-z0-9]+\)|[A-Za-z]+?(?:h2o|H2O)(?![a-z])|[A-Za-z]+)(?![A-Za-z\]}_'])"
)
_CHARACTERS = str.maketrans({"μ": "u", "×": "x", "·": ".", "⋅": ".", "•": ".", "°": "deg", "−": "-", " ": None})


def spelled(unit: str) -> tuple[str, str]:
    """Two guesses at the UCUM code that somebody means by this: with its letters as they are, and in any case."""
    text = _SUPERSCRIPT.sub(lambda m: "10*" + unicodedata.normalize("NFKC", m[1]), unit)
    text = unicodedata.normalize("NFKC", "".join(text.split()).replace("°", "deg")).translate(_CHARACTERS)
    known = _EXACT.get(text) or _WHOLE.get(text.casefold())
    if known:
        return known, known
    text = _DAY.sub("/d", _SURFACE.sub("/{1.73_m2}", _POWER.sub(r"10*\1", text)))
    text = re.sub(r"([A-Za-z\]])(?:\^|\*\*)([0-9])", r"\1\2", text)
    guess = _WORD.sub(lambda m: _WORDS.get(m[1].casefold(), m[1]), text)
    return guess, _WORD.sub(lambda m: _CASELESS.get(m[1].casefold(), m[1]), guess)
