"""Where and in what precision networks run, and how samples become their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from hmchain.errors import HMChainError, TrainingError
from hmchain.manifest import Manifest

# Same inputs, same bytes: cuDNN may neither race nor choose kernels by the stopwatch. For the whole process, as threads
# train side by side: what one switched on and off again would be off for the others. A CPU does without.
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False
torch.backends.cudnn.allow_tf32 = False


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_bfloat16() -> bool:
    """Whether bf16 is native here. Emulated bf16, which plain AVX-512 would offer, is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # old torch cannot tell: float32
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@dataclass(frozen=True)
class Compute:
    """Where and how precisely a network runs. Compute() is the fastest here; Compute("cpu", False) is plain float32."""

    device: str = field(default_factory=_best_device)
    bfloat16: bool = field(default_factory=_has_bfloat16)

    def autocast(self) -> AbstractContextManager[object]:
        """Run convolutions and matrix products in bf16; weights, sums and the optimizer stay float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def place(self, network: nn.Module) -> nn.Module:
        """The network, moved to this device. Network.to is skipped where it is there: that takes as long as a score."""
        first = next(network.parameters(), None)
        return network if first is not None and first.device.type == self.device else network.to(self.device)

    def lane(self) -> torch.cuda.Stream | None:
        """A queue of a GPU's work, beside those of others; None where there is no GPU."""
        return torch.cuda.Stream() if self.device == "cuda" else None  # type: ignore[no-untyped-call]

    def inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """A network's input, from images (uint8, see `images`) or from features, float32 (N, F): asinh of each value.

        asinh is close to the value where it is small and to its logarithm where it is large. Values keep their order,
        and means and variances in any unit stay within the range in which weights are averaged exactly.
        """
        if samples.dtype == torch.uint8:
            return self.images(samples)
        return samples.to(self.device).asinh()

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 28, 28[, 3]) pixels of 0..255 to the float32 (N, channels, 28, 28) in [-1, 1] that networks take.

        An NHWC array viewed as NCHW is channels_last already, so that nothing has to be copied for the layout.
        """
        scaled = pixels.to(self.device, torch.float32).div_(127.5).sub_(1)
        return scaled.unsqueeze(1) if scaled.ndim == 3 else scaled.permute(0, 3, 1, 2)


@contextmanager
def computing(job: Manifest) -> Iterator[None]:
    """Turns what a custom network raises, or torch where it gets no memory, into TrainingError: no defect of ours."""
    try:
        yield
    except HMChainError:
        raise
    except (Exception, SystemExit) as fault:
        if not job.source and not _lacks_memory(fault):
            raise
        raise TrainingError.of(fault) from fault


def _lacks_memory(fault: BaseException) -> bool:
    """Whether torch got no memory, of an accelerator or of the processor, for which it has no class of its own."""
    return isinstance(fault, torch.OutOfMemoryError) or "can't allocate memory" in str(fault)
