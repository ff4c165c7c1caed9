"""A timeline as people and machines look at it: a table, a picture with a panel for each measure, HTML, JSON."""

from __future__ import annotations

import html
import io
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hmchain.errors import UsageError
from hmchain.record import canonical
from trainers.services.abnormal import objects
from trainers.services.timeline import Fact, Point, Timeline, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
MAX_PANELS = 24
MAX_TEXT = 60  # characters of a name or a value in a table
DRAWN = range(1000, 9000)  # years; those around 1 and 9999 stand for no date in many systems, and no axis reaches them
LATEST = ("measure", "latest", "unit", "when", "change", "range", "values", "where", "mark")
FACTS = ("when", "type", "what", "value", "where", "mark")


def rendered(timeline: Timeline, suffix: str) -> bytes:
    """A file's content by the ending of its name. Raises UsageError for another one."""
    if suffix in (".png", ".svg"):
        return picture(timeline, suffix[1:])
    if suffix not in (".html", ".json"):
        raise UsageError(
            f"a timeline is written as .html, .png, .svg or .json, not as {suffix or 'a file without one'}"
        )
    return (as_html(timeline) if suffix == ".html" else as_json(timeline) + "\n").encode()


def value_text(value: Mapping[str, Any]) -> str:
    """A record's value in a few words, "" where it has no short one."""
    if isinstance(quantity := value.get("quantity"), Mapping):
        return f"{value.get('comparator', '')}{quantity.get('value')} {quantity.get('unit')}"
    if components := objects(value.get("components")):
        return " / ".join(filter(None, map(value_text, components)))
    for name in ("text", "time", "state", "activity", "modality"):
        if isinstance(value.get(name), str):
            return str(value[name])
    if isinstance(codes := value.get("codes"), list) and codes:
        return ", ".join(str(code[-1]) for code in codes if isinstance(code, list) and code)
    return "" if "boolean" not in value else "yes" if value["boolean"] else "no"


def fact_row(timeline: Timeline, fact: Fact) -> tuple[str, ...]:
    """The columns of FACTS."""
    record, state = fact.record, " conflict" if fact.conflicts else ""
    what, places = timeline.name(record), ", ".join(fact.places)
    return record.time, record.type, what, value_text(record.value), places, (fact.mark + state).strip()


def latest_row(trend: Trend) -> tuple[str, ...]:
    """The columns of LATEST."""
    last, values = trend.points[-1], [point.value for point in trend.points]
    change = f"{float(values[-1] - values[-2]):+.6g}" if len(values) > 1 else ""
    spread = f"{float(min(values)):.6g} to {float(max(values)):.6g}"
    number, places = f"{float(last.value):.6g}", ", ".join(_places(trend.points))
    return trend.name, number, trend.unit, last.time, change, spread, f"{len(values):,}", places, last.mark


def _places(points: Iterable[Point]) -> list[str]:
    return list(dict.fromkeys(place for point in points for place in point.places))


def type_rows(timeline: Timeline) -> list[tuple[str, ...]]:
    """How many facts of each type, from when to when, and what the last ones are about."""
    by_type: dict[str, list[Fact]] = {}
    for fact in timeline.facts:
        by_type.setdefault(fact.record.type, []).append(fact)
    rows: list[tuple[str, ...]] = []
    for type, facts in sorted(by_type.items()):
        times = [fact.record.time for fact in facts if fact.record.time]
        last = list(dict.fromkeys(timeline.name(fact.record) for fact in reversed(facts)))[:3]
        first, end = (times[0][:10], times[-1][:10]) if times else ("", "")
        rows.append((type, f"{len(facts):,}", first, end, "; ".join(last)))
    return rows


def summary(timeline: Timeline) -> str:
    """The first line."""
    facts = timeline.facts
    places = {place: sum(place in fact.places for fact in facts) for place in _all_places(timeline)}
    told = ", ".join(f"{count:,} of {place}" for place, count in places.items())
    counts = f"{sum(f.conflicts for f in facts):,} in conflict, {sum(bool(f.mark) for f in facts):,} abnormal"
    several = (f"{place} has {count} pseudonyms" for place, count in timeline.subjects.items() if count > 1)
    doubt = "".join(f"; {text}: is it one person?" for text in several)
    return _plain(f"{len(facts):,} facts: {told}; {timeline.shared():,} known to several; {counts}{doubt}")


def _all_places(timeline: Timeline) -> list[str]:
    return list(dict.fromkeys(place for fact in timeline.facts for place in fact.places))


def striking(timeline: Timeline) -> list[Fact]:
    """What is abnormal or in conflict."""
    return [fact for fact in timeline.facts if fact.mark or fact.conflicts]


def sections(timeline: Timeline) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """The tables, each with its title and its columns; those without rows are left out."""
    found = [fact_row(timeline, fact) for fact in striking(timeline)]
    tables: list[tuple[str, Sequence[str], list[tuple[str, ...]]]] = [
        ("What there is", ("type", "facts", "from", "to", "last about"), type_rows(timeline)),
        ("Latest values", LATEST, [latest_row(trend) for trend in timeline.trends]),
        ("Abnormal, or in conflict", FACTS, found),
    ]
    return [table for table in tables if table[2]]


