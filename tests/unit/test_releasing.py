"""In which order a holder looks at requests whose letters it cannot find: nobody keeps another one waiting for long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hmchain import letters
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.envelope import new_identity, seal
from hmchain.errors import BlobError, DaemonError, Reason
from hmchain.jsontext import parse
from hmchain.permits import Purpose, Role
from hmchain.record import canonical
from hmchain.trail import EmergencyRecord, Use
from trainers.records import releasing
from trainers.records.receiving import MAX_PART_BYTES, Key
from trainers.records.releasing import MAX_RECORDS, PART_RECORDS, Releasing

HOLDER, LOOK = 3, 5.0  # seconds that a letter is waited for in vain
STRANGER, PATIENT = 1, 2  # numbers of grants


def request(number: int) -> bytes:
    return number.to_bytes(32, "big")


def emergency(number: int, voucher: int = 2) -> EmergencyRecord:
    return EmergencyRecord(number, "0x", HOLDER, b"", b"", request(number), number, "0x", voucher, Role.PHYSICIAN)


def use(grant: int, number: int, voucher: int = 2) -> Use:
    what = request(1_000 * grant + number)
    return Use(grant, number, "0x", HOLDER, Purpose.TREATMENT, what, number, "0x", voucher, Role.PHYSICIAN)


class Holder:
    """A holder that finds no letter, whose clock only looks move on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.looked = 0.0, []
        self.fault = BlobError("nowhere", Reason.UNAVAILABLE)
        self.emergencies: dict[int, EmergencyRecord] = {}
        self.uses: list[Use] = []
        self.refused: list[tuple[int, int]] = []
        monkeypatch.setattr(releasing.time, "monotonic", lambda: self.time)
        rules = SimpleNamespace(member=HOLDER, may_cover=lambda terms: terms == PATIENT, lost=lambda _: [])
        client = SimpleNamespace(call=lambda *_: None)
        registry = SimpleNamespace(trail=self.trail, transact=self.transact, client=client)
        self.releasing = Releasing(cast(Any, rules), cast(Any, registry), cast(Any, self), ())

    def get(self, ref: BlobRef, limit: int) -> bytes:
        self.looked.append(int.from_bytes(ref.sha256, "big"))
        self.time += LOOK
        raise self.fault

    def trail(self) -> Any:
        grants = {number: SimpleNamespace(terms=number) for number in (STRANGER, PATIENT)}
        released = {which: {HOLDER: bytes(32)} for which in self.refused}
        return SimpleNamespace(
            emergencies=self.emergencies,
            emergency_released={which[0]: told for which, told in released.items() if not which[1]},
            grants=grants,
            released=released,
            uses=lambda: self.uses,
        )

    def transact(self, function: str, *arguments: Any) -> None:
        self.refused.append(arguments[:2] if function == "releaseKeys" else (arguments[0], 0))


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> Holder:
    return Holder(monkeypatch)


def test_of_many_that_cannot_be_found_each_is_looked_at_before_one_is_again(holder: Holder) -> None:
    """32 emergencies, the most that one reader has open: the first are due again long before the last was looked at."""
    holder.emergencies = {number: emergency(number) for number in range(1, 34)}
    assert all(holder.releasing.step() for _ in range(33)), "a postponement is something done"
    assert holder.looked == list(range(1, 34))
    holder.releasing.step()
    assert holder.looked[-1] == 1
    holder.emergencies[40] = emergency(40)
    holder.releasing.step()
    assert holder.looked[-1] == 40, "one that is new comes before others again"


def test_the_requests_of_a_member_that_invents_readers_delay_those_of_others_by_one_each(holder: Holder) -> None:
    holder.emergencies = {number: emergency(number) for number in range(1, 100)} | {100: emergency(100, voucher=4)}
    holder.releasing.step()
    holder.releasing.step()
    assert holder.looked == [1, 100]
    holder.emergencies.clear()
    holder.uses = [*(use(PATIENT, number) for number in range(1, 100)), use(PATIENT, 100, 4), use(PATIENT, 101, 5)]
    for _ in range(3):
        holder.releasing.step()
    assert holder.looked[2:] == [2_101, 2_001, 2_100], "whose last turn was longest ago"


def test_requests_to_another_holder_are_not_ours_to_answer(holder: Holder) -> None:
    """The contract would refuse the answer, again and again."""
    holder.emergencies = {1: replace(emergency(1), holder=HOLDER + 1)}
    holder.uses = [replace(use(PATIENT, 1), holder=HOLDER + 1)]
    assert not holder.releasing.is_due()
    assert not holder.releasing.step()
    assert holder.looked == []


