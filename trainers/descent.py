"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Descent:
    """SGD with momentum, weight decay and FedProx's term (Li et al. 2020, equation 2): the gradient of
    proximal / 2 |w - start|^2.

    Gives the same bytes as torch.optim.SGD, whose first use loads torch's compiler and costs every process seconds.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], momentum: float = 0, weight_decay: float = 0, proximal: float = 0
    ) -> None:
        self._parameters, self._momentum, self._decay, self._proximal = parameters, momentum, weight_decay, proximal
        self._moving = [torch.zeros_like(parameter) for parameter in parameters] if momentum else []
        self._start = [parameter.detach().clone() for parameter in parameters] if proximal else []
        # On a GPU a tensor: what was recorded with one learning rate (trainers.recorder) is replayed with another.
        self._rate: float | torch.Tensor = parameters[0].new_zeros(()) if parameters[0].is_cuda else 0.0

    @torch.no_grad()
    def begin(self, learning_rate: float) -> None:
        """Starts at the parameters' values, at rest."""
        self._rate = self._rate.fill_(learning_rate) if isinstance(self._rate, torch.Tensor) else learning_rate
        for moving in self._moving:
            moving.zero_()
        for origin, parameter in zip(self._start, self._parameters, strict=False):
            origin.copy_(parameter)

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Moves the parameters one step. Leaves the gradients alone: those of a sum's terms are one tensor."""
        if self._start:
            pairs = zip(gradients, self._parameters, self._start, strict=True)
            gradients = [each.add(parameter - origin, alpha=self._proximal) for each, parameter, origin in pairs]
        if self._decay:
            pulled = zip(gradients, self._parameters, strict=True)
            gradients = [each.add(parameter, alpha=self._decay) for each, parameter in pulled]
        for moving, gradient in zip(self._moving, gradients, strict=False):
            moving.mul_(self._momentum).add_(gradient)
        for parameter, change in zip(self._parameters, self._moving or gradients, strict=True):
            if isinstance(self._rate, torch.Tensor):
                parameter.addcmul_(change, self._rate, value=-1)
            else:
                parameter.add_(change, alpha=-self._rate)
