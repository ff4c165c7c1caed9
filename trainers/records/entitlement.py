"""Decides which of a holder's records a logged request gets, by grants and consents as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hmchain import jsontext, scopes
from hmchain.errors import HMChainError, UsageError
from hmchain.permits import CLINICAL_ROLES, NOBODY, Grant, Purpose, label_of, member_of
from hmchain.record import Kind
from hmchain.trail import EmergencyRecord, Trail, Use
from trainers.records.holdings import Holding, Wanted
from trainers.records.vault import Vault

Consents = Callable[[str], frozenset[Purpose] | None]  # by label


class Refusal(HMChainError):
    """Why a request gets nothing. Its message is for the reader."""


@dataclass(frozen=True)
class Entitlement:
    """A holder's rules.

    pseudonym turns the hospital's own number for a person into its pseudonym. is_active tells whether a member is
    active, which the contract does not check at each access (it would cost 5,000 gas). given_up: see `lost`.
    """

    member: int
    vault: Vault
    pseudonym: Callable[[str], str]
    is_active: Callable[[int], bool]
    given_up: frozenset[int] = frozenset()

    def missing(self, trail: Trail) -> list[int]:
        """Numbers of our batches that the vault knows nothing of, as an old backup of it does.

        A batch is in the vault before it is registered, so that none is missing for a moment.
        """
        known = {batch.root for batch in self.vault.batches()}
        return [entry.index for entry in trail.entries if entry.holder == self.member and entry.root not in known]

    def lost(self, trail: Trail) -> list[int]:
        """Those that are missing, but for the ones given up."""
        return [number for number in self.missing(trail) if number not in self.given_up]

    def under_grant(self, trail: Trail, use: Use, now: int, request: dict[str, Any]) -> Iterator[Holding]:
        """The records that the grant covers and the request asks for; now is the chain's time.

        Raises Refusal, StorageError, and, for a malformed request, ValueError, LookupError, TypeError.
        """
        terms = trail.grants[use.number].terms
        self._check_alive(trail, use, terms, now)
        label, wanted = jsontext.text(request["label"]), jsontext.text(request["wanted"])
        if _stands_for(scopes.scope_of, request["salt"], label) != terms.scope:
            raise Refusal("the request names another scope than the grant")
        consents = self._consents(trail, terms)
        for holding in _kept(trail, self._of(self._person(terms))):
            facts = holding.kind, holding.type, holding.leaf
            if not (scopes.falls_under(label, *facts) and scopes.falls_under(wanted, *facts)):
                continue
            if consents is None or use.purpose in (scopes.decided(*facts, consents) or ()):
                yield holding

    def in_emergency(self, trail: Trail, case: EmergencyRecord, request: dict[str, Any]) -> Iterator[Holding]:
        """The clinical records of the person that the reader names. Raises as under_grant does."""
        if not self._is_vouched(trail, case.reader):
            raise Refusal("nobody vouches for the reader any more")
        if trail.persons[case.reader][1] not in CLINICAL_ROLES:
            raise Refusal("the reader is no physician or pharmacist any more")
        if case.verdict is False:
            raise Refusal("this was no emergency, as its review says")
        identifier = jsontext.text(request["identifier"])
        if _stands_for(scopes.commitment, request["salt"], identifier) != case.subject:
            raise Refusal("the request names another person than the emergency")
        reason = jsontext.text(request["reason"])
        if not reason.strip() or _stands_for(scopes.commitment, request["salt"], reason) != case.reason:
            raise Refusal("the request gives no reason, or another one than the emergency")  # which none could review
        pseudonym = self.pseudonym(identifier)
        if not pseudonym:
            raise Refusal("the request names nobody")
        for holding in _kept(trail, self.vault.of_subjects([pseudonym])):
            if holding.kind is Kind.CLINICAL:
                yield holding

    def may_cover(self, terms: Grant) -> bool:
        """Whether any record here can be under a grant: none is, where the person's account is not known here."""
        person = self._person(terms)
        return person == NOBODY or bool(self.vault.pseudonyms_of(person))

    def _person(self, terms: Grant) -> str:
        """The account whose records a grant is about; NOBODY for records about nobody."""
        return terms.consent_of if self._is_ours(terms) else terms.granter

    def _is_vouched(self, trail: Trail, person: str) -> bool:
        return person in trail.persons and self.is_active(trail.persons[person][0])

    def _is_ours(self, terms: Grant) -> bool:
        return terms.granter == label_of(self.member)

    def _check_alive(self, trail: Trail, use: Use, terms: Grant, now: int) -> None:
        if terms.expiry <= now:
            raise Refusal("the grant has expired, or was revoked")
        if not self._is_vouched(trail, use.reader):
            raise Refusal("nobody vouches for the reader any more")
        if not self._is_ours(terms) and not self._is_vouched(trail, terms.granter):
            raise Refusal("nobody vouches any more for whoever gave the grant")
        institution = member_of(terms.reader)
        if institution is not None and not self._may_use(trail, institution, use, now):
            raise Refusal("the reader may not use what is granted to its organisation any more")

    def _may_use(self, trail: Trail, institution: int, use: Use, now: int) -> bool:
        delegated = trail.delegations.get((institution, use.reader, use.purpose), 0)
        return delegated > now and self.is_active(institution)

    def _consents(self, trail: Trail, terms: Grant) -> Consents | None:
        """The person's consents by label, None where the grant needs none. Raises Refusal without the person's salt."""
        if terms.consent_of == NOBODY:
            return None
        salt = self.vault.salt(terms.consent_of)
        if salt is None:
            raise Refusal("this holder does not know what the person consents to any more")
        return consents_of(trail, terms.consent_of, salt)

    def _of(self, person: str) -> Iterator[Holding]:
        """A person's records, or, where `person` is nobody, those that are about nobody."""
        if person != NOBODY:
            return self.vault.of_subjects(self.vault.pseudonyms_of(person))
        return self.vault.of_subjects([""])