def test_when_all_are_put_off_there_is_nothing_to_do(holder: Holder) -> None:
    holder.uses = [use(PATIENT, 1)]
    assert [holder.releasing.step() for _ in range(2)] == [True, False]
    assert not holder.releasing.is_due()
    holder.time += releasing.FIRST_PAUSE
    assert holder.releasing.is_due()


def test_among_equals_emergencies_come_first_then_the_order_of_the_chain(holder: Holder) -> None:
    holder.uses = [use(PATIENT, 1), use(PATIENT, 2)]
    holder.emergencies = {1: emergency(1)}
    for _ in range(3):
        holder.releasing.step()
    assert holder.looked == [1, 2_001, 2_002]


def test_an_emergency_whose_letter_spreads_slowly_still_comes_before_readings(holder: Holder) -> None:
    holder.uses = [use(PATIENT, number) for number in range(1, 30)]
    holder.emergencies = {1: emergency(1)}
    holder.releasing.step()
    holder.time += releasing.FIRST_PAUSE
    holder.releasing.step()
    assert holder.looked == [1, 1]
    holder.time += 4 * releasing.FIRST_PAUSE
    for _ in range(3):
        holder.releasing.step()
    assert holder.looked == [1, 1, 1, 2_001, 2_002]
    holder.time += 8 * releasing.FIRST_PAUSE
    holder.releasing.step()
    assert holder.looked[-1] == 2_003, "but not for ever"
    assert holder.releasing.answered == 0


def test_readings_under_the_grant_of_nobody_here_come_last(holder: Holder) -> None:
    """Anyone may log any number of them, under the grant of an accomplice."""
    holder.uses = [*(use(STRANGER, number) for number in range(1, 50)), use(PATIENT, 1)]
    holder.releasing.step()
    holder.time += releasing.FIRST_PAUSE
    holder.releasing.step()
    holder.releasing.step()
    assert holder.looked == [2_001, 2_001, 1_001]


def test_what_never_turns_up_is_refused_and_asked_for_no_more(holder: Holder) -> None:
    holder.uses = [use(PATIENT, 1)]
    for _ in range(releasing.MAX_TRIES + 1):
        assert holder.releasing.step()
        holder.time += releasing.LAST_PAUSE
    assert holder.refused == [(PATIENT, 1)]
    assert not holder.releasing.is_due()


@pytest.mark.parametrize("reason", [Reason.UNAVAILABLE, Reason.WRONG_DIGEST])
def test_a_store_that_is_at_fault_itself_refuses_nothing_and_puts_nothing_off(holder: Holder, reason: Reason) -> None:
    """An answer is final. A daemon that gives other bytes than it was asked for says nothing of the letter."""
    holder.uses = [use(PATIENT, 1)]
    holder.fault = DaemonError("the daemon is at fault", reason)
    for _ in range(2):
        with pytest.raises(DaemonError):
            holder.releasing.step()
        assert holder.releasing.is_due()
    assert holder.refused == []


def test_a_blob_that_is_no_letter_to_us_is_refused_at_once(holder: Holder) -> None:
    holder.uses = [use(PATIENT, 1)]
    holder.fault = BlobError("other bytes", Reason.WRONG_DIGEST)
    assert holder.releasing.step()
    assert holder.refused == [(PATIENT, 1)]


def test_the_largest_answer_fits_into_what_its_reader_takes(tmp_path: Path) -> None:
    node = "ff" * 32
    key = dict.fromkeys(("entry", "position", "offset", "length"), 2**62) | {"proof": [node] * 62}
    key |= dict.fromkeys(("commitment", "digest"), node) | {"secret": new_identity().secret}
    part = canonical([key] * PART_RECORDS)
    reader = new_identity()
    assert len(seal(part, [reader.public])) <= MAX_PART_BYTES
    assert len([Key.parse(told) for told in parse(part)]) == PART_RECORDS
    parts = [[node, node, MAX_PART_BYTES]] * (MAX_RECORDS // PART_RECORDS)
    store = DirectoryStore(tmp_path)
    digest = letters.send(store, {"parts": parts, "count": MAX_RECORDS}, reader.public)
    assert len(letters.receive(store, digest, [reader])["parts"]) * PART_RECORDS == MAX_RECORDS
