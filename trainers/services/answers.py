"""Signed answers: counts about many persons that a hospital gives to a query, without a record leaving it.

    file = canonical JSON || 0x0a      signature: EIP-191, by the operator's account, over all fields but itself

An answer names its query, deployment, block and threshold. It consists of cells: counts by name, None for a suppressed
one. What a missing cell means is up to the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct
from eth_account.signers.local import LocalAccount
from pydantic import BaseModel, ConfigDict, ValidationError

from hmchain.consortium import Consortium
from hmchain.errors import UsageError, VerificationError
from hmchain.ethereum import Head
from hmchain.files import read_file, read_toml, write_secret
from hmchain.history import History
from hmchain.jsontext import MAX_WHOLE, parse
from hmchain.record import canonical

FORMAT = "hmchain-answer/1"
MAX_NAME = 1_100  # characters of a cell's name: a long insertion is an allele, too
_DOMAIN = b"hmchain/answer/1\n"


class Blocks(Protocol):
    """The chain, as far as an answer's block is looked up in it: a ChainClient."""

    def head(self) -> int:
        """The number of the latest block."""

    def block(self, which: int, /) -> Head:
        """A block."""


@dataclass(frozen=True)
class Place:
    """Where and as of when an answer holds: the deployment, the member that answers, and the block."""

    chain_id: int
    contract: str
    member: int
    block: int
    block_hash: str


@dataclass(frozen=True)
class Answer:
    """One hospital's answer. query: what was asked, as JSON. signature: 65 bytes, none before it is signed."""

    service: str
    query: Mapping[str, Any]
    place: Place
    threshold: int
    cells: Mapping[str, int | None]
    signature: bytes = field(default=b"", repr=False)

    def signed(self, account: LocalAccount) -> Answer:
        """The same with the operator's signature."""
        return replace(self, signature=bytes(account.sign_message(self._message()).signature))

    def signer(self) -> str:
        """The account that signed just this. Raises VerificationError where nobody can have."""
        try:
            return str(Account.recover_message(self._message(), signature=self.signature))
        except Exception as fault:  # the library has no one class for what is no signature
            raise VerificationError("an answer's signature is none") from fault

    def digest(self) -> bytes:
        """The 32 bytes that stand for service and query: equal ones ask the same."""
        return query_digest(self.service, self.query)

    def _message(self) -> SignableMessage:
        content = self._content()
        del content["signature"]
        return encode_defunct(_DOMAIN + canonical(content))

    def _content(self) -> dict[str, Any]:
        told = {"service": self.service, "query": dict(self.query), "query_digest": self.digest().hex()}
        counts = {"threshold": self.threshold, "cells": dict(self.cells)}
        return {"format": FORMAT, **told, **asdict(self.place), **counts, "signature": self.signature.hex()}

    def encode(self) -> bytes:
        """The file's bytes. Raises DataError for a query that JSON has no words for."""
        return canonical(self._content()) + b"\n"

    def write(self, path: Path) -> None:
        """Writes the file, readable by its owner only. Raises StorageError."""
        write_secret(path, self.encode())

    @classmethod
    def read(cls, path: Path) -> Answer:
        """Reads a file that somebody else may have written. The signature is not checked yet. Raises UsageError."""
        data = read_file(path, "the answer")
        try:
            content = parse(data)
            place = Place(*(content[name] for name in ("chain_id", "contract", "member", "block", "block_hash")))
            signature = bytes.fromhex(content["signature"])
            answer = cls(
                *(content["service"], content["query"], place, content["threshold"]), content["cells"], signature
            )
            if not (answer._is_plain() and answer.encode() == data):  # one answer, one spelling
                raise ValueError("not as it would be written")
        except (ValueError, LookupError, TypeError, AttributeError) as fault:
            raise UsageError(f"{path} is not a {FORMAT} file") from fault
        return answer

    def _is_plain(self) -> bool:
        place = self.place
        numbers = (place.chain_id, place.member, place.block, self.threshold)
        texts = (self.service, place.contract, place.block_hash)
        named = all(type(name) is str and name.isprintable() and 0 < len(name) <= MAX_NAME for name in self.cells)
        counts = all(count is None or _is_count(count) for count in self.cells.values())
        return all(map(_is_count, numbers)) and all(type(t) is str for t in texts) and named and counts


