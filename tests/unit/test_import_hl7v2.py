"""HL7 v2 messages: results, visits and orders become records, and everything else a rejection with its place."""

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.record import Code, Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers import labs
from trainers.importers.base import MAX_ITEM_BYTES, Context, Rejection
from trainers.importers.hl7 import messages

SAMPLES = RECORDS / "hl7v2"
CONTEXT = Context(b"k" * 32)
Things = list[Record | Rejection]

MSH = r"MSH|^~\&|LAB|A|EHR|B|20141006064500+0700||ORU^R01|182|P|2.5.1"
PID = "PID|1||10006579^^^1^MR^1||DUCK^DONALD^D||19241010|M|||111 DUCK ST^^FOWL^CA"
OBR = "OBR|1|88502218|82503246|24317-0^Hemogram^LN|||20141006060000+0700"
OBX = "OBX|1|NM|718-7^Hemoglobin^LN||15.5|g/dL|12-16|N|||F|||20141006062700+0700"
ORC = "ORC|NW|88502218|||SC||||20141006"


def imported(tmp_path: Path, content: str | bytes, context: Context = CONTEXT) -> Things:
    path = tmp_path / "message.hl7"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(messages.read(path, context))


def message(*segments: str, header: str = MSH) -> str:
    return "\r".join((header, PID, OBR, *segments, ""))


def only(things: Things) -> Record:
    [record] = things
    assert isinstance(record, Record), record
    return record


def rejection(things: Things) -> Rejection:
    [rejected] = things
    assert isinstance(rejected, Rejection), rejected
    return rejected


@needs_samples
@pytest.mark.parametrize(
    ("name", "types", "rejected"),
    [
        ("ms_ADT-A01-01.hl7", ["encounter", "observation"], []),
        ("ms_ADT-A08-01.hl7", ["encounter", "observation"], []),
        ("ms_LAB-ORU-1.hl7", ["observation"] * 8, ["OBX 1", "OBX 3"]),
        ("ms_ORU-R01-01.hl7", ["document", "observation", "document", "observation"], ["OBX 2"]),
        ("nist_ORU_R01_2.5.1_1.hl7", ["observation"], []),
        ("nist_ORU_R01_2.5.1_2.hl7", ["observation"], []),
        ("nist_ORU_R01_2.5.1_3.hl7", ["observation"], []),
    ],
)
def test_samples(name: str, types: list[str], rejected: list[str]) -> None:
    things = list(messages.read(SAMPLES / name, CONTEXT))
    assert [thing.type for thing in things if isinstance(thing, Record)] == types
    assert [t.position for t in things if isinstance(t, Rejection)] == [f"message 1, {place}" for place in rejected]
    assert messages.recognises((SAMPLES / name).read_bytes()[:4096], SAMPLES / name)


@needs_samples
def test_no_record_of_the_samples_tells_who_it_is_about() -> None:
    private = (
        *("duck", "donald", "finn", "huckleberry", "everyman", "aniston", "johnson", "philip", "woolfson"),
        *("spring street", "elm street", "10006579", "9817566735", "1234567", "19241010", "123121234", "8885551212"),
    )
    things = [thing for path in SAMPLES.glob("*.hl7") for thing in messages.read(path, CONTEXT)]
    texts = [str(thing) if isinstance(thing, Rejection) else thing.encode().decode() for thing in things]
    assert len(texts) > 10
    assert [word for text in texts for word in private if word in text.casefold()] == []


@needs_samples
def test_a_report_that_is_sent_twice_is_the_same_fact() -> None:
    first, second = (only(list(messages.read(SAMPLES / f"nist_ORU_R01_2.5.1_{n}.hl7", CONTEXT))) for n in (1, 2))
    assert first.identity() == second.identity()
    assert first.detail["received"] != second.detail["received"]


def test_a_result_is_an_observation(tmp_path: Path) -> None:
    record = only(imported(tmp_path, message(OBX)))
    assert record == Record(
        kind=Kind.CLINICAL,
        type="observation",
        subject=CONTEXT.pseudonym("10006579"),
        time="2014-10-05T23:27:00Z",
        codes=(Code("http://loinc.org", "718-7"),),
        value={"quantity": {"value": "155000", "unit": "mg/L"}},
        source="hl7v2-2.5.1",
        detail={
            "status": "F",
            "interpretation": ["N"],
            "referenceRange": "12-16",
            "order": [["http://loinc.org", "24317-0", "Hemogram"]],
            "received": "2014-10-05T23:45:00Z",
            "written": {"value": "15.5", "unit": "g/dL"},
        },
    )
    assert Record.decode(record.encode()) == record


