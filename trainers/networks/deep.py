"""The deep networks of the literature, for images of 28 x 28."""

from __future__ import annotations

import torch
from torch import nn

from trainers.networks.cnn import Norm, grouped

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
STAGES = (64, 128, 256, 512)


def vgg16(channels: int, classes: int) -> nn.Module:
    """VGG-16 (Simonyan and Zisserman 2015, configuration D) with batch norm and one dense layer, as is usual for small
    images; 14,728,266 parameters for 3 channels, 10 classes. Four poolings make 28 x 28 into 1 x 1; there is no fifth.
    """
    layers: list[nn.Module] = []
    for index, widths in enumerate(VGG16):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        layers += [nn.MaxPool2d(2)] if index < len(VGG16) - 1 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """He et al. 2016: two 3x3 convolutions beside the identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm(outputs),
        )
        same = stride == 1 and inputs == outputs
        project = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
        self.beside = nn.Sequential(*(() if same else project))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return torch.relu(self.body(images) + self.beside(images))


def resnet18(channels: int, classes: int) -> nn.Module:
    """ResNet-18 (He et al. 2016) with MedMNIST's stem for 28 x 28, a 3x3 convolution and no pooling; 11,173,962
    parameters for 3 channels, 10 classes.
    """
    return _resnet(channels, classes, STAGES, blocks=2, norm=nn.BatchNorm2d)


def groupnorm_resnet(channels: int, classes: int) -> nn.Module:
    """A narrow residual network with group normalisation: stages of 32, 64 and 128, one block each; about 0.3 million
    parameters.
    """
    return _resnet(channels, classes, (32, 64, 128), blocks=1, norm=grouped)


def _resnet(channels: int, classes: int, stages: tuple[int, ...], blocks: int, norm: Norm) -> nn.Module:
    width = stages[0]
    stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), norm(width), nn.ReLU(inplace=True)]
    body: list[nn.Module] = []
    for index, outputs in enumerate(stages):
        for block in range(blocks):
            body.append(Residual(width, outputs, 2 if index and not block else 1, norm))
            width = outputs
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