def as_text(timeline: Timeline) -> str:
    """Tables for a terminal."""
    parts = [summary(timeline)]
    for title, columns, rows in sections(timeline):
        cells = [tuple(columns), *(tuple(_cut(cell) for cell in row) for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )
        parts.append(f"\n{title}\n" + "\n".join(f"  {line}" for line in lines))
    return "\n".join(parts)


def _cut(text: str) -> str:
    plain = _plain(text)
    return plain if len(plain) <= MAX_TEXT else plain[: MAX_TEXT - 1] + "…"


def _plain(text: str) -> str:
    """A text that others wrote, without the control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "·" for c in " ".join(text.split()))


def as_json(timeline: Timeline) -> str:
    """All of it: facts with their records, and trends with every point; numbers are decimal text."""
    facts = [_fact_json(timeline, fact) for fact in timeline.facts]
    trends = [
        {"name": t.name, "code": t.code, "unit": t.unit, "points": [_point_json(point) for point in t.points]}
        for t in timeline.trends
    ]
    counts = {"facts": len(facts), "shared": timeline.shared(), "striking": len(striking(timeline))}
    return json.dumps({"counts": counts, "facts": facts, "trends": trends}, ensure_ascii=False)


def _fact_json(timeline: Timeline, fact: Fact) -> dict[str, Any]:
    record = fact.record
    about = {"time": record.time, "kind": record.kind.value, "type": record.type, "name": timeline.name(record)}
    said = {"codes": [[c.system, c.code] for c in record.codes], "value": json.loads(canonical(record.value))}
    return {**about, **said, "places": fact.places, "mark": fact.mark, "conflict": fact.conflicts}


def _point_json(point: Point) -> dict[str, Any]:
    return {"time": point.time, "value": str(point.value), "places": list(point.places), "mark": point.mark}


def as_html(timeline: Timeline) -> str:
    """One page that needs no other file: picture, tables, and every fact, the last first."""
    every = [fact_row(timeline, fact) for fact in reversed(timeline.facts)]
    tables = "".join(_table(*table) for table in (*sections(timeline), ("All facts", FACTS, every)))
    image = b64encode(picture(timeline, "png")).decode() if timeline.trends else ""
    shown = f'<img alt="Trends" src="data:image/png;base64,{image}">' if image else ""
    style = "body{font:14px sans-serif;margin:2em}td,th{text-align:left;padding:2px 10px 2px 0}img{max-width:100%}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Timeline</title><style>{style}</style>'
    return f"{head}<h1>Timeline</h1><p>{html.escape(summary(timeline))}</p>{shown}{tables}</html>\n"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = ("<tr>" + "".join(f"<td>{html.escape(_plain(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{''.join(body)}</table>"


def panels(timeline: Timeline) -> list[Trend]:
    """What is drawn: measures with several values, those with the most, by name; single values where there are none."""
    several = [trend for trend in timeline.trends if len(trend.points) > 1] or timeline.trends
    chosen = sorted(several, key=lambda trend: -len(trend.points))[:MAX_PANELS]
    return sorted(chosen, key=lambda trend: (trend.name, trend.unit))


def picture(timeline: Timeline, form: str) -> bytes:
    """A panel for each measure as PNG or SVG ("png", "svg"); abnormal values are ringed."""
    # Imported here: it takes half a second, and only a picture needs it.
    import matplotlib
    from matplotlib.figure import Figure

    chosen = panels(timeline)
    lines = -(-len(chosen) // COLUMNS) or 1
    with matplotlib.rc_context({"text.parse_math": False, "svg.fonttype": "none"}):  # a name may have a dollar sign
        width, height = 4.6 * COLUMNS, 2.6 * lines
        figure = Figure(figsize=(width, height))  # with margins of our own: laying out two dozen panels takes seconds
        edges = {"left": 0.7 / width, "right": 1 - 0.2 / width, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
        figure.subplots_adjust(**edges, wspace=0.25, hspace=0.45)
        for number, trend in enumerate(chosen, 1):
            _draw(figure.add_subplot(lines, COLUMNS, number), trend)
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=100, metadata={"Date": None} if form == "svg" else None)
    return content.getvalue()


def _draw(axes: Axes, trend: Trend) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    _plot(axes, trend.points, color="0.75", linewidth=0.8)
    for places in dict.fromkeys(point.places for point in trend.points):
        own = [point for point in trend.points if point.places == places]
        _plot(axes, own, linestyle="", marker="o", markersize=3, label=_ascii(", ".join(places)))
    marked = [point for point in trend.points if point.mark]
    _plot(axes, marked, linestyle="", marker="o", markersize=8, fillstyle="none", color="tab:red")
    axes.set_title(_ascii(_cut(trend.name)), fontsize=8)
    axes.set_ylabel(_ascii(trend.unit if trend.unit != "1" else "count"), fontsize=8)
    locator = AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if len(_places(trend.points)) > 1:
        axes.legend(fontsize=6)


def _plot(axes: Axes, points: Iterable[Point], **style: Any) -> None:
    shown = [(point.moment, float(point.value)) for point in points if point.moment.year in DRAWN]
    axes.plot([moment for moment, _ in shown], [value for _, value in shown], **style)  # type: ignore[arg-type]


def _ascii(text: str) -> str:
    """A text in ASCII: the figures' font lacks most scripts, and warns of each sign that it lacks."""
    return text.replace("…", "...").encode("ascii", "replace").decode()
