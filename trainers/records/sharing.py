"""Makes, signs, relays and revokes acceptances, consents and grants, of persons and of the hospital."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import compress

from hmchain import scopes
from hmchain.errors import ContractError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import (
    NOBODY,
    SENDER,
    Acceptance,
    Consent,
    Grant,
    Permit,
    Purpose,
    Role,
    Signature,
    label_of,
    member_of,
)
from trainers.records.archive import Archive
from trainers.records.persons import Signed, grant_salt_of, salt_of

DAY = 86_400
A_TRANSACTION = 100  # permits relayed in one transaction: well below the limits on its size (128 KiB) and its gas
WORD_SECONDS = 7 * DAY  # until the deadline of what a person signs: later the contract refuses it


def acceptance(archive: Archive, person: MemberIdentity, role: Role) -> Signed:
    """Signs that a person accepts to be vouched for by this hospital, in a role. Raises HMChainError."""
    account = person.account.address
    number = archive.trail().next_acceptance(account)
    permit = Acceptance(account, archive.member, role, number, deadline(archive))
    return Signed(permit, _signature(archive, permit, person))


def vouch(archive: Archive, signed: Signed) -> Acceptance:
    """Vouches for the person that accepted it. Raises UsageError, ContractError, ChainError."""
    permit = signed.permit
    if not isinstance(permit, Acceptance) or signed.signature == SENDER:
        raise UsageError("no person accepts a vouch here: hmchain records accept makes such a file")
    if permit.member != archive.member:
        raise UsageError(
            f"this person accepts to be vouched for by member {permit.member}, and we are {archive.member}"
        )
    archive.registry.transact("vouch", permit.abi(), *signed.signature)
    return permit


def deadline(archive: Archive, seconds: int = WORD_SECONDS) -> int:
    """The deadline of what is signed now, by the chain's clock, in seconds since 1970. Raises ChainError."""
    return archive.registry.client.block().time + seconds


def consent(archive: Archive, person: MemberIdentity, label: str, purposes: frozenset[Purpose]) -> Signed:
    """Signs a person's consent to purposes for a label, in place of an earlier one. Raises HMChainError."""
    salt, account = salt_of(person), person.account.address
    scope = scopes.scope_of(salt, label)
    permit = Consent(account, scope, purposes, archive.trail().next_consent(account, scope), deadline(archive))
    return Signed(permit, _signature(archive, permit, person), label, salt)


def grant(
    archive: Archive,
    person: MemberIdentity | None,
    label: str,
    reader: str,
    purpose: Purpose,
    expiry: int,
    consent_of: tuple[str, str] | None = None,
) -> Signed:
    """A grant by a person, signed, or by the hospital itself, which needs no signature. Raises HMChainError.

    expiry: seconds since 1970. consent_of, for a hospital's grant over a person's records: the person, and the label of
    the consent that the grant needs.
    """
    if person:
        salt, granter = grant_salt_of(person, label, reader, purpose), person.account.address
    else:
        whose = consent_of[0].encode() if consent_of else b""  # or grants over two persons would have one scope
        salt = scopes.grant_salt_from(archive.vault.pseudonym_key + whose, label, reader, purpose)
        granter = label_of(archive.member)
    consent = _consent_scope(archive, *consent_of) if consent_of else (NOBODY, bytes(32))
    terms = Grant(granter, reader, scopes.scope_of(salt, label), purpose, expiry, 1, *consent)
    terms = replace(terms, nonce=_next(archive, terms))
    return Signed(terms, _signature(archive, terms, person), label, salt)


def _next(archive: Archive, terms: Grant) -> int:
    """The number that the next grant of these terms must have."""
    earlier = archive.trail().grant_like(terms)
    return earlier.terms.nonce + 1 if earlier else 1


def still_consented(archive: Archive, person: MemberIdentity) -> list[str]:
    """The scopes for which a person consents to something: as labels where its records here tell them, else as digits.

    Raises ChainError, StorageError.
    """
    vault, salt, account = archive.vault, salt_of(person), person.account.address
    theirs = vault.of_subjects(vault.pseudonyms_of(account))
    labels = {label for holding in theirs for label in scopes.labels_of(holding.kind, holding.type, holding.leaf)}
    names = {scopes.scope_of(salt, label): label for label in labels | {scopes.ALL}}
    consents = archive.trail().consents.items()
    return sorted(names.get(scope, scope.hex()) for (who, scope), (to, _) in consents if who == account and to)


def _consent_scope(archive: Archive, account: str, label: str) -> tuple[str, bytes]:
    """A person, and the scope by which it consents. Raises UsageError where this hospital cannot know it."""
    salt = archive.vault.salt(account)
    if salt is None:
        raise UsageError(f"{account} has not told this hospital of any consent: hmchain records relay its file")
    return account, scopes.scope_of(salt, label)


