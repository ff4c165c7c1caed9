"""A member's part in one job: it opens the job, enters the draws, and does in each round what it was drawn for."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hmchain.blobs import BlobRef
from hmchain.errors import ContractError
from hmchain.history import JobRecord, RoundRecord, verdict_text
from hmchain.ledger import ContractLedger
from hmchain.phases import draw_pending
from hmchain.rounds import MAX_SAMPLES, Phase, RoundState
from hmchain.stopwatch import Stopwatch
from trainers import turns
from trainers.hospital import Hospital, base_model
from trainers.logs import say, warn
from trainers.opening import OpenJob, RefusedJob, Site, key_of, misfit, open_job
from trainers.worker import RemoteLearner


class Participation:
    """A member's part in one job. `step` does at most one thing."""

    def __init__(self, site: Site, job: int) -> None:
        self._site = site
        self.job = job
        self._watch = Stopwatch()
        self.ledger = ContractLedger(site.client, site.feed, job, site.member, self._watch)
        self.opened: OpenJob | None = None
        self._hospital: Hospital | None = None
        self._refused = False
        self._notes: set[str] = set()
        self._round: int | None = None  # the last one whose end was told
        self._learner: RemoteLearner | None = None
        self._keys_seen = 0
        self._sought: Counter[BlobRef] = Counter()  # keyrings that could not be had
        self._since: dict[tuple[str, int], int] = {}  # the chain's time when something was first seen to be due
        self._quiet_until = 0
        self._looked = (0, 0)
        self._was_enrolled = False
        self._silences = 0
        self._stays_out_until = 0

    def step(self, state: RoundState, now: int, coordinator: bool) -> bool:
        """Does what is due at the chain's time `now`. False where nothing was. Raises HMChainError.

        coordinator: whether this node coordinates the job, too.
        """
        if state.phase == Phase.CLOSED or self._refused:
            return False
        if self.opened is None and not self._open(coordinator):
            return False
        self._follow(state.number)
        rank = turns.rank(state, self._site.member, coordinator)
        if self._hospital is not None:
            self._allow(state.deadline - now)
            if self._enrol(state, now) or self._act(self._hospital, state, now):
                return True
        return self._advance(state, now, rank) or self._strike(state, now, rank)

    # ------------------------------------------------------------------ entering

    def _open(self, coordinator: bool) -> bool:
        job = self._record
        if job.keys and len(job.keys) == self._keys_seen:
            return False  # nothing new since no keyring had an envelope for us
        try:
            key = key_of(self._site.store, job, self._site.member, self._site.keys.identities, self._sought)
            if key is None:
                self._keys_seen = len(job.keys)
                self._once("waiting for the coordinator to envelope the job's key to us")
                return False
            self.opened = open_job(self._site, job, key, self._watch)
            reason = misfit(self.opened.manifest, self._site.data)
            declined = self._site.roles.decline & {"client", "master"}
            if declined:
                reason = f"we decline the role of {' and '.join(sorted(declined))}"
            if reason and not coordinator:
                raise RefusedJob(reason)
        except RefusedJob as fault:
            self._refused = True
            warn("job refused", job=self.job, reason=str(fault))
            return False
        if reason is None:
            self._hospital = self._hospital_for(self.opened)
        say("job opened", job=self.job, dataset=self.opened.manifest.dataset, rounds=self.opened.manifest.rounds)
        return True

    def _hospital_for(self, opened: OpenJob) -> Hospital:
        site, manifest = self._site, opened.manifest
        samples = min(site.data.samples, MAX_SAMPLES)
        base = base_model(manifest, opened.exchange, opened.initial, self.ledger.records)
        self._learner = RemoteLearner(site.worker, manifest, samples)
        return Hospital(
            site.member,
            self._learner,
            site.keys.identity.for_job(site.client.chain_id, site.client.address, self.job),
            manifest,
            self.ledger,
            opened.exchange,
            base,
            self._watch,
            site.state.ballots_of(self.job),
            site.data_stand,
            lambda round, blob: site.sets.note(self.job, round, blob.sha256, site.data.root),
        )

    def _enrol(self, state: RoundState, now: int) -> bool:
        """Enters the draws, again after a silence. A member that is silent repeatedly stays out longer each time."""
        enrolled = self._site.member in self._record.enrolled
        if self._was_enrolled and not enrolled:
            self._stays_out_until = state.number + 2**self._silences - 1
            self._silences += 1
            warn("left out of the draws", job=self.job, until_round=self._stays_out_until)
        self._was_enrolled = enrolled
        if enrolled or draw_pending(state, now):
            return False
        if state.number < self._stays_out_until and state.phase != Phase.WAITING:
            return False
        self._site.client.transact("enrol", self.job)
        return True

    # ------------------------------------------------------------------ a round

    def _act(self, hospital: Hospital, state: RoundState, now: int) -> bool:
        if state.phase == Phase.COMMIT:
            return self._propose(hospital, state, now)
        master = hospital.number in state.masters
        if state.phase == Phase.PRE_PREPARE and master and self._misses(hospital, state, now):
            return False
        if state.phase == Phase.REPLY:
            return self._attest(hospital, state, now)
        if hospital.act(state):
            self._silences = 0
            return True
        if state.phase == Phase.REQUEST and master:
            self._look_ahead(hospital, state.number)
        return False

    def _attest(self, hospital: Hospital, state: RoundState, now: int) -> bool:
        if now < self._quiet_until or not turns.may_attest(state, self._record.terms, hospital.number, now):
            return False
        if hospital.act(state):
            return True
        self._quiet_until = now + turns.INTERVAL_SECONDS  # a candidate that is wrong or missing is not retried at once
        return False

    def _allow(self, seconds: int) -> None:
        """Sets how long a training may take: what is left of the phase, at most what this hospital allows."""
        if self._learner is not None:
            self._learner.seconds = max(0.0, min(float(seconds), self._site.training_seconds))

    def _look_ahead(self, hospital: Hospital, round: int) -> None:
        """Scores updates as they come in, so that the scores are ready with the last one."""
        seen = (round, len(self._record.rounds[round].updates))
        if seen[1] and seen != self._looked:
            self._looked = seen
            hospital.look_ahead(round)

    def _misses(self, hospital: Hospital, state: RoundState, now: int) -> bool:
        """Whether to wait for updates that are not available yet."""
        if state.masters.index(hospital.number) not in state.uncommitted:
            return False
        if not turns.waits_for_blobs(state, self._record.terms, now):
            return False
        missing = hospital.look_ahead(state.number)
        if missing:
            self._once(f"round {state.number}: waiting for the updates of members {missing}")
        return bool(missing)

    def _propose(self, hospital: Hospital, state: RoundState, now: int) -> bool:
        record = self._record.rounds[state.number]
        judged = record.judgement is not None
        if not judged or not record.accepted() or "proposer" in self._site.roles.decline:
            return False
        return turns.may_propose(state, self._record.terms, hospital.number, now) and hospital.propose(state)

    def _advance(self, state: RoundState, now: int, rank: int) -> bool:
        judged = state.number in self._record.rounds and self._record.rounds[state.number].judgement is not None
        enrolled, active = len(self._record.enrolled), len(self._site.feed.history.active)
        due = (f"advance {state.phase.name}", state.number)
        if not turns.needs_advance(state, judged, enrolled, active, self._record.terms, now):
            self._since.pop(due, None)
            return False
        return self._in_turn(due, now, rank, "advance", self.job)

    def _strike(self, state: RoundState, now: int, rank: int) -> bool:
        """Takes a suspended or removed member out of the draws, where it would cost the others a deadline."""
        gone = sorted(self._record.enrolled - self._site.feed.history.active)
        if not gone or draw_pending(state, now):
            return False
        return self._in_turn(("strike", gone[0]), now, rank, "strike", self.job, gone[0])

    def _in_turn(self, due: tuple[str, int], now: int, rank: int, call: str, *arguments: int) -> bool:
        """Sends a transaction that anyone may send, once it is our turn and where nobody was faster.

        due names what is due, since when it has been due is kept by that; rank is our place in line.
        """
        since = self._since.setdefault(due, now)
        if now - since < turns.INTERVAL_SECONDS * rank:
            return False
        try:
            self._site.client.call(call, *arguments)
        except ContractError:
            return False
        self._site.client.transact(call, *arguments)
        return True

    def close(self) -> None:
        """Logs the end of the job."""
        self._follow(self._record.terms.rounds + 1)
        if self._hospital is not None:
            self._hospital.forget(self._record.terms.rounds)
        say("job closed", job=self.job, models=sum(r.model is not None for r in self._record.rounds.values()))

    def _follow(self, round: int) -> None:
        """Logs how the rounds before `round` ended, once each; after a start, only the last of them."""
        if self._round is None:
            self._round = max(0, round - 2)
        while self._round + 1 < round:
            self._round += 1
            record = self._record.rounds.get(self._round)
            if record is not None:
                say(f"round {self._round} over", job=self.job, **_outcome(record, self._site.member), **self._spent())
            self._since.clear()
            if self._hospital is not None:
                # Not of the last one: if the chain is set back, it may be asked for again.
                self._hospital.forget(self._round - 1)

    def _spent(self) -> dict[str, Any]:
        """Seconds measured since the last call, by activity, as log fields."""
        spent = {f"{name}_seconds": round(seconds, 3) for name, seconds in self._watch.seconds.items()}
        self._watch.seconds.clear()
        return spent

    def _once(self, event: str) -> None:
        if event not in self._notes:
            self._notes.add(event)
            say(event, job=self.job)

    @property
    def _record(self) -> JobRecord:
        return self._site.feed.history.jobs[self.job]


def _outcome(record: RoundRecord, member: int) -> dict[str, Any]:
    """A round's end as log fields, with the verdict on our own update: the paper's REPLY."""
    facts: dict[str, Any] = {"model": record.model.hex()[:16]} if record.model else {}
    if record.failed is not None:
        facts |= {"failed_in": record.failed.name, "reason": record.failure()}
    if silent := record.silent():
        facts["silent"] = silent
    for position, update in record.updates.items():
        if update.member == member:
            facts["our_update"] = verdict_text(record.judgement, position) if record.judgement else "not judged"
    return facts
