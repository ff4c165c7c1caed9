"""Laboratory tables: every row a record that FHIR's would equal, or a rejection that says where and why."""

from collections.abc import Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.record import Code, Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers import labs
from trainers.importers.base import Context, Rejection
from trainers.importers.fhir import resources
from trainers.importers.measures.observations import is_loinc, reported

CONTEXT = Context(b"k" * 32)
HEADER = "patient_id,specimen_datetime,loinc,test_name,value,unit,status\n"
ROW = "p1,2016-12-14T13:55:57+00:00,718-7,Hemoglobin,15.5,g/dL,final\n"


def imported(tmp_path: Path, content: str | bytes, context: Context = CONTEXT) -> list[Record | Rejection]:
    path = tmp_path / "labs.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(labs.read(path, context))


def records(things: Iterable[Record | Rejection]) -> list[Record]:
    return [thing for thing in things if isinstance(thing, Record)]


def rejected(tmp_path: Path, row: str | bytes) -> Rejection:
    """The rejection of a row that stands between two good ones, which are both taken."""
    before, middle, after = imported(tmp_path, (HEADER + ROW).encode() + _bytes(row) + b"\n" + ROW.encode())
    assert isinstance(before, Record)
    assert after == before
    assert isinstance(middle, Rejection)
    assert middle.position == "line 3"
    return middle


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@pytest.fixture
def table() -> Path:
    return RECORDS / "lis" / "synthea_labs_loinc.csv"


@needs_samples
def test_every_row_of_the_sample_is_a_record(table: Path) -> None:
    things = list(labs.read(table, CONTEXT))
    assert (len(things), len(records(things))) == (74, 74)
    assert len({record.identity() for record in records(things)}) == 74


@needs_samples
def test_the_sample_rows_are_duplicates_of_the_bundles_they_were_made_from(table: Path) -> None:
    bundles = list((RECORDS / "fhir").glob("synthea_*.json"))
    known = {record.identity() for path in bundles for record in records(resources.read(path, CONTEXT))}
    rows = table.read_text().splitlines()[1:]
    for row, record in zip(rows, records(labs.read(table, CONTEXT)), strict=True):
        assert (record.identity() in known) is any(path.name in row for path in bundles)


def test_a_row_is_an_observation(tmp_path: Path) -> None:
    [record] = records(imported(tmp_path, HEADER + ROW))
    assert record == Record(
        kind=Kind.CLINICAL,
        type="observation",
        subject=CONTEXT.pseudonym("p1"),
        time="2016-12-14T13:55:57Z",
        codes=(Code("http://loinc.org", "718-7"),),
        value={"quantity": {"value": "155000", "unit": "mg/L"}},
        source="labs-csv",
        detail={"status": "final", "written": {"value": "15.5", "unit": "g/dL"}},
    )
    assert record.codes[0].display == "Hemoglobin"
    assert Record.decode(record.encode()) == record


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("<0.1", "ng/mL", {"quantity": {"value": "0.0001", "unit": "mg/L"}, "comparator": "<"}),
        (">= 60", "mL/min/{1.73_m2}", {"quantity": {"value": "60", "unit": "mL/min/{1.73_m2}"}, "comparator": ">="}),
        ("positive", "", {"text": "positive"}),
        ("  not   detected ", "", {"text": "not detected"}),
        ("7.4", "", {"quantity": {"value": "7.4", "unit": "1"}}),
        ("1e3", "10*3/uL", {"quantity": {"value": "1000", "unit": "10*9/L"}}),
    ],
)
def test_results_are_numbers_bounds_or_words(
    tmp_path: Path, value: str, unit: str, expected: dict[str, object]
) -> None:
    [record] = records(imported(tmp_path, HEADER + f"p1,2016,718-7,x,{value},{unit},final\n"))
    assert record.value == expected