def _is_count(number: object) -> bool:
    return type(number) is int and 0 <= number <= MAX_WHOLE


class Part(BaseModel):
    """A table of a query. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Q = TypeVar("Q", bound=Part)


def query_in(path: Path, model: type[Part]) -> dict[str, Any]:
    """A query's file as JSON, every default written out: one query has one digest. Raises UsageError."""
    content = read_toml(path, "the query")
    try:
        return parsed(content, model).model_dump(mode="json")
    except UsageError as fault:
        raise UsageError(f"{path}: {fault}") from None


def parsed(query: Mapping[str, Any], model: type[Q]) -> Q:
    """A query, validated by its model. Raises UsageError, in one line that names the key but quotes no content."""
    try:
        return model.model_validate(query)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}") from None


def query_digest(service: str, query: Mapping[str, Any]) -> bytes:
    """SHA-256 that stands for a query to a service. Raises DataError for one that is no JSON."""
    return sha256(b"hmchain/query/1" + canonical({"service": service, "query": dict(query)})).digest()


def check(
    answers: Sequence[Answer], service: str, consortium: Consortium, history: History, blocks: Blocks
) -> Mapping[str, Any]:
    """Checks that these are answers of active members of this consortium to one query, and returns that query.

    An answer signed by an account that its member has rotated away is refused: the key may have been stolen. Raises
    UsageError for answers that do not belong together, VerificationError for one that is not what it says it is.
    """
    if not answers:
        raise UsageError("there are no answers to add")
    members = [answer.place.member for answer in answers]
    for answer in answers:
        if answer.service != service:
            raise UsageError(f"an answer is one of {answer.service[:40]!r}, not of {service!r}")
        if answer.digest() != answers[0].digest():
            raise UsageError(f"member {answer.place.member} answers another query than member {members[0]}")
        if members.count(answer.place.member) > 1:
            raise UsageError(f"there is more than one answer of member {answer.place.member}")
        _check_one(answer, consortium, history, blocks)
    return answers[0].query


def _check_one(answer: Answer, consortium: Consortium, history: History, blocks: Blocks) -> None:
    place = answer.place
    who = f"the answer of member {place.member}"
    if (place.chain_id, place.contract) != (consortium.chain_id, consortium.contract):
        raise VerificationError(f"{who} is of another deployment than this consortium's")
    if place.member not in history.active:
        raise VerificationError(f"{who} counts for nothing: there is no active member of this number")
    if answer.signer() != history.members[place.member]:
        raise VerificationError(f"{who} is not signed by that member's operator, or was changed since")
    if not consortium.block <= place.block <= blocks.head() or blocks.block(place.block).hash != place.block_hash:
        raise VerificationError(f"{who} names a block that this chain does not have")


@dataclass(frozen=True)
class Total:
    """A cell over all hospitals. value: the sum over those that told it. told, suppressed: how many did, and did not.

    hidden: the most that the suppressed ones can add, where each is below its hospital's threshold.
    """

    value: int = 0
    told: int = 0
    suppressed: int = 0
    hidden: int = 0


def summed(answers: Iterable[Answer]) -> dict[str, Total]:
    """Each cell's total, in the order in which cells are met."""
    totals: dict[str, Total] = {}
    for answer in answers:
        for name, count in answer.cells.items():
            so_far = totals.get(name, Total())
            if count is None:
                hidden = so_far.hidden + max(answer.threshold - 1, 0)
                totals[name] = replace(so_far, suppressed=so_far.suppressed + 1, hidden=hidden)
            else:
                totals[name] = replace(so_far, value=so_far.value + count, told=so_far.told + 1)
    return totals
