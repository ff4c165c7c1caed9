"""Networks of features."""

from __future__ import annotations

from torch import nn


def _standardised(features: int) -> nn.Module:
    """Standardises each feature by its mean and variance over all batches so far.

    The usual running averages begin at 0 and 1 and move by a tenth a batch: in a small hospital they would be far from
    the data for the first rounds.
    """
    return nn.BatchNorm1d(features, momentum=None)


def logistic(features: int, classes: int) -> nn.Module:
    """Logistic regression on standardised features."""
    return nn.Sequential(_standardised(features), nn.Linear(features, classes))


def mlp(features: int, classes: int) -> nn.Module:
    """Two hidden layers of 64 and 32 on standardised features."""
    hidden = [nn.Linear(features, 64), nn.ReLU(inplace=True), nn.Linear(64, 32), nn.ReLU(inplace=True)]
    return nn.Sequential(_standardised(features), *hidden, nn.Linear(32, classes))