@pytest.mark.parametrize(
    "content",
    [
        "MRN;LOINC Code;Collection Date;Result;Units\np1;718-7;2016-12-14;15,5;g/dl\n",
        "\ufeffloinc\tVALUE\tUnit\tpatient\tdate\r\n718-7\t15.5\tg/dL\tp1\t2016-12-14\r\n",
        '"Patient ID","Collected","LOINC","Result Value","Result Unit"\n\n"p1","2016-12-14","718-7","15.5","g/dL"',
    ],
)
def test_columns_are_found_by_name_whatever_separates_them(tmp_path: Path, content: str) -> None:
    [record] = records(imported(tmp_path, content))
    assert record.value == {"quantity": {"value": "155000", "unit": "mg/L"}}
    assert (record.subject, record.time) == (CONTEXT.pseudonym("p1"), "2016-12-14")


def test_unknown_columns_are_left_out(tmp_path: Path) -> None:
    [record] = records(imported(tmp_path, "patient_id,loinc,value,surname\np1,718-7,15.5,Everyman\n"))
    assert b"Everyman" not in record.encode()
    assert b"p1" not in record.encode()


def test_a_table_without_patients_is_about_the_one_that_the_context_names(tmp_path: Path) -> None:
    [record] = records(imported(tmp_path, "loinc,value\n718-7,15.5\n", Context(b"k" * 32, subject="p1")))
    assert record.subject == CONTEXT.pseudonym("p1")
    [record] = records(imported(tmp_path, "loinc,value\n718-7,15.5\n"))
    assert record.subject == ""


def test_times_without_zone_are_of_the_contexts(tmp_path: Path) -> None:
    table = "patient,loinc,value,date\np1,718-7,15.5,2016-12-14 13:55\n"
    [record] = records(imported(tmp_path, table, Context(b"k" * 32, zone=ZoneInfo("Asia/Tokyo"))))
    assert record.time == "2016-12-14T04:55:00Z"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("p1,2016,718-8,x,15.5,g/dL,final", "check digit"),
        ("p1,2016,hemoglobin,x,15.5,g/dL,final", "check digit"),
        ("p1,2016,,x,15.5,g/dL,final", "check digit"),
        (",2016,718-7,x,15.5,g/dL,final", "names no patient"),
        ("p1,2016-13,718-7,x,15.5,g/dL,final", "no time"),
        ("p1,14/12/2016,718-7,x,15.5,g/dL,final", "not written as a time"),
        ("p1,2016,718-7,x,,g/dL,final", "no value"),
        ("p1,2016,718-7,x,NaN,g/dL,final", "no value"),
        ("p1,2016,718-7,x,-inf,g/dL,final", "no value"),
        ("p1,2016,718-7,x,1e999,g/dL,final", "number of no size"),
        (f"p1,2016,718-7,x,{'9' * 100},g/dL,final", "not a number"),
        ("p1,2016,718-7,x,15.5,g/foo,final", "unknown unit 'g/foo'"),
        ('p1,2016,718-7,x,"1,234",g/dL,final', "comma"),
        ("p1,2016,718-7,x,15.5,g/dL,entered-in-error", "no result"),
        ("p1,2016,718-7,x,15.5,g/dL", "6 fields where the first line has 7"),
        ("p1,2016,718-7,x,15.5,g/dL,final,", "8 fields"),
        ('p1,2016,718-7,"x,15.5,g/dL,final', "quotation mark"),
        (b"p1,2016,718-7,H\xe4moglobin,15.5,g/dL,final", "Latin-1"),
        (b"p1,2016,718-7,x\0,15.5,g/dL,final", "UTF-8"),
        ("p1,2016,718-7," + "x" * labs.MAX_LINE_BYTES + ",15.5,g/dL,final", "longer than"),
        ("p1,2016,718-7," + "x" * (1 << 20) + ",15.5,g/dL,final", "longer than"),
    ],
)
def test_a_bad_row_is_rejected_by_its_line_and_stops_nothing(tmp_path: Path, row: str | bytes, reason: str) -> None:
    assert reason in rejected(tmp_path, row).reason