def _kept(trail: Trail, holdings: Iterable[Holding]) -> Iterator[Holding]:
    """The holdings that the chain does not know as erased: a vault restored from a backup has such keys again."""
    return (holding for holding in holdings if holding.leaf not in trail.erased.get(holding.batch.number or 0, ()))


def _stands_for(digest: Callable[[bytes, str], bytes], salt: str, text: str) -> bytes:
    """The 32 bytes that stand on chain for a text under a salt. Raises ValueError for a malformed request."""
    try:
        return digest(bytes.fromhex(salt), text)
    except UsageError as fault:
        raise ValueError("no salt, or no label") from fault


def consents_of(trail: Trail, person: str, salt: bytes) -> Consents:
    """What a person consents to, by label."""
    return lambda label: trail.consent(person, scopes.scope_of(salt, label))


@dataclass(frozen=True)
class Ground:
    """The consent that decides over a record: for which label, which number in its series (0: there is none), whether
    it is for the purpose, and whether its person is vouched for. With both, the record may be used.
    """

    label: str
    number: int
    given: bool
    vouched: bool

    @property
    def stands(self) -> bool:
        """Whether the record may be used."""
        return self.given and self.vouched

    def __str__(self) -> str:
        return f"consent {self.number} to {self.label}" if self.number else "no consent"


def ground(trail: Trail, account: str, salt: bytes, purpose: Purpose, holding: Holding) -> Ground:
    """The consent by which a hospital itself may, or may not, use a record for a purpose.

    account: the person's; salt: that of its consents.
    """

    def known(label: str) -> tuple[str, frozenset[Purpose], int] | None:
        given = trail.consents.get((account, scopes.scope_of(salt, label)))
        return None if given is None else (label, *given)

    label, purposes, number = scopes.decided(holding.kind, holding.type, holding.leaf, known) or ("", frozenset(), 0)
    return Ground(label, number, purpose in purposes, account in trail.persons)


def consented(trail: Trail, vault: Vault, purpose: Purpose, wanted: Wanted) -> Iterator[Holding]:
    """The registered records that this hospital itself may use for a purpose, by its persons' consents as of now.

    Records about nobody are the hospital's own. A person whose consents' salt we do not have counts as not consenting.
    """
    by_subject: dict[str, Consents | None] = {}
    for holding in _kept(trail, vault.holdings(wanted)):
        if holding.erased or holding.batch.number is None:
            continue
        if holding.subject and holding.subject not in by_subject:
            account = vault.account_of(holding.subject)
            salt = vault.salt(account) if account in trail.persons else None
            by_subject[holding.subject] = consents_of(trail, account, salt) if salt else None
        consents = by_subject.get(holding.subject)
        facts = holding.kind, holding.type, holding.leaf
        if not holding.subject or (consents and purpose in (scopes.decided(*facts, consents) or ())):
            yield holding
