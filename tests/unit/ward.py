"""Two hospitals with records on a chain in this process, and persons at them: the base of tests of records."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import finalize

from eth_account import Account
from web3 import Web3

from coordinator.deploy import found
from hmchain import registry
from hmchain.blobs import DirectoryStore
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.embedded import EmbeddedChain
from hmchain.identity import MemberIdentity
from hmchain.ledger import JobFeed
from hmchain.permits import Permit, Purpose, Role
from hmchain.record import Code, Kind, Record
from hmchain.registry import Registry
from hmchain.trail import GrantRecord
from trainers.config import Config, Records
from trainers.keystore import Keys
from trainers.records import sharing
from trainers.records.archive import Archive
from trainers.records.holdings import Holding, Wanted
from trainers.records.persons import Signed
from trainers.records.receiving import Holder, Labels, Reader
from trainers.records.releasing import Releasing
from trainers.records.vault import Vault

DAY = 86_400
OUTSIDER = Account.from_key("0x" + "0f" * 32)
CODE = Code("http://loinc.org", "8867-4", "Heart rate")


def record(
    what: object, subject: str = "", type: str = "observation", kind: Kind = Kind.CLINICAL, **changes: Any
) -> Record:
    """A record of which `what` is the content."""
    usual: dict[str, Any] = {"time": "2026-01-02", "codes": (CODE,), "source": "fhir-r4"}
    return Record(kind=kind, type=type, subject=subject, value={"what": what}, **(usual | changes))


@dataclass
class Ward:
    """The consortium: hospitals are members 1 and 2, an outsider has an account with ether and is no member."""

    folder: Path
    chain: EmbeddedChain
    consortium: Consortium
    hospitals: list[MemberIdentity]
    store: DirectoryStore
    archives: dict[int, Archive] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path, members: int = 2) -> Ward:
        """Deploys both contracts; takes a second or two."""
        hospitals = [MemberIdentity.create() for _ in range(members)]
        chain = EmbeddedChain([OUTSIDER.address, *(hospital.account.address for hospital in hospitals)])
        founders = [(h.account.address, h.encryption.public, b"H".ljust(32, b"\0")) for h in hospitals]
        _, deployment = found(chain.web3, OUTSIDER, founders)
        contract = ChainClient(chain.web3, None, _address(chain.web3, deployment.transaction)).address
        bare = Consortium(chain.web3.eth.chain_id, contract, deployment.transaction, deployment.block)
        records = registry.deploy(chain.web3, OUTSIDER, bare)
        consortium = Consortium(bare.chain_id, bare.contract, bare.deployment, bare.block, records=records)
        return cls(folder, chain, consortium, hospitals, DirectoryStore(folder / "blobs"))

    def archive(self, number: int = 1) -> Archive:
        """A hospital's."""
        if number not in self.archives:
            self.archives[number] = self.fresh_archive(number, self.folder / f"records-{number}")
        return self.archives[number]

    def fresh_archive(self, number: int, folder: Path) -> Archive:
        """A hospital's, with a vault of its own."""
        keys = Keys(self.hospitals[number - 1])
        client = ChainClient(self.chain.web3, None, self.consortium.contract)
        vault = Vault.open(folder, keys, self.consortium)
        archive = Archive(
            config=Config(name=f"H{number}", records=Records(folder=folder)),
            keys=keys,
            consortium=self.consortium,
            web3=self.chain.web3,
            history=JobFeed(client, self.consortium.block).poll(),
            registry=self.registry(self.hospitals[number - 1].account),
            vault=vault,
            store=self.store,
        )
        finalize(archive, vault.close)
        return archive

    def registry(self, account: Any) -> Registry:
        """An account's hand on the Records contract."""
        return Registry.open(self.chain.web3, account, self.consortium)

    # -- time

    @property
    def now(self) -> int:
        """The chain's time."""
        return int(self.chain.web3.eth.get_block("latest")["timestamp"])

    def in_a_day(self) -> int:
        """When most grants here end."""
        return self.now + DAY

    # -- persons

    def person(self, role: Role = Role.PATIENT, member: int = 1) -> MemberIdentity:
        """Somebody new, for whom a hospital vouches."""
        person = MemberIdentity.create()
        self.vouch(person, role, member)
        return person

    def vouch(self, person: MemberIdentity, role: Role = Role.PATIENT, member: int = 1) -> None:
        """A hospital vouches for a person that accepts it."""
        archive = self.archive(member)
        sharing.vouch(archive, sharing.acceptance(archive, person, role))

    def patient(self, name: str, *members: int) -> MemberIdentity:
        """A patient with this number at these hospitals, by default the first."""
        patient = self.person()
        for member in members or (1,):
            archive = self.archive(member)
            archive.vault.link(archive.context().pseudonym(name), patient.account.address)
        return patient

    def consent(self, patient: MemberIdentity, label: str, *purposes: Purpose, member: int = 1) -> Signed:
        """The patient's word, relayed."""
        signed = sharing.consent(self.archive(member), patient, label, frozenset(purposes))
        sharing.relay(self.archive(member), signed)
        return signed

    def grant(
        self,
        giver: MemberIdentity | None,
        reader: str,
        label: str = "all",
        purpose: Purpose = Purpose.TREATMENT,
        expiry: int | None = None,
        consent_of: tuple[str, str] | None = None,
    ) -> Signed:
        """A patient's grant, or that of hospital 1, relayed."""
        archive = self.archive()
        until = self.in_a_day() if expiry is None else expiry
        signed = sharing.grant(archive, giver, label, reader, purpose, until, consent_of)
        sharing.relay(archive, signed)
        return signed

    # -- records

    def take(self, *records: Record, member: int = 1) -> list[Holding]:
        """Stores and registers; the holdings that are new."""
        archive = self.archive(member)
        last = archive.vault.count()
        storing = archive.storing
        for item in records:
            storing.take(item)
        storing.finish()
        list(archive.register())
        return [holding for holding in archive.vault.holdings(Wanted()) if holding.id > last]

    def about(self, name: str, *what: object, member: int = 1, **changes: Any) -> list[Holding]:
        """Records about the person with this number."""
        subject = self.archive(member).context().pseudonym(name)
        return self.take(*(record([name, item], subject, **changes) for item in what), member=member)

    # -- reading

    def reader(self, person: MemberIdentity, member: int = 2) -> Reader:
        """A person that reads; what it signs is relayed by a member."""
        return Reader(person, self.archive(member).registry, self.store)

    def holder(self, member: int = 1) -> Holder:
        """Whom to ask."""
        return Holder(member, self.hospitals[member - 1].encryption.public)

    def granted(self, signed: Signed) -> GrantRecord:
        """A grant as the chain tells of it."""
        archive = self.archive()
        return archive.trail().grants[sharing.number_of(archive, signed)]

    def ask(
        self, person: MemberIdentity, signed: Signed, wanted: str = "all", institution: int = 0, member: int = 1
    ) -> tuple[int, int]:
        """Asks under a grant. Returns the grant's number and the use's."""
        grant, labels = self.granted(signed), labels_of(signed)
        (use,) = self.reader(person).ask(grant, labels.request(wanted), [self.holder(member)], institution)
        return grant.number, use

    def releasing(self, member: int = 1) -> Releasing:
        """A hospital's answers."""
        archive = self.archive(member)
        return Releasing(archive.rules, archive.registry, archive.store, archive.keys.identities)

    def envelope(self, which: tuple[int, int], member: int = 1) -> bytes:
        """What a holder answered."""
        return self.archive(2).trail().released[which][member]

    def read(self, person: MemberIdentity, signed: Signed, wanted: str = "all", **how: Any) -> list[Any]:
        """Asks, has the holder answer, and opens: what the records say."""
        which = self.ask(person, signed, wanted, **how)
        member = how.get("member", 1)
        answer_all(self.releasing(member))
        found = self.reader(person).records(self.envelope(which, member), member)
        return [item.value["what"][1] for item in found]


def labels_of(signed: Signed) -> Labels:
    """What a grant's scopes stand for."""
    return Labels(signed.label, signed.salt)


def answer_all(releasing: Releasing) -> int:
    """Answers whatever is due. Returns how many requests that were."""
    return sum(releasing.step() for _ in iter(partial(releasing.is_due), False))


def sign(ward: Ward, permit: Permit, by: MemberIdentity) -> tuple[bytes, bytes]:
    """A person's signature for this contract."""
    client = ward.archive().registry.client
    return permit.sign(by.account, client.chain_id, client.address)


def _address(web3: Web3, transaction: str) -> str:
    address = web3.eth.get_transaction_receipt(transaction)["contractAddress"]  # type: ignore[arg-type]
    assert address is not None
    return address
