"""Images trained on a second by a GPU: the clients of a round one after the other, together, and as a stack.

python -m bench.gpu [--dataset NAME] [--data-root DIR] [--members N] [--clients N] [--architectures NAME,…] [--rounds R]

Together, in the lanes of a team, is how `hmchain run` trains them. A stack is one pass over the networks of all clients
(torch.func.vmap), here for whole batches of the paper's network only: it is measured to compare, and not used.

Also says whether training together gives the bytes of training alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers.datasets import Dataset, load
from trainers.descent import Descent
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, build, initial_weights
from trainers.networks.of_job import same_bytes
from trainers.partition import split
from trainers.recorder import Recorder
from trainers.splits import Shard
from trainers.team import Team, TeamLearner
from trainers.training import LocalTraining, Trainer

Tensors = dict[str, torch.Tensor]
Job = tuple[Manifest, Sequence[Shard], Weights]


def job_of(dataset: Dataset, architecture: str, asked: argparse.Namespace) -> Job:
    """A round's clients, what they train, and from where."""
    manifest = Manifest(
        dataset.name,
        dataset.channels,
        dataset.classes,
        seed=0,
        architecture=architecture,
        epochs=asked.epochs,
        batch_size=asked.batch_size,
    )
    shards = split(dataset, asked.members, "iid", 0)[: asked.clients]
    return manifest, shards, initial_weights(architecture, dataset.channels, len(dataset.classes), 0)


def alone(job: Job, recorded: bool) -> Callable[[], list[Weights]]:
    """One client after the other."""
    manifest, shards, base = job
    network = build(manifest.architecture, manifest.channels, len(manifest.classes))
    trainer, config = Trainer(network, Compute(), recorded), LocalTraining.of(manifest, 1)
    return lambda: [trainer.train(base, shard.train, config, seed) for seed, shard in enumerate(shards)]


def together(job: Job, team: Team) -> Callable[[], list[Weights]]:
    """All clients of the round in a team's threads, as `hmchain run` trains them."""
    manifest, shards, base = job
    pad, compute = Pad(build(manifest.architecture, manifest.channels, len(manifest.classes))), Compute()
    learners = [TeamLearner(LocalLearner(manifest, shard, pad, compute), team) for shard in shards]

    def round() -> list[Weights]:
        for seed, learner in enumerate(learners):
            learner.begin(base, seed, 1)
        return [learner.train(base, seed, 1) for seed, learner in enumerate(learners)]

    return round


def stacked(job: Job, recorded: bool) -> Callable[[], None]:
    """A step of every client in one pass, on one whole batch each."""
    manifest, shards, _ = job
    network = build(manifest.architecture, manifest.channels, len(manifest.classes))
    compute, clients = Compute(), len(shards)
    network = network.to(compute.device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    parameters = {n: p.detach().repeat(clients, *[1] * p.ndim).requires_grad_() for n, p in network.named_parameters()}
    buffers = {n: b.repeat(clients, *[1] * b.ndim) for n, b in network.named_buffers()}
    descent = Descent(list(parameters.values()))
    samples = torch.stack([torch.from_numpy(shard.train.inputs[: manifest.batch_size]) for shard in shards]).to(
        compute.device
    )
    labels = torch.stack([torch.from_numpy(shard.train.labels[: manifest.batch_size]) for shard in shards]).to(
        compute.device
    )

    def loss(own: Tensors, seen: Tensors, batch: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        with compute.autocast():
            logits = functional_call(network, (own, seen), (batch,))
        return cross_entropy(logits.float(), truth)

    def step(images: torch.Tensor, truth: torch.Tensor) -> None:
        inputs = compute.inputs(images.flatten(0, 1))
        inputs = inputs.reshape(*images.shape[:2], *inputs.shape[1:])
        total = vmap(loss)(parameters, buffers, inputs, truth).sum()
        descent.step(torch.autograd.grad(total, list(parameters.values())))

    take = Recorder(step) if recorded else step
    descent.begin(manifest.learning_rate)
    lane = compute.lane()

    def once() -> None:
        with torch.cuda.stream(lane):
            take(samples, labels)

    return once


def rate(images: int, work: Callable[[], object], times: int) -> float:
    """Images a second, after a warm-up that also records."""
    for _ in range(4):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return images * times / (time.perf_counter() - started)


def measure(dataset: Dataset, architecture: str, asked: argparse.Namespace) -> None:
    """Prints a line a way of training."""
    job = job_of(dataset, architecture, asked)
    manifest, shards, _ = job
    trained = sum(len(shard.train) for shard in shards) * manifest.epochs
    team = Team(asked.workers)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "one after the other": (trained, alone(job, False)),
        "one after the other, recorded": (trained, alone(job, True)),
        "together, recorded": (trained, together(job, team)),
    }
    smallest = min(len(shard.train) for shard in shards)
    if smallest >= manifest.batch_size and manifest.architecture == "medmnist-cnn":
        whole = manifest.batch_size * len(shards)
        ways |= {"a stack": (whole, stacked(job, False)), "a stack, recorded": (whole, stacked(job, True))}
    first = None
    for name, (images, work) in ways.items():
        found = rate(images, work, asked.rounds)
        first = first or found
        print(f"{dataset.name:14} {architecture:16} {name:30} {found:9,.0f} images/s  {found / first:5.1f}", flush=True)
    pairs = zip(alone(job, False)(), together(job, team)(), strict=True)
    equal = sum(same_bytes(one, other) for one, other in pairs)
    print(f"  trained alone and together, {equal} of {len(shards)} updates are the same, byte for byte", flush=True)
    team.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--dataset", default="organamnist-sample")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--architectures", default="medmnist-cnn,groupnorm-cnn,groupnorm-resnet,resnet18,vgg16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=None)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}; {asked.clients} clients of {asked.members}")
    dataset = load(asked.dataset, asked.data_root)
    for architecture in asked.architectures.split(","):
        measure(dataset, architecture, asked)


if __name__ == "__main__":
    main()
