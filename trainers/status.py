"""A hospital's view of its consortium: chain, blobs, members, jobs, and who is awaited. Needs no password."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from hmchain.blobs import open_store
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.endpoints import shown
from hmchain.errors import HMChainError
from hmchain.history import History, JobRecord, RoundRecord, verdict_text
from hmchain.ledger import ContractLedger, JobFeed
from hmchain.rounds import Phase, RoundState
from hmchain.scores import basis_points, is_score
from trainers.config import Config
from trainers.keystore import address_of
from trainers.parts import connect

NOT_BEGUN = RoundState(0, 0, Phase.ENROLMENT, 0, (), (), *[frozenset[int]()] * 6)


def status(config: Config) -> dict[str, Any]:
    """The whole view as plain data. Raises ChainError, UsageError; a blob store that is down is only reported."""
    consortium = Consortium.read(config.chain.consortium)
    web3 = connect(config, consortium)
    client = ChainClient(web3, None, consortium.contract)
    feed = JobFeed(client, consortium.block, wary=True)
    history = feed.poll()
    head = feed.head
    assert head is not None
    age = time.time() - head.time
    own = history.member_of(address_of(config.keys.operator))
    return {
        "chain": {
            "urls": [shown(url) for url in config.chain.urls],
            "chain_id": consortium.chain_id,
            "contract": consortium.contract,
            "block": head.number,
            "block_time": head.time,
            "block_age_seconds": round(max(age, 0.0), 1),
            "clock_behind_seconds": round(max(-age, 0.0), 1),  # this machine's, at least
        },
        "blobs": _blobs(config),
        "member": own,
        "members": list(members(history)),
        "jobs": [_job(history, record, _state(client, feed, record), head.time) for record in history.jobs.values()],
    }


def members(history: History) -> Iterator[dict[str, Any]]:
    """All members, past ones too."""
    for number, operator in history.members.items():
        yield {
            "member": number,
            "name": history.names[number],
            "operator": operator,
            "active": number in history.active,
            "samples": history.samples.get(number, 0),
        }


def _blobs(config: Config) -> dict[str, Any]:
    try:
        store = open_store(config.blobs.store, config.blobs.timeout_seconds)
        return {"store": config.blobs.store, "up": True, "bytes": store.used()}
    except HMChainError as fault:
        return {"store": config.blobs.store, "up": False, "reason": str(fault)}


def _state(client: ChainClient, feed: JobFeed, job: JobRecord) -> RoundState:
    """The job's round as it stands. Where none was begun, that is known: one may create thousands of such."""
    return ContractLedger(client, feed, job.number, 0).state() if job.rounds else NOT_BEGUN


def _job(history: History, job: JobRecord, state: RoundState, now: int) -> dict[str, Any]:
    record = job.rounds.get(state.number)
    facts = {
        "job": job.number,
        "coordinator": history.member_of(job.coordinator) or job.coordinator,
        "rounds": job.terms.rounds,
        "round": state.number,
        "completed": sum(r.model is not None for r in job.rounds.values()),
        "phase": state.phase.name,
        "enrolled": sorted(job.enrolled),
        "needed": job.terms.masters,
        "history": [past for past in map(_round, job.rounds.values()) if past["outcome"] != "running"],
    }
    if state.deadline and Phase.WAITING <= state.phase <= Phase.FAILED:
        facts |= {"deadline": state.deadline, "seconds_left": state.deadline - now}
    if record is not None and Phase.REQUEST <= state.phase <= Phase.FAILED:
        facts |= {
            "clients": list(state.clients),
            "masters": list(state.masters),
            "awaited": awaited(state),
        }
    return facts


def awaited(state: RoundState) -> list[int]:
    """Numbers of the members that the present phase waits for."""
    everyone = frozenset(range(len(state.masters)))
    owed = {
        Phase.REQUEST: (state.clients, state.awaited),
        Phase.PRE_PREPARE: (state.masters, state.uncommitted),
        Phase.PREPARE: (state.masters, state.unrevealed),
        Phase.REPLY: (state.masters, everyone - state.attested),
    }
    roster, positions = owed.get(state.phase, ((), frozenset()))
    return [roster[position] for position in sorted(positions)]


def _round(record: RoundRecord) -> dict[str, Any]:
    judged = record.judgement
    return {
        "round": record.number,
        "outcome": "finalized" if record.model else "failed" if record.failed is not None else "running",
        "failed_in": record.failed.name if record.failed is not None else None,
        "failure": record.failure() if record.failed is not None else None,
        "model": f"sha256:{record.model.hex()}" if record.model else None,
        "base_score": basis_points(judged.base) / 10_000 if judged and is_score(judged.base) else None,
        "updates": {
            str(update.member): verdict_text(judged, position) if judged else "not judged"
            for position, update in record.updates.items()
        },
        "silent": record.silent(),
    }
