"""Changed copies of training images, by choice of the manifest; a label must survive them.

A radiograph of a chest or an abdomen does not survive a flip as an image of that side of the body: `shift` alone is for
those. What is drawn comes from the generator that shuffles, so that training repeats itself.
"""

from __future__ import annotations

import torch

SHIFT = 2  # pixels in each direction, of 28


def augmented(images: torch.Tensor, kind: str, stream: torch.Generator) -> torch.Tensor:
    """uint8 or float (N, H, W[, C]) images, each changed in its own way; `kind` is one of recipe.AUGMENTATIONS."""
    if "shift" in kind:
        images = _shifted(images, stream)
    if "flip" in kind:
        images = _flipped(images, stream)
    return images


def _flipped(images: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    """Left to right, every other one on average."""
    chosen = (torch.rand(len(images), generator=stream) < 0.5).to(images.device)
    return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), images.flip(2), images)


def _shifted(images: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    """By up to SHIFT pixels, edges repeated."""
    count, height, width = images.shape[:3]
    moves = torch.randint(-SHIFT, SHIFT + 1, (2, count, 1), generator=stream).to(images.device)
    along = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows, columns = ((axis + move).clamp(0, len(axis) - 1) for axis, move in zip(along, moves, strict=True))
    index = torch.arange(count, device=images.device).view(-1, 1, 1)
    return images[index, rows[:, :, None], columns[:, None, :]]
