"""Which of a holder's records a logged request is entitled to, as grants and consents are now, record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hmchain import scopes
from hmchain.errors import HMChainError
from hmchain.permits import NOBODY, Grant, Purpose, label_of
from hmchain.record import Kind
from hmchain.trail import EmergencyRecord, Trail, Use
from trainers.holdings import Holding, Wanted
from trainers.vault import Vault

Consents = Callable[[str], frozenset[Purpose] | None]  # by label


class Refusal(HMChainError):
    """Why a request gets nothing. Its message is for the reader."""


@dataclass(frozen=True)
class Entitlement:
    """A holder's rules. pseudonym: from the hospital's own number for a person to its pseudonym. is_active: of members,
    which the contract does not ask at each access (it would cost 5,000 gas).
    """

    member: int
    vault: Vault
    pseudonym: Callable[[str], str]
    is_active: Callable[[int], bool]

    def under_grant(self, trail: Trail, use: Use, now: int, request: dict[str, Any]) -> Iterator[Holding]:
        """What the grant covers and the request asks for; now is the chain's time. Raises Refusal, ValueError,
        LookupError, TypeError.
        """
        terms = trail.grants[use.number].terms
        self._check_alive(trail, use, terms, now)
        label, wanted = scopes.checked(request["label"]), scopes.checked(request["wanted"])
        if scopes.scope_of(bytes.fromhex(request["salt"]), label) != terms.scope:
            raise Refusal("the request names another scope than the grant")
        person = terms.consent_of if self._is_ours(terms) else terms.granter
        consents = self._consents(trail, terms, request)
        for holding in self._of(person):
            facts = holding.kind, holding.type, holding.leaf
            if not (scopes.falls_under(label, *facts) and scopes.falls_under(wanted, *facts)):
                continue
            if consents is None or use.purpose in (scopes.decided(*facts, consents) or ()):
                yield holding

    def in_emergency(self, trail: Trail, case: EmergencyRecord, request: dict[str, Any]) -> Iterator[Holding]:
        """The clinical records of the person that the reader names. Raises as under_grant does."""
        if not self._is_vouched(trail, case.reader):
            raise Refusal("nobody vouches for the reader any more")
        salt, identifier = bytes.fromhex(request["salt"]), str(request["identifier"])
        if scopes.commitment(salt, identifier) != case.subject:
            raise Refusal("the request names another person than the emergency")
        for holding in self.vault.of_subjects([self.pseudonym(identifier)]):
            if holding.kind is Kind.CLINICAL:
                yield holding

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

    def _consents(self, trail: Trail, terms: Grant, request: dict[str, Any]) -> Consents | None:
        """The person's consents by label, where the grant needs any."""
        if terms.consent_of == NOBODY:
            return None
        salt, label = bytes.fromhex(request["consent_salt"]), scopes.checked(request["consent_label"])
        if scopes.scope_of(salt, label) != terms.consent_scope:
            raise Refusal("the request names another consent than the grant")
        return consents_of(trail, terms.consent_of, salt)

    def _of(self, person: str) -> Iterator[Holding]:
        """A person's records; those about nobody where there is no person."""
        if person != NOBODY:
            return self.vault.of_subjects(self.vault.pseudonyms_of(person))
        return self.vault.of_subjects([""])


def consents_of(trail: Trail, person: str, salt: bytes) -> Consents:
    """What a person consents to, by label."""
    return lambda label: trail.consent(person, scopes.scope_of(salt, label))


def consented(trail: Trail, vault: Vault, purpose: Purpose, wanted: Wanted) -> Iterator[Holding]:
    """The registered records that their persons let this hospital itself use for a purpose, as of now.

    Records about nobody are the hospital's own. Of a person whose scopes nobody told us, nothing is consented to.
    """
    by_subject: dict[str, Consents | None] = {}
    for holding in vault.holdings(wanted):
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
