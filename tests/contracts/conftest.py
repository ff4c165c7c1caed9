"""A consortium of seven, jobs in it and records beside it; every test starts from them untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from ape.api import ReceiptAPI

from .clinic import VOUCHED, Clinic
from .federation import Federation, Motion, Phase, matter_of, organisation

SAMPLES = 100
MEMBERS = 7
AHEAD_OF_THE_CLOCK = 10**8  # seconds; py-evm then adds one second a block, however slow the machine


@pytest.fixture(scope="session", autouse=True)
def plain_chain(chain: Any, accounts: Any) -> Iterator[None]:
    """Its time is no clock's: a job that lives for the session would be late where its tests take 1,000 seconds.

    And half as much work for the same answers: ape executes each transaction a second time in search of console.log,
    which no contract here has, and web3 asks eth-tester for all accounts, twice, to read as the first of them.
    """
    chain.mine(timestamp=chain.pending_timestamp + AHEAD_OF_THE_CLOCK)
    chain.provider.web3.eth.default_account = accounts[0].address
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReceiptAPI, "show_debug_logs", lambda receipt: None)
        yield


@pytest.fixture(scope="session")
def coordinator(accounts: Any) -> Any:
    """Runs jobs; not a member."""
    return accounts[21]


@pytest.fixture(scope="session")
def deployer(accounts: Any) -> Any:
    """Founds consortia; not a member."""
    return accounts[22]


@pytest.fixture(scope="session")
def outsider(accounts: Any) -> Any:
    """An account that has nothing to do with any of it."""
    return accounts[23]


@pytest.fixture(scope="session")
def found(
    project: Any,
    chain: Any,
    deployer: Any,
    coordinator: Any,
    plain_chain: None,  # before any other: ape puts fixtures in an order of its own, and time must not jump after a job
) -> Callable[[Sequence[Any]], Federation]:
    """Founds and seals a consortium of the given operators, each with its dataset committed."""

    def make(operators: Sequence[Any]) -> Federation:
        hm = deployer.deploy(project.HMChain)
        hm.found([organisation(a, i) for i, a in enumerate(operators, 1)], sender=deployer)
        hm.seal(sender=deployer)
        for number, operator in enumerate(operators, 1):
            hm.commitDataset(number.to_bytes(32, "big"), SAMPLES, sender=operator)
        return Federation(hm, operators, coordinator, chain)

    return make


@pytest.fixture(scope="session")
def _seven(found: Any, accounts: Any) -> Any:
    """The one deployment that most tests share."""
    return found(accounts[:MEMBERS]).hm


@pytest.fixture
def consortium(_seven: Any, accounts: Any, chain: Any, coordinator: Any) -> Federation:
    """A sealed consortium of seven without a job."""
    return Federation(_seven, accounts[:MEMBERS], coordinator, chain)


@pytest.fixture
def hm(consortium: Federation) -> Any:
    """Its contract."""
    return consortium.hm


@pytest.fixture
def ballots(project: Any, hm: Any) -> Any:
    """Its votes."""
    return project.Ballots.at(hm.ballots())


@pytest.fixture
def run_job(consortium: Federation) -> Callable[..., Federation]:
    """Starts a job on the terms that a test asks for, everybody enrolled."""

    def make(**terms: Any) -> Federation:
        consortium.create(**terms)
        consortium.enrol()
        consortium.start()
        return consortium

    return make


@pytest.fixture(scope="session")
def _running(found: Any, accounts: Any) -> Federation:
    """The job that `job` hands out, played up to its first round once."""
    federation = found(accounts[:MEMBERS])
    federation.create()
    federation.enrol()
    federation.start()
    return federation


@pytest.fixture
def job(_running: Federation, chain: Any) -> Federation:
    """A job of four masters and two clients in its first round, in REQUEST."""
    copy = Federation(_running.hm, _running.members, _running.coordinator, chain)
    copy.job, copy.terms = _running.job, dict(_running.terms)
    assert copy.phase == Phase.REQUEST
    return copy


@pytest.fixture
def carry(project: Any) -> Callable[[Federation, Motion, int], None]:
    """Lets the members vote a motion through."""

    def run(federation: Federation, motion: Motion, number: int) -> None:
        ballots = project.Ballots.at(federation.ballots)
        voters = [a for i, a in enumerate(federation.members, 1) if i != number]
        ballots.proposeMotion(motion, number, sender=voters[0])
        ballot = ballots.ballotCount()
        for voter in voters[1:]:
            if ballots.ballot(ballot).carried:
                return
            if federation.hm.memberOf(voter)[1] == 1:
                ballots.vote(ballot, matter_of(ballots, ballot), sender=voter)

    return run


@pytest.fixture(scope="session")
def _vouched(_seven: Any, project: Any, accounts: Any, deployer: Any, chain: Any) -> Any:
    """The one Records contract that most tests share, its persons vouched for."""
    records = deployer.deploy(project.Records, _seven)
    clinic = Clinic(records, accounts[:7], chain)
    for member, person, role in VOUCHED:
        clinic.vouch(person, role, member)
    return records


@pytest.fixture
def clinic(_vouched: Any, accounts: Any, chain: Any) -> Clinic:
    """Records beside the consortium of seven: persons, and nothing said yet."""
    return Clinic(_vouched, accounts[:MEMBERS], chain)


@pytest.fixture
def records(clinic: Clinic) -> Any:
    """Its contract."""
    return clinic.records


@pytest.fixture
def suspend(carry: Any, consortium: Federation) -> Callable[[int], None]:
    """Lets the members suspend one of them."""
    return lambda number: carry(consortium, Motion.SUSPEND, number)
