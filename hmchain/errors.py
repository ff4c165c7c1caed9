"""Every fault this project expects, in one tree.

    HMChainError                    exit code
    ├── UsageError                  2   an option, or a combination of options, that cannot work
    ├── DataError                   3   a data set that is missing, altered or not supported
    ├── ChainError                  4   the chain is unreachable, or is not the chain we were told
    │   ├── ContractError           4   the contract refused a transaction (its own error, decoded)
    │   ├── NonceClash              4   another transaction of the same account came first: look again, then send again
    │   └── ChainBehind             4   a node that has not yet seen what we have
    ├── BlobError                   5   a blob that is missing, altered, too large or cannot be stored
    │   ├── WeightsError            5   bytes that are not the weights they claim to be (has a Reason)
    │   └── DaemonError             5   our own IPFS daemon is gone or at fault, which says nothing about the blob
    ├── StorageError                6   the local disk: full, read-only, not a folder
    ├── TrainingError               6   computing: too little memory or time, or a custom network that raised
    └── VerificationError           1   a run that does not prove what it claims

The command line turns each into one line on standard error and the exit code above. Anything outside this
tree is a defect of ours and exits with 70; an interrupt exits with 130.
"""

from __future__ import annotations

import traceback
from enum import IntEnum
from pathlib import Path
from typing import Self


class Reason(IntEnum):
    """Why an update counts for nothing. On chain it takes the place of a master's score (see hmchain.scores)."""

    UNSCORED = 0
    UNAVAILABLE = 1
    TOO_LARGE = 2
    WRONG_DIGEST = 3
    UNREADABLE = 4
    WRONG_HEADER = 5
    WRONG_TENSORS = 6
    NOT_FINITE = 7
    OUT_OF_RANGE = 8

    @property
    def text(self) -> str:
        """The reason in words, as reports and the command line print it."""
        return _REASON_TEXT[self]


_REASON_TEXT = {
    Reason.UNSCORED: "no independent master scored it",
    Reason.UNAVAILABLE: "the blob could not be fetched",
    Reason.TOO_LARGE: "the blob is larger than the job allows",
    Reason.WRONG_DIGEST: "the bytes do not have the digest recorded on chain",
    Reason.UNREADABLE: "the blob cannot be decrypted or is not canonical safetensors",
    Reason.WRONG_HEADER: "the header names another job, round, sender or base model",
    Reason.WRONG_TENSORS: "names, shapes or dtypes differ from the job's network",
    Reason.NOT_FINITE: "a weight is NaN or infinite",
    Reason.OUT_OF_RANGE: "a weight is outside the range that exact aggregation allows",
}


class HMChainError(Exception):
    """Base of every expected fault. Its message is one line that a user can act on."""

    exit_code = 1


class UsageError(HMChainError):
    """An option, or a combination of options, that cannot work."""

    exit_code = 2


class DataError(HMChainError):
    """A data set that is missing, altered or not supported."""

    exit_code = 3


class ChainError(HMChainError):
    """The chain is unreachable, or is not the chain we were told."""

    exit_code = 4


# What refusals mean that people meet: of votes, of persons, of reading. Nodes meet the others, and know them by name.
_REFUSAL_TEXT = {
    "AlreadyReviewed": "this emergency was reviewed before",
    "AlreadyVoted": "this member voted for it before",
    "BallotClosed": "the vote is over: it was carried, its time is up, or a member has left since; propose it again",
    "GrantOver": "the grant has expired, or was revoked",
    "MemberNotActive": "no active member has this number",
    "NoConsent": "the person does not consent to this purpose",
    "NoDelegation": "the organisation does not let this person use its grants for this purpose",
    "NotActiveMember": "this account is no active member's",
    "NotClinical": "only physicians and pharmacists open an emergency",
    "NotReviewer": "its holder reviews it, and after 72 hours any member but the reader's own",
    "NotVouched": "no member vouches for this person",
    "NotVoucher": "another member vouches for this person",
    "OperatorInUse": "this account belongs to a member, or did",
    "OtherMatter": "the chain has another motion under this number than the one that was voted for",
    "OwnCase": "a member has no vote on itself",
    "OwnEmergency": "who opened an emergency does not review it",
    "ReviewOverdue": "an earlier emergency of this reader was not reviewed in time: its holder must review it first",
    "TooManyUnreviewed": "too many emergencies of this reader wait for their review",
    "UnknownBallot": "there is no such vote",
    "UnknownGrant": "no such grant was made to whoever asks",
    "UnknownMember": "no member has this number",
    "WordExpired": "what was signed is past its deadline: sign it again",
    "WrongAcceptance": "this acceptance, or a later one of the person, was used before",
    "WrongEmergencyNonce": "another emergency of this reader came before it: ask again",
    "WrongHolder": "an organisation's grant is for what it keeps itself: ask that one",
    "WrongNonce": "this word of its person, or a later one, is on the chain already",
    "WrongSigner": "whom it names did not sign it, or signed it for another consortium",
    "WrongStatus": "the member is so already, or was removed",
    "WrongUse": "another request under this grant came before it: ask again",
}


class ContractError(ChainError):
    """The contract refused a call with one of its custom errors.

    name is the Solidity error's name ("NotDrawn"), arguments its decoded values in order.
    """

    def __init__(self, name: str, arguments: tuple[object, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        shown = (f"0x{value.hex()}" if isinstance(value, bytes) else str(value) for value in arguments)
        meaning = f": {_REFUSAL_TEXT[name]}" if name in _REFUSAL_TEXT else ""
        super().__init__(f"the contract refused: {name}({', '.join(shown)}){meaning}")


class NonceClash(ChainError):
    """Another transaction of the same account was sent first, perhaps for the same end: look before trying again."""


class ChainBehind(ChainError):
    """The chain's node is behind what this process has already seen, or was set back."""


class BlobError(HMChainError):
    """A blob that is missing, altered, too large or cannot be stored."""

    exit_code = 5

    def __init__(self, message: str, reason: Reason = Reason.UNAVAILABLE) -> None:
        self.reason = reason
        super().__init__(message)


class WeightsError(BlobError):
    """Bytes that are not the weights they claim to be."""


class DaemonError(BlobError):
    """The blob store itself does not answer, or answers with bytes that are not those of the CID asked for."""


class StorageError(HMChainError):
    """The local disk: full, read-only, not a folder."""

    exit_code = 6


class TrainingError(HMChainError):
    """Computing failed: there was too little memory or time, or a custom network raised an exception."""

    exit_code = 6

    @classmethod
    def of(cls, fault: BaseException) -> Self:
        """Of what was raised, and where, in one line."""
        *_, last = traceback.extract_tb(fault.__traceback__)
        said = " ".join(str(fault).split())[:200] or "no reason given"
        return cls(f"{type(fault).__name__} at {Path(last.filename).name}:{last.lineno}: {said}")


class VerificationError(HMChainError):
    """A run that does not prove what it claims. round and member say where, None where that is not known."""

    exit_code = 1

    def __init__(self, reason: str, round: int | None = None, member: int | None = None) -> None:
        self.reason = reason
        self.round = round
        self.member = member
        where = ", ".join(f"{k} {v}" for k, v in (("round", round), ("member", member)) if v is not None)
        super().__init__(f"{where}: {reason}" if where else reason)
