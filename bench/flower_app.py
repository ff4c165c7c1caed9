"""The federation of bench.flower in Flower's simulation. Run by Flower's own Python; it writes its seconds to a file.

Same network, shards, local training and evaluation, by the same functions; Flower draws its clients, moves the weights
and averages them.
"""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from hmchain.weights import Weights
from trainers.datasets import Dataset, load
from trainers.networks import build, initial_weights, load_weights
from trainers.partition import split
from trainers.scoring import evaluate
from trainers.splits import Shard
from trainers.training import LocalTraining, train

ARCHITECTURE = "medmnist-cnn"
client, server = ClientApp(), ServerApp()


@lru_cache(1)
def data(name: str, root: str, members: int) -> tuple[Dataset, list[Shard]]:
    """Once in each of Ray's processes."""
    torch.set_num_threads(1)
    dataset = load(name, Path(root) if root else None)
    return dataset, split(dataset, members, "iid", 0)


def wish() -> dict[str, Any]:
    """What bench.flower asked for. Ray's processes find it where their parent does: in the environment."""
    asked: dict[str, Any] = json.loads(os.environ["HMCHAIN_BENCH_FLOWER"])
    return asked


def arrays_to_weights(record: ArrayRecord, like: Weights) -> Weights:
    """Flower averages counters as well, to fractions."""
    arrays = record.to_numpy_ndarrays()
    return {name: array.astype(like[name].dtype) for name, array in zip(sorted(like), arrays, strict=True)}


def train_client(message: Message, context: Context) -> Message:
    """One client's local training."""
    asked = wish()
    dataset, shards = data(asked["dataset"], asked["root"], asked["members"])
    mine = shards[int(context.node_config["partition-id"])].train
    base = arrays_to_weights(message.content["arrays"], initial(dataset))
    network = build(ARCHITECTURE, dataset.channels, len(dataset.classes))
    trained = train(network, base, mine, LocalTraining(asked["epochs"], asked["batch_size"], asked["lr"]), seed=0)
    content = {
        "arrays": ArrayRecord([trained[name] for name in sorted(trained)]),
        "metrics": MetricRecord({"num-examples": len(mine)}),
    }
    return Message(content=RecordDict(content), reply_to=message)


def initial(dataset: Dataset) -> Weights:
    """The weights of round 0."""
    return initial_weights(ARCHITECTURE, dataset.channels, len(dataset.classes), 0)


def main(grid: Grid, context: Context) -> None:
    """All rounds; the model is evaluated after each."""
    asked = wish()
    dataset, _ = data(asked["dataset"], asked["root"], asked["members"])
    base = initial(dataset)
    network = build(ARCHITECTURE, dataset.channels, len(dataset.classes))

    def test(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if round == 0:
            return None
        load_weights(network, arrays_to_weights(arrays, base))
        return MetricRecord({"auc": evaluate(network, dataset.test).auc})

    clients = FedAvg(
        fraction_train=asked["fraction"], fraction_evaluate=0.0, min_available_nodes=asked["members"], min_train_nodes=1
    )
    started = time.perf_counter()
    arrays = ArrayRecord([base[name] for name in sorted(base)])
    result = clients.start(grid=grid, initial_arrays=arrays, num_rounds=asked["rounds"], evaluate_fn=test)
    if len(result.train_metrics_clientapp) != asked["rounds"]:  # Flower goes on where every client fails
        raise RuntimeError("a round of Flower's trained nothing")
    Path(asked["answer"]).write_text(json.dumps({"rounds": time.perf_counter() - started}))


def simulate() -> None:
    """All of it. Ray's processes import this module, so it cannot be the main one."""
    client.train()(train_client)
    server.main()(main)
    torch.set_num_threads(1)
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=wish()["members"],
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
