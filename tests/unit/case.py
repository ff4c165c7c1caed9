"""A patient, its records and a physician in a ward, and checks that an attempt to read them failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmchain import letters
from hmchain.blobs import BlobRef
from hmchain.errors import ContractError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import Access, Role

from .ward import Ward, answer_all, labels_of, sign


class Case:
    """A patient with two records, whom a physician of the other hospital may read."""

    count = 0

    def __init__(self, ward: Ward, *what: object, **grant: Any) -> None:
        Case.count += 1
        self.ward, self.name = ward, f"case {Case.count}"
        self.patient = ward.patient(self.name)
        self.records = ward.about(self.name, *(what or ("a", "b")))
        self.physician = ward.person(Role.PHYSICIAN, 2)
        self.grant = ward.grant(self.patient, self.physician.account.address, **grant)

    def access(self, by: MemberIdentity | None = None, request: bytes = b"\7" * 32, **changes: Any) -> Access:
        """What a reader signs, by hand."""
        terms, record = self.grant.permit, self.ward.granted(self.grant)
        usual = {name: getattr(terms, name) for name in ("granter", "scope", "purpose", "consent_of", "consent_scope")}
        return Access(**(usual | {"holder": 1, "request": request, "use": len(record.uses) + 1} | changes))

    def send(self, access: Access, by: MemberIdentity) -> None:
        """Relays it."""
        self.ward.archive(2).registry.transact("logAccess", access.abi(), *sign(self.ward, access, by))

    def letter(self, content: dict[str, Any] | None = None, key: bytes | None = None, **changes: Any) -> bytes:
        """A request's letter to the holder."""
        if content is None:
            content = labels_of(self.grant).request("all") | {"recipient": self.physician.encryption.public.hex()}
        return letters.send(self.ward.store, content | changes, key or self.ward.holder().key)

    def asked(self, digest: bytes) -> tuple[int, int]:
        """Logs a use with this request. Returns the grant's number and the use's."""
        access = self.access(request=digest)
        self.send(access, self.physician)
        return self.ward.granted(self.grant).number, access.use

    def answer(self, which: tuple[int, int]) -> Any:
        """Has the holder answer, and opens it."""
        answer_all(self.ward.releasing())
        return [r.value["what"][1] for r in self.ward.reader(self.physician).records(self.ward.envelope(which), 1)]


def no_keys_went_out(ward: Ward, which: tuple[int, int], *readers: MemberIdentity) -> bool:
    """No part was stored for this use, and the letter, if there is one, lists none."""
    if ward.archive().vault.released(*which):
        return False
    envelope = ward.archive().trail().released.get(which, {}).get(1)
    if envelope in (None, bytes(32)):
        return True
    keys = [reader.encryption for reader in readers]
    return "parts" not in letters.receive(ward.store, envelope, keys)


def refused(name: str, attempt: Callable[[], object]) -> None:
    """The contract says no, with this error."""
    with pytest.raises(ContractError) as caught:
        attempt()
    assert caught.value.name == name


def released_nothing(case: Case, which: tuple[int, int], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        case.answer(which)
    assert str(caught.value) == told
    assert no_keys_went_out(case.ward, which, case.physician)


def digest_of(path: Path) -> bytes:
    return BlobRef.of(path.read_bytes()).cid.digest
