"""What `hmchain verify` makes of a verdict on an update, and of a blob that is not there; tests/e2e has whole runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from coordinator.folder import RunFile
from coordinator.verify import agree, blamed, check_proposals, unless_unavailable
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.cid import Cid
from hmchain.errors import BlobError, DaemonError, HMChainError, Reason, VerificationError
from hmchain.history import Proposal, RoundRecord
from hmchain.scores import word_of_score

SCORED = word_of_score(0)


@pytest.mark.parametrize(
    ("told", "found", "fits"),
    [
        (SCORED, None, True),
        (SCORED, Reason.NOT_FINITE, False),
        (SCORED, Reason.UNAVAILABLE, False),
        (Reason.NOT_FINITE, Reason.NOT_FINITE, True),
        (Reason.NOT_FINITE, Reason.WRONG_TENSORS, False),
        (Reason.NOT_FINITE, None, False),
        (Reason.UNAVAILABLE, Reason.UNAVAILABLE, True),
        (Reason.UNAVAILABLE, None, True),  # it came too late, or they did not look
        (Reason.UNAVAILABLE, Reason.WRONG_DIGEST, False),
        (Reason.UNSCORED, None, True),
        (Reason.UNSCORED, Reason.UNAVAILABLE, True),
        (Reason.UNSCORED, Reason.NOT_FINITE, True),
        (Reason.UNSCORED, Reason.WRONG_DIGEST, False),
    ],
)
def test_a_verdict_fits_what_is_found_of_the_update(told: int, found: Reason | None, fits: bool) -> None:
    assert agree(int(told), None if found is None else BlobError("found", found)) is fits


@pytest.mark.parametrize(
    ("blobs", "fault", "raised"),
    [
        ("ipfs:/ip4/127.0.0.1/tcp/5001", BlobError("not found"), BlobError),
        ("ipfs:/ip4/127.0.0.1/tcp/5001", DaemonError("other bytes", Reason.WRONG_DIGEST), DaemonError),
        ("ipfs:/ip4/127.0.0.1/tcp/5001", BlobError("altered", Reason.WRONG_DIGEST), VerificationError),
        ("blobs", BlobError("not found"), VerificationError),
    ],
)
def test_a_blob_that_an_ipfs_daemon_does_not_find_is_no_evidence(
    blobs: str, fault: BlobError, raised: type[HMChainError]
) -> None:
    run = cast(RunFile, SimpleNamespace(blobs=blobs))
    with pytest.raises(raised) as caught, unless_unavailable(run), blamed("manifest"):
        raise fault
    assert type(caught.value) is raised


def test_what_no_blob_is_to_blame_for_is_evidence_wherever_blobs_are() -> None:
    run = cast(RunFile, SimpleNamespace(blobs="ipfs:/ip4/127.0.0.1/tcp/5001"))
    with pytest.raises(VerificationError, match="the manifest is another one"), unless_unavailable(run):
        raise VerificationError("the manifest is another one")


def test_a_proposal_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    blob = BlobRef(bytes(32), Cid(0x70, bytes(32)), 1 << 31)
    (tmp_path / str(blob.cid)).write_bytes(b"other bytes")
    proposals = [Proposal("0x" + "11" * 20, frozenset(), bytes(32), blob)]
    record = RoundRecord(1, bytes(32), (1,), (2,), proposals=proposals)
    check_proposals(DirectoryStore(tmp_path), record, (1 << 31) - 1)
    with pytest.raises(VerificationError, match="does not have the recorded"):
        check_proposals(DirectoryStore(tmp_path), record, 1 << 31)
