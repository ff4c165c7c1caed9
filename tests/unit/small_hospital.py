"""A hospital for tests of services: a vault and blobs in a folder, and a trail on which its persons gave consent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import finalize

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from hmchain import scopes
from hmchain.blobs import open_store
from hmchain.consortium import Consortium
from hmchain.contract import Event
from hmchain.ethereum import Head
from hmchain.history import History
from hmchain.identity import MemberIdentity
from hmchain.permits import Purpose, Role, bits_of
from hmchain.record import Record
from hmchain.trail import Trail
from tests.samples import RECORDS
from trainers.importers.base import Context
from trainers.importers.detect import import_files
from trainers.keystore import Keys
from trainers.records.storing import Reading, Storing
from trainers.records.vault import Vault
from trainers.services.answers import Answer, Place

CONSORTIUM = Consortium(1337, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "1a" * 32, 7)
OPERATORS: dict[int, LocalAccount] = {n: Account.from_key(keccak(text=f"operator {n}")) for n in (1, 2, 3)}


class Chain:
    """Blocks as a client sees them: up to number 20."""

    def head(self) -> int:
        return 20

    def block(self, which: int) -> Head:
        assert which <= 20
        return Head(which, f"0x{which:064x}", which)


def history() -> History:
    """Three members, all active."""
    return History(members={n: account.address for n, account in OPERATORS.items()}, active=set(OPERATORS))


def signed(
    cells: dict[str, int | None], member: int = 1, service: str = "cohort", query: dict[str, Any] | None = None
) -> Answer:
    """A member's answer as of block 10."""
    place = Place(CONSORTIUM.chain_id, CONSORTIUM.contract, member, 10, Chain().block(10).hash)
    return Answer(service, query or {"title": "q"}, place, 5, cells).signed(OPERATORS[member])


def sample(*names: str, context: Context | None = None) -> list[Record]:
    """The records of public samples, by their paths."""
    paths = [RECORDS / name for name in names]
    return [
        item
        for _, item in import_files(paths, "auto", context or Context(bytes(range(32))))
        if isinstance(item, Record)
    ]


@dataclass
class SmallHospital:
    """One hospital, whose batches count as registered."""

    vault: Vault
    storing: Storing
    reading: Reading
    trail: Trail

    @classmethod
    def make(cls, folder: Path) -> SmallHospital:
        folder.mkdir(exist_ok=True)
        vault = Vault.open(folder / "records", Keys(MemberIdentity.create()), CONSORTIUM)
        store = open_store(folder / "blobs")
        hospital = cls(vault, Storing(vault, store), Reading(vault, store), Trail())
        finalize(hospital, vault.close)
        return hospital

    @property
    def context(self) -> Context:
        return Context(self.vault.pseudonym_key)

    def take(self, records: Iterable[Record]) -> None:
        for record in records:
            self.storing.take(record)
        self.storing.finish()
        count = sum(batch.number is not None for batch in self.vault.batches())
        for number, batch in enumerate(self.vault.pending(), count + 1):
            self.vault.registered(batch, number)

    def person(self, pseudonym: str, *purposes: Purpose, who: str = "", label: str = "all") -> str:
        """Links a person and lets it consent; who: several pseudonyms of one name are one account."""
        account, salt = Account.from_key(keccak(text=who or pseudonym)).address, keccak(text=f"salt of {who}")
        self.vault.link(pseudonym, account)
        self.vault.learn(account, salt)
        scope = scopes.scope_of(salt, label)
        self._happened("PersonVouched", member=1, person=account, role=int(Role.PATIENT))
        nonce = self.trail.next_consent(account, scope)
        self._happened("ConsentChanged", person=account, scope=scope, purposes=bits_of(purposes), nonce=nonce)
        return account

    def _happened(self, name: str, **args: Any) -> None:
        self.trail.apply([Event(name, args, 1, 0, "0x00")])
