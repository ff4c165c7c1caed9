"""A hospital at the consortium's table: what the commands of members, votes and jobs act through."""

from __future__ import annotations

from dataclasses import dataclass

from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.contract import Artifact
from hmchain.history import History
from hmchain.ledger import JobFeed
from trainers.config import Config
from trainers.keystore import Keys
from trainers.parts import connect


@dataclass(frozen=True)
class Desk:
    """Its clients of both contracts, and what has happened so far."""

    client: ChainClient
    history: History
    keys: Keys | None

    @property
    def ballots(self) -> ChainClient:
        """The contract that holds the votes."""
        address = self.client.call("ballots")
        return ChainClient(self.client.web3, self.client.account, address, Artifact.load("Ballots"))


def sit_down(config: Config, keys: Keys | None) -> Desk:
    """Connects to the consortium; without keys only to read. Raises HMChainError."""
    consortium = Consortium.read(config.chain.consortium)
    web3 = connect(config, consortium)
    client = ChainClient(web3, keys.identity.account if keys else None, consortium.contract)
    return Desk(client, JobFeed(client, consortium.block, wary=True).poll(), keys)
