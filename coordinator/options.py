"""The options of `hmchain run`, checked before anything is done."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from coordinator.recipe_options import ATTACKS
from hmchain.endpoints import shown
from hmchain.errors import UsageError
from hmchain.manifest import CNN, Manifest, Metric
from hmchain.recipe import Recipe, aggregation_of
from hmchain.rounds import MAX_CLIENTS, MAX_MASTERS, clients_of
from trainers.datasets import Dataset
from trainers.networks import source_digest

EMBEDDED = "embedded"
MAX_MEMBERS = 2047  # what one job's election holds (contracts/lib/SumTree.sol), numbers from 1


@dataclass(frozen=True)
class RunOptions(Recipe):
    """The options of one whole-consortium run. Raises UsageError where they cannot work.

    chain is "embedded", a JSON-RPC URL, or None for --no-chain. blobs is a folder, "ipfs:MULTIADDR", or None for the
    run's own folder. malicious is the share of the members that attack. workers is the number of training threads, by
    default one a core. validate measures the last model on the val split as well.
    """

    out: Path
    dataset: str = "organamnist-sample"
    members: int = 20
    fraction: float = 0.25
    masters: int = 4
    rounds: int = 10
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.1
    partition: str = "iid"
    standard: str = "relative:-0.2"
    metric: Metric = "accuracy"
    seed: int = 0
    chain: str | None = EMBEDDED
    blobs: str | None = None
    data_root: Path | None = None
    workers: int | None = None
    validate: bool = False
    strategy: str = "fedavg"
    architecture: str = CNN
    attack: str = ATTACKS[0]
    malicious: float = 0.0

    @property
    def chain_shown(self) -> str:
        """The chain as files name it, which others read: a URL without what may be secret in it."""
        return self.chain or "none" if self.chain in (None, EMBEDDED) else shown(str(self.chain))

    def __post_init__(self) -> None:
        if not 2 <= self.members <= MAX_MEMBERS:
            raise UsageError(
                f"--members must lie between 2 and {MAX_MEMBERS}, not {self.members}: nobody judges its own update"
            )
        if not 1 <= self.masters <= min(self.members, MAX_MASTERS):
            raise UsageError(
                f"--masters must lie between 1 and {min(self.members, MAX_MASTERS)}, not {self.masters}: "
                f"masters are drawn from the {self.members} members, at most {MAX_MASTERS}"
            )
        if not 0 < self.fraction <= 1:
            raise UsageError(f"--fraction must lie above 0 and up to 1, not {self.fraction}")
        if self.members * self.fraction < 1:
            raise UsageError(f"a fraction of {self.fraction} of {self.members} members is no client at all")
        if self.members * round(self.fraction * 10_000) // 10_000 > MAX_CLIENTS:
            raise UsageError(
                f"a fraction of {self.fraction} of {self.members} members is more than {MAX_CLIENTS} clients a round"
            )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be at least 1, not {self.workers}")
        if self.blobs == "":
            raise UsageError("--blobs names no place: give a folder or ipfs:MULTIADDR, or leave it out")
        if self.seed < 0 or self.seed >= 2**63:
            raise UsageError(f"--seed must lie between 0 and 2^63 - 1, not {self.seed}")
        if self.attack not in ATTACKS:
            raise UsageError(f"unknown attack {self.attack!r}; known: {', '.join(ATTACKS)}")
        if not 0 <= self.malicious < 1 or (self.malicious > 0) != (self.attack != ATTACKS[0]):
            raise UsageError("--attack and --malicious, a share above 0 and below 1, go together")
        if self.malicious and not self.attackers:
            raise UsageError(f"a malicious share of {self.malicious} of {self.members} members is no member at all")

    @property
    def attackers(self) -> int:
        """The number of malicious members: floor(malicious × members)."""
        return int(self.malicious * self.members + 1e-9)  # 0.29 × 100 is 28.999999999999996

    @property
    def clients(self) -> int:
        """The number of clients in a round while every member is enrolled."""
        return clients_of(self.members, round(self.fraction * 10_000))

    def manifest(self, dataset: Dataset) -> Manifest:
        """The job that these options describe. Raises UsageError."""
        return Manifest(
            dataset=dataset.name,
            channels=dataset.channels,
            classes=dataset.classes,
            multi_label=dataset.multi_label,
            seed=self.seed,
            rounds=self.rounds,
            fraction=float(self.fraction),
            masters=self.masters,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            metric=self.metric,
            standard=self.standard,
            architecture=self.architecture,
            aggregation=aggregation_of(self.strategy),
            **{field.name: getattr(self, field.name) for field in fields(Recipe) if field.name != "source"},
            source=source_digest(self.architecture) if ":" in self.architecture else "",
        )
