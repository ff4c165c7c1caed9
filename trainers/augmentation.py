"""Augmentation of training images, as the manifest chooses; an image must keep its label.

A flipped radiograph of a chest or an abdomen shows the organs on the wrong side: only `shift` is for those. Random
numbers come from the generator that also shuffles, so that training is repeatable.
"""

from __future__ import annotations

import torch

SHIFT = 2  # pixels in each direction, of 28


def augmented(images: torch.Tensor, kind: str, stream: torch.Generator) -> torch.Tensor:
    """Images, uint8 or float (N, H, W[, C]), each changed at random; `kind` is one of recipe.AUGMENTATIONS."""
    if "shift" in kind:
        images = _shifted(images, stream)
    if "flip" in kind:
        images = _flipped(images, stream)
    return images


def _flipped(images: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    """Flips each image left to right with probability one half."""
    chosen = (torch.rand(len(images), generator=stream) < 0.5).to(images.device)
    return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), images.flip(2), images)


def _shifted(images: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    """Shifts each image by up to SHIFT pixels in each direction, repeating its edges."""
    count, height, width = images.shape[:3]
    moves = torch.randint(-SHIFT, SHIFT + 1, (2, count, 1), generator=stream).to(images.device)
    along = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows, columns = ((axis + move).clamp(0, len(axis) - 1) for axis, move in zip(along, moves, strict=True))
    index = torch.arange(count, device=images.device).view(-1, 1, 1)
    return images[index, rows[:, :, None], columns[:, None, :]]