def test_a_quotation_mark_that_nobody_closes_swallows_no_rows(tmp_path: Path) -> None:
    things = imported(tmp_path, HEADER + 'p1,2016,718-7,"x,15.5,g/dL,final\n' + ROW * 3)
    assert [type(thing) for thing in things] == [Rejection, Record, Record, Record]


def test_reasons_hold_nothing_of_the_row(tmp_path: Path) -> None:
    reason = rejected(tmp_path, "Everyman,1941-02-31,718-7,Adam,secret,g/dL,entered-in-error").reason
    assert not any(word in reason for word in ("Everyman", "1941", "Adam", "secret"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"name,age\nx,1\n", "no column for LOINC"),
        (b"loinc,name\n718-7,x\n", "none for results"),
        (b"loinc,value,value\n718-7,1,2\n", "two columns of one name"),
        ("loinc,value\n718-7,1\n".encode("utf-16"), "UTF-16"),
        (b"loinc,v\xe4lue\n", "Latin-1"),
        (b"x" * (1 << 20), "longer than"),
    ],
)
def test_a_file_without_such_a_table_is_one_rejection(tmp_path: Path, content: bytes, reason: str) -> None:
    [rejection] = imported(tmp_path, content)
    assert isinstance(rejection, Rejection)
    assert rejection.position == "file"
    assert reason in rejection.reason


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    assert list(labs.read(tmp_path / "none.csv", CONTEXT)) == [
        Rejection("file", "cannot be read: No such file or directory")
    ]


@needs_samples
def test_it_recognises_tables_with_loinc_codes_and_results(table: Path, tmp_path: Path) -> None:
    assert labs.recognises(table.read_bytes()[:4096], table)
    for other in (
        b"",
        b"loinc,name\n",
        b"code,value\n1,2\n",
        b'{"resourceType": "Bundle"}',
        b"MSH|^~\\&|",
        b"\xff\xfel\0",
    ):
        assert not labs.recognises(other, tmp_path / "x.csv")


@pytest.mark.parametrize("code", ["718-7", "6690-2", "10368-9", "11125-2", "85354-9", "8867-4", "777-3"])
def test_check_digits_of_loinc(code: str) -> None:
    assert is_loinc(code)
    assert not any(is_loinc(f"{code[:-1]}{digit}") for digit in "0123456789" if digit != code[-1])


@pytest.mark.parametrize("text", ["", "718", "718-", "-7", "718-77", "LP718-7", "12345678-1", "٧١٨-٧", "718-7\n"])
def test_what_is_not_written_as_a_loinc_code_is_none(text: str) -> None:
    assert not is_loinc(text)


@given(st.text(max_size=30))
def test_words_as_a_result_are_words_or_none(text: str) -> None:
    try:
        value = reported(text, "")
    except ValueError:
        return
    assert value.keys() <= {"text", "quantity", "comparator"}


@given(st.binary(max_size=200))
def test_any_bytes_give_rejections_at_worst(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(HEADER.encode() + content)
    for thing in labs.read(path, CONTEXT):
        assert isinstance(thing, Record) or thing.position.startswith(("line", "file"))


def platelets(tmp_path: Path, *values: str) -> list[str]:
    """What becomes of these results, per microlitre and separated by semicolons, in 10*9/L; or why nothing does."""
    rows = "".join(f"p1;777-3;2016-12-14;{value};/uL\n" for value in values)
    things = imported(tmp_path, "MRN;LOINC Code;Collection Date;Result;Units\n" + rows)
    return [t.reason if isinstance(t, Rejection) else str(t.value["quantity"]["value"]) for t in things]


def test_a_point_in_a_table_of_decimal_commas_is_not_guessed_at(tmp_path: Path) -> None:
    unsure = "a number with a point in a table of decimal commas: thousands or decimals"
    assert platelets(tmp_path, "250.000", "1.250,5", "<1.250,0", "98,5", "98.5") == [
        *(unsure, "1.2505", "1.25", "0.0985", "0.0985"),
    ]
    assert platelets(tmp_path, "250.000", "98.5") == ["0.25", "0.0985"], "without a comma, it is a decimal point"