def test_a_laboratory_table_that_says_the_same_gives_the_same_identity(tmp_path: Path) -> None:
    table = tmp_path / "labs.csv"
    table.write_text("patient,date,loinc,value,unit\n10006579,2014-10-05T23:27:00Z,718-7,155,g/L\n")
    assert only(list(labs.read(table, CONTEXT))).identity() == only(imported(tmp_path, message(OBX))).identity()


def test_a_local_code_beside_that_of_loinc_is_detail(tmp_path: Path) -> None:
    record = only(imported(tmp_path, message(OBX.replace("^LN", "^LN^HB^Haemoglobin^99LAB"))))
    assert record.identity() == only(imported(tmp_path, message(OBX))).identity()
    assert record.detail["codes"] == [["urn:hl7v2:99LAB", "HB", "Haemoglobin"]]


def test_a_result_without_time_has_its_orders(tmp_path: Path) -> None:
    assert only(imported(tmp_path, message("OBX|1|NM|718-7^^LN||15.5|g/dL"))).time == "2014-10-05T23:00:00Z"
    without = "\r".join((MSH, PID, "OBX|1|NM|718-7^^LN||15.5|g/dL"))
    assert only(imported(tmp_path, without)).time == ""


def test_a_time_without_offset_is_of_the_contexts_zone(tmp_path: Path) -> None:
    context = Context(b"k" * 32, zone=ZoneInfo("Asia/Tokyo"))
    assert only(imported(tmp_path, message(OBX.replace("+0700", "")), context)).time == "2014-10-05T21:27:00Z"


@pytest.mark.parametrize(
    ("kind", "text", "unit", "value"),
    [
        ("NM", "-1.50", "mmol/L", {"quantity": {"value": "-1.5", "unit": "mmol/L"}}),
        ("NM", "3", "", {"quantity": {"value": "3", "unit": "1"}}),
        ("SN", "<^5", "mg/L", {"quantity": {"value": "5", "unit": "mg/L"}, "comparator": "<"}),
        ("SN", "=^5", "mg/L", {"quantity": {"value": "5", "unit": "mg/L"}}),
        (
            "SN",
            "^1^:^128",
            "",
            {
                "numerator": {"quantity": {"value": "1", "unit": "1"}},
                "denominator": {"quantity": {"value": "128", "unit": "1"}},
            },
        ),
        (
            "SN",
            "^10^-^20",
            "mg/L",
            {
                "low": {"quantity": {"value": "10", "unit": "mg/L"}},
                "high": {"quantity": {"value": "20", "unit": "mg/L"}},
            },
        ),
        ("SN", "^2^+", "", {"text": "2+"}),
        ("ST", "<0.5", "mg/L", {"quantity": {"value": "0.5", "unit": "mg/L"}, "comparator": "<"}),
        ("ST", "4", "", {"text": "4"}),
        ("TX", r"growth of A \T\ B\.br\none of C", "", {"text": "growth of A & B none of C"}),
        ("FT", r"\.sp999999999\ x \Zunknown\ ", "", {"text": r"\.sp999999999\ x \Zunknown\\"[:-1]}),
        ("CWE", "27268008^Salmonella^SCT", "", {"codes": [["http://snomed.info/sct", "27268008"]]}),
        (
            "CE",
            "A^a^L~B^b^HL70078",
            "",
            {"codes": [["http://terminology.hl7.org/CodeSystem/v2-0078", "B"], ["urn:hl7v2:L", "A"]]},
        ),
        ("CE", "^not detected", "", {"text": "not detected"}),
        ("TS", "201410060627+0700", "", {"time": "2014-10-05T23:27:00Z"}),
        ("DT", "20141006", "", {"time": "2014-10-06"}),
    ],
)
def test_values_of_each_type(tmp_path: Path, kind: str, text: str, unit: str, value: dict[str, object]) -> None:
    assert only(imported(tmp_path, message(f"OBX|1|{kind}|718-7^^LN||{text}|{unit}|||||F"))).value == value


