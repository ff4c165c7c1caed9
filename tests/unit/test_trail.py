"""The trail: what really happened on a chain, told from events; and an event too few, too many or out of turn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain import scopes
from hmchain.contract import Event
from hmchain.permits import Purpose, Role, label_of
from hmchain.trail import Trail
from trainers.records import sharing
from trainers.records.holdings import Wanted
from trainers.records.persons import salt_of

from .ward import Ward, answer_all, labels_of

NUMBERED = {  # every event that has a number of its own, or goes before one
    "BatchRegistered",
    "ConsentChanged",
    "GrantChanged",
    "Accessed",
    "GlassBroken",
}


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward.found(tmp_path_factory.mktemp("ward"))


@pytest.fixture(scope="module")
def story(ward: Ward) -> dict[str, Any]:
    """Two persons, records at two hospitals, each kind of event twice or more."""
    patient, physician = ward.patient("7", 1, 2), ward.person(Role.PHYSICIAN, 2)
    ward.about("7", 1, 2)
    ward.about("7", 3, member=2)
    ward.consent(patient, "all", Purpose.EMR, Purpose.IMAGING)
    ward.consent(patient, "type:imaging")
    ward.consent(patient, "all", Purpose.EMR)
    grant = ward.grant(patient, physician.account.address)
    ward.read(physician, grant)
    ward.read(physician, grant)
    other = ward.grant(None, label_of(2), "all", Purpose.EMR, consent_of=(patient.account.address, "all"))
    archive = ward.archive(2)
    archive.registry.transact("setDelegation", physician.account.address, int(Purpose.EMR), ward.in_a_day())
    labels = labels_of(other)
    (use,) = ward.reader(physician).ask(ward.granted(other), labels.request("all"), [ward.holder()], 2)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), patient, grant))
    case = ward.reader(physician).ask_in_emergency("7", "unconscious", ward.holder())
    answer_all(ward.releasing())
    ward.archive().registry.transact("review", case, physician.account.address, True, b"\1" * 32)
    ward.reader(physician).ask_in_emergency("7", "again", ward.holder(2))
    ward.archive().erase(next(ward.archive().vault.holdings(Wanted(erased=False))))
    ward.archive().registry.transact("withdrawVouch", ward.person().account.address)
    ward.about("7", 4)
    return {"patient": patient, "physician": physician, "grant": grant, "other": other, "use": use, "case": case}


@pytest.fixture(scope="module")
def events(ward: Ward, story: dict[str, Any]) -> list[Event]:
    client = ward.archive().registry.client
    return list(client.events(0, client.head()))


def read(events: list[Event]) -> Trail:
    trail = Trail()
    trail.apply(events)
    return trail


# ---------------------------------------------------------------- what it says


def test_every_event_of_the_contract_is_read(events: list[Event]) -> None:
    from hmchain.registry import artifact

    declared = {item["name"] for item in artifact().abi if item["type"] == "event"}
    assert {event.name for event in events} == declared
    assert read(events).revision == len(events)


def test_the_trail_is_the_same_however_it_is_cut(ward: Ward, events: list[Event]) -> None:
    trail = Trail()
    for event in events:
        trail.apply([event])
    assert trail == read(events) == ward.archive().trail()


def test_it_says_who_holds_may_read_and_has_read_what(ward: Ward, story: dict[str, Any], events: list[Event]) -> None:
    trail, patient, physician = read(events), story["patient"].account.address, story["physician"].account.address
    assert [(entry.index, entry.holder, entry.count) for entry in trail.entries] == [(1, 1, 2), (2, 2, 1), (3, 1, 1)]
    assert trail.persons == {patient: (1, Role.PATIENT), physician: (2, Role.PHYSICIAN)}
    scope = scopes.scope_of(salt_of(story["patient"]), "all")
    assert trail.consent(patient, scope) == {Purpose.EMR}
    assert trail.next_consent(patient, scope) == 3
    assert (trail.consent(patient, b"\1" * 32), trail.next_consent(patient, b"\1" * 32)) == (None, 1)
    own, hospital = trail.grants[1], trail.grants[2]
    assert (own.terms.granter, own.terms.expiry, own.terms.nonce, len(own.uses)) == (patient, 0, 2, 2)
    assert (hospital.terms.granter, hospital.terms.reader, len(hospital.uses)) == (label_of(1), label_of(2), 1)
    assert trail.grant_like(story["grant"].permit) is own
    assert trail.grant_like(replace(story["grant"].permit, purpose=Purpose.EHR)) is None
    assert [(use.number, use.use, use.reader, use.holder) for use in trail.uses()] == [
        (1, 1, physician, 1),
        (1, 2, physician, 1),
        (2, 1, physician, 1),
    ]
    assert (2, physician, Purpose.EMR) in trail.delegations
    assert set(trail.released) == {(1, 1), (1, 2), (2, 1)}
    first, second = trail.emergencies.values()
    assert (first.reader, first.holder, first.verdict, first.reviewer) == (physician, 1, True, 1)
    assert (second.holder, second.verdict, second.report) == (2, None, None)
    assert set(trail.emergency_released) == {1}
    assert list(trail.erased) == [1]


def test_it_says_who_a_reader_was_when_it_read(ward: Ward, story: dict[str, Any], events: list[Event]) -> None:
    """Not who it is now: a voucher that is withdrawn afterwards takes nobody out of an audit."""
    person = story["physician"].account.address
    gone = Event("VouchWithdrawn", {"member": 2, "person": person}, 10**6, 0, "0x")
    as_another = Event("PersonVouched", {"member": 1, "person": person, "role": int(Role.PATIENT)}, 10**6, 1, "0x")
    trail = read([*events, gone, as_another])
    assert trail.persons[person] == (1, Role.PATIENT)
    assert {(use.voucher, use.role) for use in trail.uses()} == {(2, Role.PHYSICIAN)}
    assert {(case.voucher, case.role) for case in trail.emergencies.values()} == {(2, Role.PHYSICIAN)}
    assert trail.next_acceptance(person) == 3, "each is signed once"


def test_a_batch_is_an_entry_of_its_own_holder_only(events: list[Event]) -> None:
    """Whoever sees a registration on its way can register the same root before."""
    trail = read(events)
    first, second, third = trail.entries
    assert trail.entry_of(third.root, 1) is third
    assert trail.entry_of(second.root, 1) is None
    trail.entries = [replace(third, holder=2), first, second]
    assert trail.entry_of(third.root, 1) is None
    trail.entries += [third, replace(third, index=5)]
    assert trail.entry_of(third.root, 1) is third, "the first, where it was registered twice"


# ---------------------------------------------------------------- what is noticed


def is_refused(events: list[Event]) -> bool:
    try:
        read(events)
    except (ValueError, LookupError):
        return True
    return False


def test_an_event_that_is_missing_is_noticed_when_the_next_of_its_series_comes(events: list[Event]) -> None:
    for name in NUMBERED:
        series = [i for i, event in enumerate(events) if event.name == name]
        first = series[0]
        assert is_refused(events[:first] + events[first + 1 :]), name


@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_an_event_that_is_told_twice_is_noticed(name: str, events: list[Event]) -> None:
    for i, event in enumerate(events):
        if event.name == name:
            assert is_refused([*events[: i + 1], *events[i:]]), "one after the other"
            assert is_refused([*events, event]), "at the end"


def test_events_of_one_series_that_changed_places_are_noticed(events: list[Event]) -> None:
    seen = 0
    for name in NUMBERED:
        series = [i for i, event in enumerate(events) if event.name == name]
        for i, j in pairwise(series):
            told = list(events)
            told[i], told[j] = told[j], told[i]
            if name != "ConsentChanged" or events[i].args["scope"] == events[j].args["scope"]:
                assert is_refused(told), name
                seen += 1
    assert seen >= 5


def test_an_access_before_its_grant_or_its_reader_is_noticed(events: list[Event]) -> None:
    access = next(event for event in events if event.name == "Accessed")
    for name in ("GrantChanged", "PersonVouched"):
        without = [event for event in events if event.name != name]
        assert is_refused(without), name
    assert is_refused([access])


def test_a_review_or_an_end_of_what_never_began_is_noticed(events: list[Event]) -> None:
    for name in ("EmergencyReviewed", "VouchWithdrawn", "Accessed"):
        assert is_refused([event for event in events if event.name == name]), name


@pytest.mark.parametrize("field", ["previous", "timestamp", "holder", "count", "root", "kind"])
def test_an_entry_that_was_altered_is_noticed_by_the_next(field: str, events: list[Event]) -> None:
    i = next(i for i, event in enumerate(events) if event.name == "BatchRegistered")
    other: Any = b"\7" * 32 if field in ("previous", "root") else events[i].args[field] + 1
    altered = replace(events[i], args={**events[i].args, field: other})
    assert is_refused([*events[:i], altered, *events[i + 1 :]])


def test_an_entry_under_another_number_is_noticed_at_once(events: list[Event]) -> None:
    """An audit may be over before another entry comes."""
    last = max(i for i, event in enumerate(events) if event.name == "BatchRegistered")
    for index in (2, 4):
        altered = replace(events[last], args={**events[last].args, "index": index})
        assert is_refused([*events[:last], altered, *events[last + 1 :]])


def test_a_grant_that_is_left_out_from_first_to_last_is_noticed_by_the_next(events: list[Event]) -> None:
    """Nothing else speaks of one that nobody has used."""
    grants = [event for event in events if event.name == "GrantChanged"]
    assert not is_refused(grants)
    assert is_refused([event for event in grants if event.args["number"] != 1])


def test_a_grant_that_changes_into_another_is_noticed(events: list[Event]) -> None:
    changes = [i for i, event in enumerate(events) if event.name == "GrantChanged" and event.args["nonce"] == 2]
    for field, other in (("reader", label_of(5)), ("purpose", 0), ("scope", b"\7" * 32), ("nonce", 3), ("number", 2)):
        told = list(events)
        told[changes[0]] = replace(events[changes[0]], args={**events[changes[0]].args, field: other})
        assert is_refused(told), field


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_left_out_before_the_end_of_a_series_is_noticed(events: list[Event], data: st.DataObject) -> None:
    """Any set of numbered events but the last ones of their series."""

    def series_of(event: Event) -> tuple[Any, ...]:
        args = event.args
        return event.name, *(args.get(key) for key in ("person", "scope") if event.name == "ConsentChanged")

    numbered = [i for i, event in enumerate(events) if event.name in NUMBERED - {"Accessed"}]
    last = {series_of(events[i]): i for i in numbered}
    droppable = [i for i in numbered if i not in last.values()]
    dropped = data.draw(st.sets(st.sampled_from(droppable), min_size=1))
    assert is_refused([event for i, event in enumerate(events) if i not in dropped])
