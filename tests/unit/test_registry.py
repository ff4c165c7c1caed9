"""The Records contract: that of this consortium, from the bytecode that this package carries, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hmchain import registry
from hmchain.contract import Artifact
from hmchain.errors import ChainError, ContractError, UsageError
from hmchain.permits import Purpose
from hmchain.record import Kind
from hmchain.registry import Registry

from .ward import OUTSIDER, Ward

BLOB = b"\5" * 32, b"\6" * 32, 100


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward.found(tmp_path_factory.mktemp("ward"))


def refused(ward: Ward, **changes: str) -> str:
    with pytest.raises(ChainError) as caught:
        Registry.open(ward.chain.web3, None, replace(ward.consortium, **changes))
    return str(caught.value)


def test_a_registered_batch_is_an_entry_of_the_trail(ward: Ward) -> None:
    ours, others = (ward.registry(hospital.account) for hospital in ward.hospitals)
    (first,) = ours.register((Kind.CLINICAL, 3, b"\1" * 32, BLOB))
    (second,) = others.register((Kind.BEHAVIOUR, 1, b"\2" * 32, BLOB))
    trail = ours.trail()
    told = [(entry.index, entry.holder, entry.kind, entry.count, entry.root) for entry in trail.entries]
    assert told == [(first, 1, Kind.CLINICAL, 3, b"\1" * 32), (second, 2, Kind.BEHAVIOUR, 1, b"\2" * 32)]
    assert trail.entries[1].previous == trail.entries[0].hash() == ours.client.call("entryHash", first)
    assert all(ours.client.call("isEntry", entry.to_abi()) for entry in trail.entries)
    assert (trail.entry_of(b"\2" * 32, 2), trail.entry_of(b"\2" * 32, 1)) == (trail.entries[1], None)


def test_who_has_no_account_reads_and_sends_nothing(ward: Ward) -> None:
    reader = ward.registry(None)
    assert reader.trail().revision == ward.registry(OUTSIDER).trail().revision
    with pytest.raises(ChainError, match="no account"):
        reader.register((Kind.CLINICAL, 1, b"\1" * 32, BLOB))


def test_who_is_no_member_registers_nothing(ward: Ward) -> None:
    with pytest.raises(ContractError, match="NotActiveMember"):
        ward.registry(OUTSIDER).register((Kind.CLINICAL, 1, b"\1" * 32, BLOB))


def test_what_one_sent_is_in_its_own_trail_at_once(ward: Ward) -> None:
    hand = ward.registry(ward.hospitals[0].account)
    hand.transact("setDelegation", OUTSIDER.address, int(Purpose.EMR), 1)
    assert hand.trail().delegations[1, OUTSIDER.address, Purpose.EMR] == 1


# ---------------------------------------------------------------- another contract


def test_a_consortium_without_a_records_contract(ward: Ward) -> None:
    with pytest.raises(UsageError, match="has no Records contract yet: hmchain records deploy"):
        Registry.open(ward.chain.web3, None, replace(ward.consortium, records=""))


def test_a_transaction_that_is_not_on_this_chain(ward: Ward) -> None:
    assert "has no transaction" in refused(ward, records="0x" + "11" * 32)


def test_a_transaction_that_created_nothing(ward: Ward) -> None:
    receipt = ward.registry(ward.hospitals[0].account).transact("setDelegation", "0x" + "77" * 20, 0, 1)
    assert "that created a contract" in refused(ward, records=receipt.transaction)


def test_another_contract_is_refused_even_the_consortiums_own(ward: Ward) -> None:
    assert "is not the Records contract of this consortium" in refused(ward, records=ward.consortium.deployment)


def test_the_records_contract_of_another_consortium_is_refused(ward: Ward) -> None:
    """The same code, which asks another contract for membership."""
    other = replace(ward.consortium, contract=OUTSIDER.address)
    theirs = registry.deploy(ward.chain.web3, OUTSIDER, other)
    assert "is not the Records contract of this consortium" in refused(ward, records=theirs)
    Registry.open(ward.chain.web3, None, replace(other, records=theirs))


@pytest.mark.parametrize("more", [b"\0", bytes(32)], ids=len)
def test_a_contract_from_other_bytecode_is_refused(more: bytes, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = registry.artifact()
    with monkeypatch.context() as patched:
        longer = Artifact(carried.abi, carried.bytecode + more, carried.runtime)
        patched.setattr(registry, "artifact", lambda: longer)
        theirs = registry.deploy(ward.chain.web3, OUTSIDER, ward.consortium)
    assert "is not the Records contract of this consortium" in refused(ward, records=theirs)