@pytest.mark.parametrize(
    ("obx", "reason"),
    [
        ("OBX|1|NM|11156-7^LEUKOCYTES^LN||||||||I|", "no value"),
        ('OBX|1|NM|718-7^^LN||""|g/dL', "no value"),
        ("OBX|1|NM", "no value"),
        ("OBX", "no value"),
        ("OBX|1||718-7^^LN||5|g/dL", "type is not said"),
        ("OBX|1|CP|718-7^^LN||x^y^z", "type is not imported"),
        ("OBX|1|NM|718-7^^LN||5~x|g/dL", "number"),
        ("OBX|1|NM|718-7^^LN||five|g/dL", "not a number"),
        ("OBX|1|NM|718-7^^LN||NaN|g/dL", "not a number"),
        ("OBX|1|NM|718-7^^LN||1e999|g/dL", "no size"),
        ("OBX|1|NM|718-7^^LN||5|g/foo", "unknown unit 'g/foo'"),
        ("OBX|1|SN|718-7^^LN||~^5|g/dL", "several values"),
        ("OBX|1|SN|718-7^^LN||!^5|g/dL", "comparator"),
        ("OBX|1|SN|718-7^^LN||^5^?^6|g/dL", "structured number"),
        ("OBX|1|NM|718-8^^LN||5|g/dL", "check digit"),
        ("OBX|1|NM|||5|g/dL", "no code"),
        ("OBX|1|NM|718-7^^LN||5|g/dL|||||D", "no result"),
        ("OBX|1|NM|718-7^^LN||5|g/dL|||||W", "no result"),
        ("OBX|1|NM|718-7^^LN||5|g/dL|||||F|||20141306", "OBX-14 is no time"),
        ("OBX|1|ED|718-7^^LN||^^^Base64^JVB", "not of the encoding that it says"),
        ("OBX|1|ED|718-7^^LN||^^^uuencode^JVB", "of an encoding that HL7 has not"),
        ("OBX|1|ED|718-7^^LN||^^^Base64^", "no value"),
        ("OBX|1|RP|718-7^^LN||^^image^PNG", "no value"),
        ("OBX|1|ED|718-7^^LN||^^^A^a~^^^A^b", "several documents"),
        ("OBX|1|ED|718-7^^LN||^^^A^a||||||X", "no result"),
        ("OBX|1|DT|718-7^^LN||soon", "OBX-5 is not written as a time"),
    ],
)
def test_a_result_that_is_none_is_rejected_by_its_place_and_stops_nothing(
    tmp_path: Path, obx: str, reason: str
) -> None:
    first, rejected, last = imported(tmp_path, message(OBX, obx, OBX))
    assert first == last
    assert isinstance(rejected, Rejection)
    assert rejected.position == "message 1, OBX 2"
    assert reason in rejected.reason


@pytest.mark.parametrize(
    "unit",
    [
        *("mg/dL", "MG/DL", "mg/dL^milligrams a decilitre^UCUM", "^mg/dL", "^mg/dL^L", "^^^mg/dL", "^^^^mg/dL"),
        *("21^x^99LAB^mg/dL^^UCUM", "MGDL^x^99LAB^mg/dL^milligrams^UCUM"),
    ],
)
def test_the_unit_is_found_wherever_it_is_said(tmp_path: Path, unit: str) -> None:
    record = only(imported(tmp_path, message(f"OBX|1|NM|2345-7^Glucose^LN||99|{unit}|||||F")))
    assert record.value == {"quantity": {"value": "990", "unit": "mg/L"}}


def test_a_unit_that_is_only_some_systems_own_code_is_unknown(tmp_path: Path) -> None:
    result = rejection(imported(tmp_path, message("OBX|1|NM|2345-7^Glucose^LN||99|21^mg/dL^99LAB|||||F")))
    assert result.reason == "unknown unit '21'"


