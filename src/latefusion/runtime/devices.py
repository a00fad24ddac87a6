"""The requested device of a network and the one in use."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latefusion.errors import DeviceError

AUTO = "auto"
CPU = "cpu"

# Device -> execution provider. The installed ONNX Runtime package decides which are available.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    CPU: "CPUExecutionProvider",
}
DEVICES = (AUTO, *PROVIDERS)
MOST_THREADS = 1024  # ONNX Runtime hangs or crashes with far more
CURES = {"cuda": "pip install onnxruntime-gpu", "directml": "pip install onnxruntime-directml"}


@dataclass(frozen=True)
class Hardware:
    """The requested device and number of threads of a network.

    `device` is one of DEVICES; `auto` uses CUDA if it is available, and the CPU if not. `threads`
    is the number of CPU threads, from 1 to MOST_THREADS; None takes one per core that the process
    in which the network runs may use, and no more than that are ever started. With `strict` an
    unavailable device is an error; by default the CPU is used, with a warning.

    Raises DeviceError.
    """

    device: str = AUTO
    threads: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise DeviceError(f"unknown device {self.device!r}; choose one of {', '.join(DEVICES)}")
        if self.threads is not None and not (
            isinstance(self.threads, int | np.integer) and 1 <= self.threads <= MOST_THREADS
        ):
            raise DeviceError(
                f"{self.threads!r} is not a valid number of threads; use 1 to {MOST_THREADS}"
            )

    def providers(self, available: Sequence[str]) -> list[str]:
        """Return the providers to request from ONNX Runtime, of the `available` ones.

        Warns if the device is not available, or raises DeviceError if `strict`.
        """
        wanted = list(dict.fromkeys(["cuda" if self.device == AUTO else self.device, CPU]))
        if PROVIDERS[wanted[0]] not in available and self.device != AUTO:
            found = [name for name, provider in PROVIDERS.items() if provider in available]
            self._report_unavailable(f"this ONNX Runtime supports only {', '.join(found)}")
        return [PROVIDERS[name] for name in wanted if PROVIDERS[name] in available]

    def device_in_use(self, requested: str, running: Sequence[str]) -> str:
        """Return the device of a network, given the requested provider and that of each session.

        Warns if the device did not start, or raises DeviceError if `strict`.
        """
        names = {provider: name for name, provider in PROVIDERS.items()}
        other = next((provider for provider in running if provider != requested), None)
        if other and self.device != AUTO:
            self._report_unavailable("it did not start, check its driver and libraries")
        return names.get(other or requested, other or requested)

    def _report_unavailable(self, reason: str) -> None:
        cure = CURES.get(self.device, "install the ONNX Runtime package that supports it")
        message = f"device {self.device} is not available: {reason}"
        if self.strict:
            raise DeviceError(f"{message}; {cure}, or leave out --strict")
        warnings.warn(f"{message}; running on the CPU", stacklevel=2)
