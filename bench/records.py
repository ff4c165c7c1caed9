"""Gas of every call of the Records contract: real transactions, every person's word signed and relayed by a member.

python -m bench.records    the table; exit 1 where a budget is missed. bench.gas prints and checks it, too
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median

from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount

from coordinator.deploy import Founder, found_consortium
from hmchain.blobs import BlobRef
from hmchain.chain import ChainClient
from hmchain.cid import Cid, codec_for
from hmchain.contract import Artifact
from hmchain.embedded import EmbeddedChain
from hmchain.history import blob_to_abi
from hmchain.identity import MemberIdentity
from hmchain.permits import (
    SENDER,
    Acceptance,
    Access,
    Consent,
    EmergencyAccess,
    Grant,
    Permit,
    Purpose,
    Role,
    Signature,
    label_of,
)

TIMES = 5  # of each call, by other persons over other scopes
FOREVER = 2**40 - 1
BATCHES = (16, 1_000)

GRANT, ACCESS = 78_000, 40_000
BUDGETS = {
    "a record in a batch of 16": 5_000,
    "a record in a batch of 1,000": 5_000,
    "grant by a person": GRANT,
    "grant by an organisation, over a person's records": GRANT,
    "access under a person's grant": ACCESS,
    "access under an organisation's grant": ACCESS,
}


@dataclass
class Table:
    """Gas by what was done."""

    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, gas: int) -> None:
        """Counts one transaction."""
        self.rows.setdefault(name, []).append(gas)

    def lines(self) -> Iterator[str]:
        """As Markdown, medians with extremes."""
        yield "| gas of records, median (min - max) | | budget |"
        yield "|---|---:|---:|"
        for name, used in self.rows.items():
            budget = f"{BUDGETS[name]:,}" if name in BUDGETS else ""
            yield f"| {name} | {median(used):,.0f} ({min(used):,} - {max(used):,}) | {budget} |"

    def missed(self) -> Iterator[str]:
        """A line for each budget that is not met."""
        for name, budget in BUDGETS.items():
            used = median(self.rows[name])
            if used > budget:
                yield f"{name}: {used:,.0f} gas, the budget is {budget:,}"


def measure() -> Table:
    """Does everything that the contract can do, TIMES times, in a consortium of two."""
    hospitals, table = _consortium(), Table()
    for turn in range(TIMES):
        _Turn(hospitals, table, turn).play()
    return table


class _Turn:
    """One patient, one physician of the second hospital, and what the first hospital keeps of the patient."""

    def __init__(self, hospitals: list[ChainClient], table: Table, turn: int) -> None:
        self._hospitals, self._table, self._turn = hospitals, table, turn
        self._patient, self._physician = (_person(name, turn) for name in ("patient", "physician"))

    def play(self) -> None:
        """Everything, in the order of a record's life."""
        self._register()
        self._vouch()
        self._consent_and_grants()
        self._read()
        self._break_glass()

    def _do(self, name: str, function: str, *arguments: object, by: int = 0, share: int = 1) -> None:
        self._table.add(name, round(self._hospitals[by].transact(function, *arguments).gas / share))

    def _relay(self, name: str, function: str, permit: Permit, account: LocalAccount | None, by: int = 0) -> None:
        """A member sends what `account` signs; without an account, what it says itself."""
        self._do(name, function, permit.abi(), *self._signature(permit, account), by=by)

    def _signature(self, permit: Permit, account: LocalAccount | None) -> Signature:
        client = self._hospitals[0]
        return permit.sign(account, client.chain_id, client.address) if account else SENDER

    def _digest(self, *parts: object) -> bytes:
        return _digest(self._turn, *parts)

    def _register(self) -> None:
        for count in BATCHES:
            blob = BlobRef(self._digest("blob", count), Cid(codec_for(2**20), self._digest("cid", count)), 2**20)
            arguments = (0, count, self._digest("root", count), blob_to_abi(blob))
            self._do(f"a record in a batch of {count:,}", "registerBatch", *arguments, share=count)

    def _vouch(self) -> None:
        for member, person, role in ((1, self._patient, Role.PATIENT), (2, self._physician, Role.PHYSICIAN)):
            acceptance = Acceptance(person.address, member, role, 1, FOREVER)
            self._relay("vouch for a person", "vouch", acceptance, person, by=member - 1)

    def _consent_and_grants(self) -> None:
        patient, physician, scope = self._patient.address, self._physician.address, self._digest("scope")
        consent = Consent(patient, scope, frozenset({Purpose.TREATMENT, Purpose.EHR}), 1, FOREVER)
        self._relay("consent, the first for a scope", "setConsent", consent, self._patient)
        consent = replace(consent, purposes=frozenset({Purpose.TREATMENT}), nonce=2)
        self._relay("consent, changed", "setConsent", consent, self._patient)
        grant = Grant(patient, physician, scope, Purpose.TREATMENT, FOREVER, 1)
        self._relay("grant by a person", "setGrant", grant, self._patient)
        self._relay(
            "grant prolonged or revoked", "setGrant", replace(grant, expiry=FOREVER - 1, nonce=2), self._patient
        )
        grant = Grant(label_of(1), physician, scope, Purpose.TREATMENT, FOREVER, 1)
        self._relay("grant by an organisation", "setGrant", grant, None)
        grant = replace(grant, consent_of=patient, consent_scope=scope)
        self._relay("grant by an organisation, over a person's records", "setGrant", grant, None)
        self._relay("grant by an organisation to another", "setGrant", replace(grant, reader=label_of(2)), None)
        self._do("delegation", "setDelegation", physician, Purpose.TREATMENT, FOREVER, by=1)

    def _read(self) -> None:
        patient, scope, by = self._patient.address, self._digest("scope"), self._physician
        request = self._digest("request")
        access = Access(patient, scope, Purpose.TREATMENT, 1, request, 1)
        self._relay("access under a person's grant", "logAccess", access, by)
        access = replace(access, granter=label_of(1))
        self._relay("access under an organisation's grant", "logAccess", access, by)
        access = replace(access, consent_of=patient, consent_scope=scope)
        self._relay("access under an organisation's grant, with consent", "logAccess", access, by)
        access = replace(access, institution=2)
        self._relay("access under an organisation's grant, with consent and delegation", "logAccess", access, by)
        uses = [replace(access, use=use) for use in range(2, 6)]
        calls = [self._hospitals[0].encode("logAccess", use.abi(), *self._signature(use, by)) for use in uses]
        self._do("the same, of four in one transaction", "together", calls, share=len(calls))
        self._do("keys released", "releaseKeys", 1, 1, self._digest("envelope"))

    def _break_glass(self) -> None:
        subject, reason, request = (self._digest(part) for part in ("subject", "reason", "emergency"))
        emergency = EmergencyAccess(1, subject, reason, request, 1, FOREVER)
        self._relay("emergency, a reader's first", "breakGlass", emergency, self._physician)
        self._relay("emergency, a later one", "breakGlass", replace(emergency, nonce=2), self._physician)
        number = self._hospitals[0].call("emergencyCount")
        self._do("review of an emergency", "review", number, self._physician.address, True, self._digest("report"))


def _consortium() -> list[ChainClient]:
    """Two hospitals' hands on one Records contract."""
    identities = [MemberIdentity.create(_digest("salt", n)) for n in range(3)]
    chain = EmbeddedChain([identity.account.address for identity in identities])
    founders = [Founder(identity, f"Hospital {n}", _digest(n), 500) for n, identity in enumerate(identities[1:], 1)]
    clients, _ = found_consortium(chain.web3, identities[0].account, founders)
    artifact = Artifact.load("Records")
    creation = replace(artifact, bytecode=artifact.bytecode + encode(["address"], [clients[0].address]))
    records, _ = ChainClient.deploy(chain.web3, identities[0].account, creation)
    return [ChainClient(chain.web3, identity.account, records.address, artifact) for identity in identities[1:]]


def _person(name: str, turn: int) -> LocalAccount:
    account: LocalAccount = Account.from_key(_digest("person", name, turn))
    return account


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def main() -> int:
    """The command."""
    table = measure()
    print("\n".join(table.lines()))
    over = list(table.missed())
    print("\n".join(over) if over else "every budget is met")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