def test_a_number_that_is_repeated_is_several(tmp_path: Path) -> None:
    record = only(imported(tmp_path, message("OBX|1|NM|8867-4^^LN||60~120|/min")))
    assert [each["quantity"]["value"] for each in record.value["each"]] == ["60", "120"]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("LAB^application^PDF^Base64^JVBERi0x", b"%PDF-1"),
        ("^text^plain^A^up\\T\\down", b"up&down"),
        ("^^^Hex^0A0B", b"\n\x0b"),
    ],
    ids=["base64", "text", "hex"],
)
def test_a_document_in_a_result_is_a_record_of_its_own_type_that_carries_it(
    value: str, data: bytes, tmp_path: Path
) -> None:
    record = only(imported(tmp_path, message(f"OBX|1|ED|11502-2^Report^LN||{value}||||||F")))
    assert (record.type, record.attachment) == ("document", data)
    assert record.detail == {"status": "F", "mayIdentify": True}
    assert Record.decode(record.encode()) == record


def test_a_document_elsewhere_is_told_by_a_pseudonym(tmp_path: Path) -> None:
    record = only(imported(tmp_path, message("OBX|1|RP|11502-2^Report^LN||//server/duck.png^^image^PNG||||||F")))
    assert record.value == {"media": "image/png", "elsewhere": CONTEXT.pseudonym("//server/duck.png")}


def test_names_are_taken_out_of_words_and_free_text_is_marked(tmp_path: Path) -> None:
    words = "OBX|1|TX|11502-2^Report^LN||Mr Duck, 10006579, called; daughter Daisy will pick him up"
    record = only(imported(tmp_path, "\r".join((MSH, PID, "NK1|1|DUCK^DAISY", OBR, words))))
    assert record.value == {"text": "Mr [name], [name], called; daughter [name] will pick him up"}
    assert record.detail["freeText"] is True
    chosen = only(imported(tmp_path, message("OBX|1|TX|11502-2^Report^LN||not detected")))
    assert "freeText" not in chosen.detail


@pytest.mark.parametrize(
    "segment",
    [
        "PV2|||^Donald Duck fell off a ladder",
        "DG1|1||^Fracture of Duck, Donald, his left",
        "AL1|1||^Duck, Donald: all of the nuts",
    ],
)
def test_names_are_taken_out_of_a_visits_words(segment: str, tmp_path: Path) -> None:
    header = MSH.replace("ORU^R01", "ADT^A01")
    record = only(imported(tmp_path, "\r".join((header, PID, "PV1|1|I", segment))))
    text = record.encode().decode().casefold()
    assert "duck" not in text
    assert "donald" not in text
    assert "[name]" in text
    assert record.detail == {"freeText": True}


def test_names_are_taken_out_of_an_orders_words(tmp_path: Path) -> None:
    header, obr = MSH.replace("ORU^R01", "OML^O21"), "OBR|1|1||^Blood of Duck" + "|" * 27 + "^Donald Duck feels so weak"
    record = only(imported(tmp_path, "\r".join((header, PID, ORC, obr))))
    assert record.codes == (Code("", "Blood of [name]"),)
    assert record.value["reasons"] == [["", "[name] [name] feels so weak", ""]]
    assert record.detail["freeText"] is True


@pytest.mark.parametrize(
    "segment", ["MRG|1||||||DRAKE^DAISY", "GT1|1||DRAKE^DAISY", "IN1|1" + "|" * 15 + "DRAKE^DAISY"]
)
def test_earlier_names_and_whoever_pays_are_not_named_either(segment: str, tmp_path: Path) -> None:
    record = only(imported(tmp_path, message(segment, "OBX|1|TX|11502-2^Report^LN||seen with Daisy Drake")))
    assert record.value == {"text": "seen with [name] [name]"}


@pytest.mark.parametrize(
    "frame",
    [
        lambda text: text,
        lambda text: text.replace("\r", "\n"),
        lambda text: text.replace("\r", "\r\n"),
        lambda text: "\ufeff" + text.replace("\r", "\n\n"),
        lambda text: f"\x0b{text}\x1c\r",
        lambda text: "FHS|^~\\&|x\rBHS|^~\\&|x\r" + text + "BTS|2\rFTS|1\r",
        lambda text: text.rstrip("\r"),
        lambda text: text.replace("|", "#").replace("^", "*"),
        lambda text: text.replace("^~\\&", "^~\\&#", 1),
    ],
    ids=["cr", "lf", "crlf", "bom", "mllp", "batch", "no-end", "other-separators", "truncation-character"],
)
def test_messages_in_every_frame_and_with_every_separator(tmp_path: Path, frame: Callable[[str], str]) -> None:
    record = only(imported(tmp_path, message(OBX)))
    assert imported(tmp_path, frame(message(OBX))) == [record]
    assert imported(tmp_path, frame(message(OBX)) + "\r" + frame(message(OBX, OBX))) == [record] * 3


