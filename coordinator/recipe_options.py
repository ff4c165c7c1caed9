"""The options of `hmchain run` for local training, aggregation and simulated attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hmchain.manifest import CNN
from hmchain.recipe import AUGMENTATIONS, SCHEDULES, STRATEGIES, Recipe

Command = TypeVar("Command", bound=Callable[..., Any])
ATTACKS = ("none", "label-flip", "sign-flip", "noise")
HELP = {
    "server_rate": "fedavgm, fedadam, fedyogi: step size of the server; 0 is the strategy's default.",
    "server_momentum": "fedavgm, fedadam, fedyogi: share of the first moment that is kept.",
    "server_decay": "fedadam, fedyogi: share of the second moment that is kept.",
    "server_floor": "fedadam, fedyogi: added to the root of the second moment.",
    "trim": "trimmed-mean: share cut off at each end.",
    "byzantine": "multi-krum: share of the updates that may be false.",
    "proximal": "Weight of the pull towards the round's base model (FedProx).",
    "momentum": "Momentum of local SGD.",
    "weight_decay": "Weight decay of local SGD.",
}


def with_recipe(command: Command) -> Command:
    """Adds these options to a command, in this order of --help."""
    numbers = [
        click.option(f"--{name.replace('_', '-')}", default=getattr(Recipe, name), show_default=True, help=text)
        for name, text in HELP.items()
    ]
    for option in reversed([*CHOICES, *numbers, *ATTACK]):
        command = option(command)
    return command


def _choice(name: str, values: tuple[str, ...], text: str) -> Callable[[Command], Command]:
    return click.option(name, type=click.Choice(values), default=values[0], show_default=True, help=text)


CHOICES = [
    click.option("--architecture", default=CNN, show_default=True, help="A network by name, or package.module:Class."),
    _choice("--strategy", STRATEGIES, "How updates become a model."),
    _choice("--schedule", SCHEDULES, "How the learning rate changes over the rounds."),
    _choice("--augmentation", AUGMENTATIONS, "How images are changed in local training."),
    click.option("--balanced", is_flag=True, help="Weight the loss by the inverse frequency of each class."),
]
ATTACK = [
    _choice("--attack", ATTACKS, "What malicious hospitals do to their updates; as masters they score upside down."),
    click.option("--malicious", default=0.0, show_default=True, help="Share of the members that attack."),
]
