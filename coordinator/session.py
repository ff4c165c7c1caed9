"""One hospital's connection to its consortium: what the commands for members, ballots and jobs act through."""

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
class Session:
    """A client of the HMChain contract, and the consortium's history when the session was opened."""

    client: ChainClient
    history: History

    @property
    def ballots(self) -> ChainClient:
        """A client of the Ballots contract, which holds the votes. Raises ChainError."""
        address = self.client.call("ballots")
        return ChainClient(self.client.web3, self.client.account, address, Artifact.load("Ballots"))


def open_session(config: Config, keys: Keys | None) -> Session:
    """Connects to the consortium and reads its history. Without keys the session can only read. Raises HMChainError."""
    consortium = Consortium.read(config.chain.consortium)
    web3 = connect(config, consortium)
    client = ChainClient(web3, keys.identity.account if keys else None, consortium.contract)
    return Session(client, JobFeed(client, consortium.block, wary=True).poll())