def test_a_sender_without_a_name_is_no_separator(tmp_path: Path) -> None:
    record = only(imported(tmp_path, message(OBX)))
    assert only(imported(tmp_path, message(OBX, header=MSH.replace("|LAB|A|", "||A|", 1)))) == record


def test_other_character_sets_are_read_where_the_header_names_them(tmp_path: Path) -> None:
    obx = "OBX|1|ST|718-7^^LN||erhöht"
    assert only(imported(tmp_path, message(obx))).value == {"text": "erhöht"}
    named = message(obx, header=MSH + "||||||8859/1")
    assert only(imported(tmp_path, named.encode("latin-1"))).value == {"text": "erhöht"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (message("OBX|1|ST|718-7^^LN||erhöht").encode("latin-1"), "not UTF-8"),
        (message(OBX, header=MSH + "||||||KLINGON"), "character set"),
        (message(OBX, header="MSH|^^^^|LAB|A|EHR|B|2014||ORU^R01|182|P|2.5.1"), "separates"),
        (message(OBX, header="MSH|"), "separates"),
        (message(OBX, header="MSH"), "separates"),
        (message(OBX, header="MSHabcdefgh"), "separates"),
        (message(OBX, header=MSH.replace("2.5.1", "3.0")), "version"),
        (message(OBX, header=MSH.replace("ORU^R01", "MDM^T02")), "only ADT, ORU"),
        (message(OBX, header=MSH.replace("|ORU^R01|", "||")), "only ADT, ORU"),
        (message(OBX, header=MSH.replace("20141006", "20141306")), "MSH-7 is no time"),
        (message("cut in the middle of a text"), "segment 4 is none"),
        ("\r".join((MSH, OBR, OBX)), "names no patient"),
        ("\r".join((MSH, PID, OBR, OBX, PID)), "several patients"),
        ("\r".join((MSH, "PID|1||||DUCK^DONALD", OBR, OBX)), "patient has no number"),
        ("\r".join((MSH, "PID|1||^^^1^MR||DUCK^DONALD", OBR, OBX)), "patient has no number"),
        ("\r".join((MSH, "PID|1||078051120^^^1^SS||DUCK", OBR, OBX)), "patient has no number"),
        (message("OBX|1|ST|718-7^^LN||" + "~" * 200_001), "separators"),
        (PID, "no MSH"),
        ("nothing of HL7", "no MSH"),
    ],
)
def test_a_message_that_cannot_be_read_is_rejected_and_the_next_one_is_read(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    data = content.encode() if isinstance(content, str) else content
    rejected, record = imported(tmp_path, data + b"\r" + message(OBX).encode())
    assert isinstance(rejected, Rejection)
    assert rejected.position == "message 1"
    assert reason in rejected.reason
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    "huge", ["x" * (MAX_ITEM_BYTES + 5), "NTE|1||x\r" * (MAX_ITEM_BYTES // 64)], ids=["segment", "segments"]
)
def test_a_message_that_is_too_large_is_passed_over(tmp_path: Path, huge: str) -> None:
    rejected, record = imported(tmp_path, message(OBX) + huge + "\r" + message(OBX))
    assert rejected == Rejection("message 1", "it is larger than 16 MiB")
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "no segments"), (b"\r\n\r\n", "no segments"), (MSH.encode("utf-16"), "UTF-16")]
)
def test_a_file_without_messages_is_one_rejection(tmp_path: Path, content: bytes, reason: str) -> None:
    rejected = rejection(imported(tmp_path, content))
    assert rejected.position == "file"
    assert reason in rejected.reason


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    assert "cannot be read" in rejection(list(messages.read(tmp_path / "none.hl7", CONTEXT))).reason


