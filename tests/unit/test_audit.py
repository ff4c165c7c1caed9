"""`hmchain verify --config`: a job is recomputed from one reading of the chain, and told as a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.audit import audit
from coordinator.deploy import found
from coordinator.jobs import create
from coordinator.verify import WORD
from hmchain.blobs import DirectoryStore
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.embedded import EmbeddedChain
from hmchain.errors import UsageError
from hmchain.history import blob_to_abi
from hmchain.identity import MemberIdentity
from hmchain.keyring import seal_key
from hmchain.ledger import JobFeed
from hmchain.manifest import Manifest
from trainers.config import Blobs, Chain, Config
from trainers.coordination import kept_key
from trainers.keystore import Keys


def test_a_job_without_a_model_yet_has_none_and_the_chain_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, store = MemberIdentity.create(), DirectoryStore(tmp_path / "blobs")
    account, identities = ours.account, (ours.encryption,)
    chain = EmbeddedChain([account.address])
    client, deployment = found(chain.web3, account, [(account.address, ours.encryption.public, b"H".ljust(32, b"\0"))])
    job = Manifest(dataset="mine", channels=1, classes=("a", "b"), seed=0)
    create(client, JobFeed(client, deployment.block).poll(), store, tmp_path, identities, job)
    key = kept_key(tmp_path, job.digest(), identities)
    assert key is not None
    keyring = store.put(seal_key(key, {1: ours.encryption.public}))
    client.transact("publishKey", 1, key.public, blob_to_abi(keyring))

    consortium = Consortium(chain.web3.eth.chain_id, client.address, deployment.transaction, deployment.block)
    consortium.write(tmp_path / "consortium.json")
    config = Config(
        name="H", chain=Chain(consortium=tmp_path / "consortium.json"), blobs=Blobs(store=str(tmp_path / "blobs"))
    )
    monkeypatch.setattr("coordinator.audit.connect", lambda *_: chain.web3)
    readings, events = [], ChainClient.events
    monkeypatch.setattr(ChainClient, "events", lambda *asked: readings.append(asked) or events(*asked))

    verdict = audit(config, Keys(ours), 1)
    assert (verdict["completed_rounds"], verdict["models"], verdict["model_digest"]) == (0, 1, None)
    assert (verdict["head"], verdict["notes"]) == (
        chain.web3.eth.block_number,
        ["the job is still running: this is what there is of it now", f"each member's own word: {WORD}"],
    )
    assert [asked[0].address for asked in readings] == [client.address, client.call("ballots")]
    with pytest.raises(UsageError, match="there is no job 2"):
        audit(config, Keys(ours), 2)
    with pytest.raises(UsageError, match="is no member's"):
        audit(config, Keys(MemberIdentity.create()), 1)
