"""Published results, quoted as they stand: AUC and ACC on the test set.

Hu et al. 2024, Table 3, one seed each. Its VGG16 is the majority class's rate (a collapsed model), its CNN was trained
for 3 epochs. ResNet-18: Yang et al. 2023, MedMNIST v2, Table 3, 28x28, 100 epochs with Adam.
"""

from __future__ import annotations

SETS = ("pneumoniamnist", "breastmnist", "tissuemnist", "organamnist")

Published = dict[str, tuple[float, float]]  # AUC and ACC by data set

PUBLISHED: dict[str, Published] = {
    "VGG16 (paper)": dict(zip(SETS, ((0.541, 0.625), (0.500, 0.731), (0.495, 0.321), (0.469, 0.185)), strict=True)),
    "CNN, 3 epochs (paper)": dict(
        zip(SETS, ((0.920, 0.837), (0.776, 0.731), (0.861, 0.504), (0.976, 0.808)), strict=True)
    ),
    "FL-CNN-HMChain (paper)": dict(
        zip(SETS, ((0.960, 0.875), (0.875, 0.795), (0.896, 0.620), (0.989, 0.868)), strict=True)
    ),
    "ResNet-18 (MedMNIST)": {
        "pneumoniamnist": (0.944, 0.854),
        "breastmnist": (0.901, 0.863),
        "organamnist": (0.997, 0.935),
    },
}
