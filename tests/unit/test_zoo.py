"""The zoo: shapes and the literature's parameter counts; and networks of a hospital's own, held to their source."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from hmchain.errors import UsageError
from hmchain.manifest import TABULAR, Manifest
from hmchain.server import FIRST_MOMENT, SECOND_MOMENT
from trainers.learner import LocalLearner, pad_of
from trainers.networks import (
    ARCHITECTURES,
    Compute,
    build,
    initial_model,
    initial_weights,
    load_weights,
    network_of,
    source_digest,
)
from trainers.networks.of_job import same_bytes
from trainers.splits import Shard, Split

OF_IMAGES = sorted(set(ARCHITECTURES) - set(TABULAR))
JOB = Manifest("stripes", 1, ("a", "b", "c"), seed=5)


@pytest.mark.parametrize(
    ("architecture", "channels", "classes", "parameters"),
    [
        ("vgg16", 3, 10, 14_728_266),  # of the usual implementation for CIFAR-10
        ("resnet18", 3, 10, 11_173_962),  # likewise
        ("groupnorm-cnn", 1, 2, 234_034),  # as the paper's: a group norm has as many as a batch norm
        ("groupnorm-resnet", 1, 2, 307_042),
    ],
)
def test_networks_have_the_parameters_of_the_literature(
    architecture: str, channels: int, classes: int, parameters: int
):
    assert sum(p.numel() for p in build(architecture, channels, classes).parameters()) == parameters


@pytest.mark.parametrize("architecture", OF_IMAGES)
def test_they_take_images_and_give_logits(architecture: str):
    for channels in (1, 3):
        assert build(architecture, channels, 4).eval()(torch.zeros(1, channels, 28, 28)).shape == (1, 4)


@pytest.mark.parametrize("architecture", ["groupnorm-cnn", "groupnorm-resnet"])
def test_first_weights_are_the_same_bytes_everywhere(architecture: str):
    weights = initial_weights(architecture, 1, 2, seed=0)
    assert sha256(b"".join(array.tobytes() for array in weights.values())).hexdigest() == FIRST[architecture]
    assert all((weights[name] != 0).any() for name in weights if name.endswith("weight"))


FIRST = {
    "groupnorm-cnn": "7cf7985f69fae074c517fe4f829e5b4f6e73a32298db58b0f5d9fa71c0c35375",
    "groupnorm-resnet": "dfec05dd51f7ce37aae82380ad22282306dfb00013acf7bf94f2249032c3ddb4",
}


@pytest.mark.parametrize(
    ("aggregation", "kinds"), [("fedavgm-exact/1", 1), ("fedadam-exact/1", 2), ("fedyogi-exact/1", 2)]
)
def test_a_first_model_has_a_moment_for_every_parameter_and_for_no_buffer(aggregation: str, kinds: int):
    model = initial_model(replace(JOB, aggregation=aggregation))
    network = network_of(JOB)
    parameters = [name for name, _ in network.named_parameters()]
    moments = [f"{kind}{name}" for kind in (FIRST_MOMENT, SECOND_MOMENT)[:kinds] for name in parameters]
    assert set(model) == {*network.state_dict(), *moments}
    load_weights(network, model)


# ---------------------------------------------------------------- custom modules

NET = """\
import numpy as np
import torch
from torch import nn
class Net(nn.Sequential):
    def __init__(self, width, classes):
        super().__init__(nn.Flatten(), nn.Linear(784 * width, classes, bias=False), nn.LayerNorm(classes))
