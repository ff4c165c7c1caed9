"""What a GPU is told to do for a batch, recorded once and replayed: a CUDA graph.

Starting a small network's kernels one by one takes Python several times as long as they run, and Python's lock lets
only one thread start any. A replay starts them all at once, outside that lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

import torch

WARM_UP = 2  # calls before a recording: libraries set themselves up in the first, which cannot be recorded

_recording = Lock()  # the allocator keeps books on what is being recorded, for one at a time


class Recorder:
    """Calls a function of a batch's tensors: the first times as it is, then by replaying it, for each size of batch.

    The function changes tensors in place, always the same, and must do the same whatever a batch's values. Calls come
    from one thread, in one stream that is not the default one.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._calls: Counter[int] = Counter()
        self._recordings: dict[int, _Recording] = {}

    def __call__(self, *batch: torch.Tensor) -> None:
        size = len(batch[0])
        self._calls[size] += 1
        if self._calls[size] <= WARM_UP:
            self._function(*batch)
            return
        if size not in self._recordings:
            self._recordings[size] = _Recording(self._function, batch)
        self._recordings[size].replay(batch)


class _Recording:
    """One size of batch."""

    def __init__(self, function: Callable[..., None], batch: Sequence[torch.Tensor]) -> None:
        self._batch = [torch.empty_like(tensor) for tensor in batch]
        self._graph = torch.cuda.CUDAGraph()
        with _recording:
            # torch.cuda.graph would also collect garbage and wait for all other streams.
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                function(*self._batch)
            finally:
                self._graph.capture_end()

    def replay(self, batch: Sequence[torch.Tensor]) -> None:
        """Does for batch what was recorded."""
        for place, tensor in zip(self._batch, batch, strict=True):
            place.copy_(tensor)
        self._graph.replay()
