"""Medical image identification: which images of the consented ones are trained on."""

from __future__ import annotations

import logging

import pytest

from hmchain.record import Kind, Record
from trainers.importers.images import TYPE
from trainers.services.imaging import Imaging


def image(number: int, split: str = "train", channels: int = 1) -> Record:
    shape = [28, 28] if channels == 1 else [28, 28, channels]
    value = {"label": number % 2, "split": split, "shape": shape}
    return Record(Kind.CLINICAL, TYPE, "", "", (), value, "images", attachment=bytes([number]) * 28 * 28 * channels)


def test_images_are_in_their_splits_in_order() -> None:
    shard = Imaging().shard([image(1), image(2, "val"), image(3)])
    assert shard is not None
    assert [part.inputs[:, 0, 0].tolist() for part in (shard.train, shard.holdout)] == [[1, 3], [2]]
    assert shard.train.labels.tolist() == [1, 1]
    assert shard.sources == ((0,), (2,)), "each is made of one record"


def test_the_shape_that_most_images_have_counts_and_the_others_are_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("hmchain.node"), "propagate", True)
    shard = Imaging().shard([image(9, channels=3), *(image(n, "val" if n % 5 == 0 else "train") for n in range(20))])
    assert shard is not None
    assert (len(shard.train), len(shard.holdout)) == (16, 4)
    (record,) = caplog.records
    assert record.facts == {"shape": (28, 28), "images": 20, "left_out": 1}


@pytest.mark.parametrize("splits", [[], ["train"], ["val", "val"]])
def test_nothing_to_train_on_or_to_judge_by_is_no_shard(splits: list[str]) -> None:
    assert Imaging().shard(image(n, split) for n, split in enumerate(splits)) is None
