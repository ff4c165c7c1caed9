"""What a job comes to where nothing goes wrong: the same keys and data, in one process, with no chain and no IPFS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import rlp
from eth_utils import decode_hex, keccak, to_checksum_address

from coordinator.daemons import CHAIN_ID
from coordinator.jobs import read_manifest
from coordinator.local import JOB, Local
from hmchain.exchange import DirectExchange, model_header
from hmchain.history import RoundRecord
from hmchain.ledger import Ledger
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import COORDINATOR, Phase
from hmchain.stopwatch import Stopwatch
from hmchain.weights import digest, encode, specification
from trainers import keystore
from trainers.hospital import Hospital, base_model, propose_aggregate
from trainers.keystore import Keys
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, build, initial_weights
from trainers.splits import load_shard


def undisturbed(here: Local) -> bytes:
    """The last model's digest where nothing happens."""
    *_, last = undisturbed_rounds(here)
    assert last.model is not None
    return last.model


def undisturbed_rounds(here: Local) -> Iterator[RoundRecord]:
    """The rounds where nothing happens: the same keys, data and job, in one process, with no chain."""
    manifest: Manifest = read_manifest(here.folder / JOB)
    initial = initial_weights(manifest.architecture, manifest.channels, len(manifest.classes), manifest.seed)
    exchange = DirectExchange(specification(initial))
    job = PlainJob(
        manifest.terms(), manifest.digest(), digest(encode(initial, model_header(manifest.digest(), 0, bytes(32))))
    )
    pad, members = Pad(build(manifest.architecture, manifest.channels, len(manifest.classes))), {}
    for number, folder in enumerate(here.hospitals, start=1):
        shard = load_shard(folder / "data.npz")
        job.join(number, len(shard.train))
        identity = keys_of(folder).identity.for_job(CHAIN_ID, contract_of(here), 1)
        ledger: Ledger = job.ledger(number)
        base = base_model(manifest, exchange, initial, ledger.records)
        learner = LocalLearner(manifest, shard, pad, Compute())
        members[number] = Hospital(number, learner, identity, manifest, ledger, exchange, base, Stopwatch())
    job.start()
    coordinator = job.ledger(0)
    base = base_model(manifest, exchange, initial, coordinator.records)
    told = 0
    while (state := coordinator.state()).phase != Phase.CLOSED:
        if state.phase == Phase.COMMIT and COORDINATOR not in state.proposed:
            propose_aggregate(state, coordinator, exchange, manifest, base, Stopwatch())
        else:
            for number in state.clients if state.phase == Phase.REQUEST else state.masters:
                if (now := coordinator.state()).phase == state.phase and now.number == state.number:
                    members[number].act(now)
        over = [record for record in coordinator.records() if record.model or record.failed is not None]
        yield from over[told:]
        told = len(over)


def contract_of(here: Local) -> str:
    """Where the contract is or will be: hospital 1 creates it with its first transaction."""
    sender = decode_hex(keys_of(here.hospitals[0]).identity.account.address)
    return to_checksum_address(keccak(rlp.encode([sender, b""]))[12:])


def keys_of(hospital: Path) -> Keys:
    """A hospital's own keys."""
    folder, password = hospital / "keys", (hospital / "password").read_text().strip()
    return keystore.unlock(folder / keystore.OPERATOR, folder / keystore.ENCRYPTION, password)