class Odd(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.lstm = nn.LSTM(784 * width, classes)
    def forward(self, x): return self.lstm(x.flatten(1))[0]
class Broken(nn.Module):
    def __init__(self): ...
def text(width, classes): return "no network"
class Says(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.last = nn.Linear(784 * width, classes)
        self.dropout, self.norm = nn.Dropout(), nn.BatchNorm1d(classes)
    def forward(self, x):
        return self.norm(self.last(self.dropout(x.flatten(1))))
class Wide(Says):
    def forward(self, x): return super().forward(x).repeat(1, 2)
class Whole(Says):
    def forward(self, x): return super().forward(x).argmax(1, keepdim=True).repeat(1, 3)
class Pair(Says):
    def forward(self, x): return super().forward(x), x
class Alone(Says):
    def forward(self, x): return super().forward(x).squeeze()
class Frozen(Says):
    def forward(self, x): return super().forward(x).detach()
class Half(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.last.bfloat16()
class Bits(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("bits", torch.zeros(2, dtype=torch.bool))
class Lazy(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.last = nn.LazyLinear(classes)
class Extra(Says):
    def get_extra_state(self): return {}
    def set_extra_state(self, state): ...
class Server(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("server/x", torch.zeros(2))
class Draws(Net):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("features", torch.rand(5))
class Dice(Net):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("features", torch.tensor(np.random.random(5), dtype=torch.float32))
class Tied(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.first, self.again = nn.Linear(classes, classes), nn.Linear(classes, classes)
        self.again.weight = self.first.weight
class Expanded(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("ones", torch.ones(1).expand(5))
class Sparse(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("eye", torch.eye(3).to_sparse())
class Grows(Says):
    def forward(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Linear(3, 3)
        return self.late(super().forward(x))
class Remembers(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("seen", torch.zeros(1))
    def forward(self, x):
        if self.training: self.seen = torch.cat([self.seen, x.mean().detach()[None]])
        return super().forward(x)
class Doubles(Remembers):
    def forward(self, x):
        self.seen = self.seen.double()
        return Says.forward(self, x)
class Masked(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
class Large(Says):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.register_buffer("scale", torch.tensor(1e6))
class Scaled(nn.Linear):
    def __init__(self, width, classes):
        super().__init__(784 * width, classes)
        self.scale = nn.Parameter(torch.ones(1))
    def forward(self, x): return super().forward(x.flatten(1)) * self.scale
def quits(width, classes): raise SystemExit(0)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module of somebody's own that can be imported, by a name that no other test has."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def job_of(architecture: str) -> Manifest:
    return replace(JOB, architecture=architecture, source=source_digest(architecture))


def test_a_custom_module_is_built_and_begins_with_the_same_weights(module: str):
    job = job_of(f"{module}:Net")
    assert network_of(job, [job.architecture])(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
    one, two = (initial_model(job, [job.architecture]) for _ in range(2))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert abs(one["1.weight"]).max() <= 1 / 28
    assert (initial_model(replace(job, seed=6), [job.architecture])["1.weight"] != one["1.weight"]).any()


def test_trying_a_network_out_leaves_no_trace(module: str):
    job = job_of(f"{module}:Says")
    before = torch.get_rng_state()
    network = network_of(job, [job.architecture])
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        plain = type(network)(1, 3)
    assert network.training
    assert network.state_dict()["norm.num_batches_tracked"] == 0
    assert all(torch.equal(network.state_dict()[name], array) for name, array in plain.state_dict().items())


def test_dropout_is_the_same_whoever_trains_beside_it(module: str):
    """torch has one generator for all threads."""
    job = replace(job_of(f"{module}:Says"), epochs=3, batch_size=4)
    base, images = initial_model(job, [job.architecture]), np.random.default_rng(1)
    split = Split(images.integers(0, 256, (24, 28, 28), dtype=np.uint8), np.arange(24) % 3)
    pad = pad_of(job, [job.architecture])
    assert pad.draws
    assert not pad_of(job_of(f"{module}:Net"), [f"{module}:Net"]).draws
    learner = LocalLearner(job, Shard(split, split), pad, Compute("cpu", False))
    before = torch.get_rng_state()
    alone = [learner.train(base, seed, 1) for seed in range(6)]
    assert torch.equal(before, torch.get_rng_state())
    assert not same_bytes(alone[0], alone[1])
    with ThreadPoolExecutor(6) as threads:
        beside = list(threads.map(lambda seed: learner.train(base, seed, 1), range(6)))
    assert all(map(same_bytes, alone, beside))


def test_what_a_module_draws_for_its_buffers_follows_from_the_seed(module: str):
    job = job_of(f"{module}:Draws")
    one, two = (initial_model(job, [job.architecture])["features"] for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert (initial_model(replace(job, seed=6), [job.architecture])["features"] != one).all()


def test_a_custom_module_is_not_even_imported_unless_it_is_allowed(module: str):
    with pytest.raises(UsageError, match="is not allowed to run here"):
        network_of(job_of(f"{module}:Net"), ["other:Net"])
    assert module not in sys.modules


def test_another_source_is_refused_and_not_imported(module: str, tmp_path: Path):
    job = job_of(f"{module}:Net")
    (tmp_path / f"{module}.py").write_text(NET + "\n")
    with pytest.raises(UsageError, match=f"here has SHA-256 .*, the manifest names {job.source}"):
        network_of(job, [job.architecture])
    assert module not in sys.modules


def test_the_digest_is_of_all_files_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "own_package" / "deep"
    package.mkdir(parents=True)
    for path in (package.parent / "__init__.py", package / "__init__.py", package / "net.py"):
        path.write_text(NET)
    seen = {source_digest("own_package.deep.net:Net")}
    (package / "__init__.py").write_text("")
    seen.add(source_digest("own_package.deep.net:Net"))
    (package / "net.py").rename(package / "other.py")
    seen.add(source_digest("own_package.deep.net:Net"))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Odd", "no first weights are known of lstm, a LSTM"),
        ("Broken", "gives no network: TypeError"),
        ("Absent", "gives no network: AttributeError"),
        ("text", "gives no torch.nn.Module but a str"),
        ("nn.Linear", "does not take images: RuntimeError"),
        ("nn.Identity", r"must answer 2 images with floats \(2, 3\), not torch.float32 \(2, 1, 28, 28\)"),
        ("Wide", r"with floats \(2, 3\), not torch.float32 \(2, 6\)"),
        ("Whole", r"with floats \(2, 3\), not torch.int64"),
        ("Pair", "answers with no tensor but a tuple"),
        ("Alone", r"must answer 1 images with floats \(1, 3\), not torch.float32 \(3,\)"),
        ("Frozen", "has nothing that could be trained"),
        ("Half", "must have weights of float32, or int64 that count, but last.weight is torch.bfloat16"),
        ("Bits", "but bits is torch.bool"),
        ("Lazy", "but last.weight is UninitializedParameter"),
        ("Extra", "but _extra_state is dict"),
        ("Server", "must not call its weights server/x"),
        ("Dice", "begins with other buffers each time"),
        ("Tied", "must have each weight under one name, but again.weight shares memory with another"),
        ("Expanded", "has weights that cannot be replaced: RuntimeError"),
        ("Sparse", "has weights that cannot be replaced: TypeError"),
        ("Grows", "must keep its weights' names, shapes and types, but answering changes late.bias"),
        ("Remembers", "but answering changes seen"),
        ("Doubles", "but answering changes seen"),
        ("Masked", "begins with weights that no model may have: tensor 'mask' holds NaN or infinity"),
        ("Large", "begins with weights that no model may have: tensor 'scale' holds 0 to 1e.06, beyond 32768"),
        ("Scaled", "no first weights are known of scale, which Scaled adds"),
        ("quits", "gives no network: SystemExit: 0"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(name: str, said: str, module: str):
    job = job_of(f"torch.{name.replace('.', ':')}" if "." in name else f"{module}:{name}")
    with pytest.raises(UsageError, match=said):
        initial_model(job, [job.architecture])


@pytest.mark.parametrize("architecture", ["no_such_package:Net", "math:Net", "a b:Net"])
def test_what_has_no_source_has_no_digest(architecture: str):
    with pytest.raises(UsageError, match=r"no Python source|is not package"):
        source_digest(architecture)