def revoked(archive: Archive, person: MemberIdentity | None, signed: Signed) -> Signed:
    """The same grant with expiry 0, which revokes it, also before whoever has its file has relayed it.

    Raises UsageError where somebody else gave it.
    """
    if not isinstance(signed.permit, Grant):
        raise UsageError("a consent is not revoked but withdrawn: hmchain records consent --withdraw")
    granter = person.account.address if person else label_of(archive.member)
    if signed.permit.granter != granter:
        raise UsageError("only whoever gave a grant can revoke it")
    terms = replace(signed.permit, expiry=0, nonce=_next(archive, signed.permit))
    return replace(signed, permit=terms, signature=_signature(archive, terms, person))


def granted(archive: Archive, number: int) -> Signed:
    """A grant that is on chain, by its number: its terms, without a signature and what its scope stands for.

    Raises UsageError where there is none.
    """
    known = archive.trail().grants.get(number)
    if known is None:
        raise UsageError(f"there is no grant {number}")
    return Signed(known.terms, SENDER)


def relay(archive: Archive, *several: Signed) -> list[bool]:
    """Sends permits to the chain from this hospital's account, and remembers the salts of consents.

    They go in one transaction, all or none. Returns for each whether it was new to the chain. For permits that others
    hand in, use relay_files. Raises UsageError, ContractError, ChainError.
    """
    if any(isinstance(signed.permit, Acceptance) for signed in several):
        raise UsageError("a person's acceptance is for the hospital that it names: hmchain records vouch")
    told = archive.trail().consents
    for consent, salt in _consents(several):
        if (consent.person, consent.scope) in told:  # so the salt is the person's: nobody else knew it
            archive.vault.learn(consent.person, salt)
    new = [not _is_on_chain(archive, signed.permit) for signed in several]
    if any(new):
        archive.registry.transact_all([_call(signed) for signed in compress(several, new)])
    for consent, salt in _consents(several):
        archive.vault.learn(consent.person, salt)
    return new


def relay_files(archive: Archive, several: Sequence[Signed]) -> Iterator[bool]:
    """relay, for files that anyone may have written: only what persons signed, nothing in this hospital's own name.

    Where the contract refuses one of them, those before it are still relayed.
    """
    for signed in several:
        if signed.signature == SENDER or (
            isinstance(signed.permit, Grant) and member_of(signed.permit.granter) is not None
        ):
            raise UsageError("no person signed this; a hospital's own grants are made by: hmchain records share")
    for start in range(0, len(several), A_TRANSACTION):
        some = several[start : start + A_TRANSACTION]
        try:
            yield from relay(archive, *some)
        except ContractError:
            if len(some) == 1:
                raise
            for signed in some:
                yield from relay(archive, signed)


def _consents(several: Sequence[Signed]) -> Iterator[tuple[Consent, bytes]]:
    return ((signed.permit, signed.salt) for signed in several if isinstance(signed.permit, Consent))


def _call(signed: Signed) -> tuple[str, Sequence[object]]:
    function = "setGrant" if isinstance(signed.permit, Grant) else "setConsent"
    return function, (signed.permit.abi(), *signed.signature)


def number_of(archive: Archive, signed: Signed) -> int:
    """The number of a grant that is on chain. Raises UsageError."""
    if not isinstance(signed.permit, Grant):
        raise UsageError("that is an acceptance or a consent, not a grant")
    found = archive.trail().grant_like(signed.permit)
    if found is None:
        raise UsageError("the chain does not know this grant yet: hmchain records relay its file")
    return found.number


def moment_of(until: str) -> int | None:
    """Seconds since 1970 of a date (its first moment, UTC) or time; None for "". Raises UsageError where it is none."""
    if not until:
        return None
    try:
        moment = datetime.fromisoformat(until)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):  # the latter where it is in the year 10000 of UTC, which none prints
        raise UsageError(f"{until!r:.40} is no date, such as 2027-01-31") from None


def expiry_of(archive: Archive, until: int | None, days: int) -> int:
    """Seconds since 1970: the given moment, else so many days from now, by the chain's clock, which ends permits.

    This machine's may be wrong: a grant would last longer than its granter wants. Raises UsageError where it is over
    already, ChainError.
    """
    now = archive.registry.client.block().time
    if until is not None and until <= now:
        raise UsageError(f"{when(until)} is over already: the chain has {when(now)}")
    return now + days * DAY if until is None else until


def when(seconds: int) -> str:
    """A moment in seconds since 1970 as people read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_on_chain(archive: Archive, permit: Permit) -> bool:
    trail = archive.trail()
    if isinstance(permit, Consent):
        return trail.consents.get((permit.person, permit.scope)) == (permit.purposes, permit.nonce)
    known = trail.grant_like(permit) if isinstance(permit, Grant) else None
    return known is not None and known.terms == permit


def _signature(archive: Archive, permit: Permit, person: MemberIdentity | None) -> Signature:
    client = archive.registry.client
    return permit.sign(person.account, client.chain_id, client.address) if person else SENDER