@pytest.mark.parametrize(
    ("pid3", "number"),
    [
        ("078051120^^^^SS~4711^^^A^MR", "4711"),
        ("078051120^^^^SS~4711^^^A^XX", "4711"),
        ("4711", "4711"),
        ("4712^^^^PI~4711^^^^MR", "4711"),
    ],
)
def test_the_hospitals_own_number_is_the_patients(tmp_path: Path, pid3: str, number: str) -> None:
    things = imported(tmp_path, "\r".join((MSH, f"PID|1||{pid3}||DUCK", OBR, OBX)))
    assert only(things).subject == CONTEXT.pseudonym(number)


def test_an_order_is_a_record(tmp_path: Path) -> None:
    header = MSH.replace("ORU^R01", "OML^O21^OML_O21")
    record = only(imported(tmp_path, "\r".join((header, PID, ORC, OBR))))
    assert (record.type, record.time) == ("order", "2014-10-06")
    assert record.codes == (Code("http://loinc.org", "24317-0"),)
    assert record.value == {"number": CONTEXT.pseudonym("88502218"), "control": "NW", "status": "SC"}


def test_each_order_has_its_own_control_segment(tmp_path: Path) -> None:
    header = MSH.replace("ORU^R01", "OML^O21")
    things = imported(
        tmp_path, "\r".join((header, PID, ORC, OBR, OBR.replace("88502218", "2"), ORC.replace("NW", "CA"), OBR))
    )
    assert [thing.value.get("control") for thing in things if isinstance(thing, Record)] == ["NW", None, "CA"]


def test_an_order_message_without_orders_is_rejected(tmp_path: Path) -> None:
    header = MSH.replace("ORU^R01", "OML^O21")
    assert "OBR" in rejection(imported(tmp_path, "\r".join((header, PID, ORC)))).reason
    wrong = OBR.replace("24317-0", "24317-1")
    assert rejection(imported(tmp_path, "\r".join((header, PID, ORC, wrong)))).position == "message 1, OBR 1"


def test_a_visit_is_an_encounter(tmp_path: Path) -> None:
    header = MSH.replace("ORU^R01", "ADT^A03")
    fields = {2: "I", 3: "ward", 10: "MED", 19: "V1", 44: "20141001", 45: "20141005"}
    pv1 = "PV1|" + "|".join(fields.get(number, "") for number in range(1, 46))
    dg1 = "DG1|1||I21.9^Infarction^I10"
    record = only(imported(tmp_path, "\r".join((header, "EVN|A03|20141006", PID, pv1, dg1))))
    assert (record.type, record.time) == ("encounter", "2014-10-06")
    assert record.codes == (Code("http://terminology.hl7.org/CodeSystem/v2-0003", "A03"),)
    assert record.value == {
        "event": "A03",
        "class": "I",
        "service": "MED",
        "start": "2014-10-01",
        "end": "2014-10-05",
        "visit": CONTEXT.pseudonym("V1"),
        "diagnoses": [["http://hl7.org/fhir/sid/icd-10", "I21.9", "Infarction"]],
    }


def test_reasons_hold_nothing_of_the_message(tmp_path: Path) -> None:
    for obx in (
        "OBX|1|NM|718-7^^LN||secret|g/dL",
        "OBX|1|SECRET|718-7^^LN||secret",
        "OBX|1|ST|718-7^^LN||secret|||||||||secret",
    ):
        assert "secret" not in rejection(imported(tmp_path, message(obx))).reason.casefold()


def test_it_recognises_headers_only() -> None:
    for start in (b"MSH|^~\\&|", b"\xef\xbb\xbfMSH|", b"\x0bMSH|", b"FHS|", b"BHS#", b"\n MSH|"):
        assert messages.recognises(start, Path("x"))
    for other in (b"", b"MSH", b"MSHx", b"PID|1", b'{"resourceType": "Bundle"}', b"loinc,value"):
        assert not messages.recognises(other, Path("x.hl7"))


@given(st.lists(st.text("|^~\\&#ABX0123\r\n .", max_size=40), max_size=6), st.booleans())
def test_any_text_gives_rejections_at_worst(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], headed: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for thing in imported(folder, "\r".join([*([MSH, PID] if headed else []), *(f"OBX|{line}" for line in lines)])):
        assert isinstance(thing, Record) or thing.position.startswith(("message", "file"))
