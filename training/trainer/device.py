"""Device: what this machine trains on, in which numbers a step is computed, and the versions that a result depends on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


def choose_device() -> str:
    """MPS → CUDA → CPU, the first that is there."""
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


def devices() -> tuple[str, ...]:
    """What may be trained on here, by name."""
    cards = ("cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))) if torch.cuda.is_available() else ()
    return ("cpu", *cards, *(("mps",) if torch.backends.mps.is_available() else ()))


def device_name(device: str) -> str:
    """The device's own name: the graphics card's or the processor's."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "mps":
        return f"Apple {platform.machine()}"
    return _processor_name() or platform.processor() or platform.machine()


def _processor_name() -> str | None:
    """What Linux calls the processor; other systems tell it by `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def device_memory(device: str) -> int | None:
    """Bytes of memory of the device, None if unknown."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def free_memory(device: str) -> int | None:
    """Bytes of the device's own memory that are free now, None on the CPU: the rows lie there already."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if device == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def environment() -> dict[str, str]:
    """Versions, and the processor instructions in use, on which the last bits of a result depend."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **{name: version(name) for name in ("pandas", "pyarrow", "TA-Lib", "numba")},
        "instructions": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


#: How torch says that memory is out where it has no exception of its own for it: CPU, MPS, cuBLAS.
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch means by this error that memory is out."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


@contextmanager
def memory_errors() -> Iterator[None]:
    """torch's several ways of saying that memory is out, as Python's own MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error).splitlines()[0]) from error
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise MemoryError("the allocation failed") from error


def random_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that this device draws from (dropout), uint8 on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.default_generator.get_state()


def restore_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Draw again what was drawn after `random_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.default_generator.set_state(state)


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Deterministic algorithms on CUDA while inside; the CPU needs nothing.

    cuBLAS reads CUBLAS_WORKSPACE_CONFIG when it is first used, so a process that has used CUDA before
    without it gets torch's own error, which says what to set.
    """
    if not device.startswith("cuda"):
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


#: Kinds of devices whose products are faster in bfloat16.
BFLOAT16_DEVICES = frozenset({"cuda"})

#: What it means for a trader.
BFLOAT16_MEANING = (
    "products of a training step are rounded to bfloat16 (8 bits of 24), which is faster on large networks; weights, optimizer, "
    "loss, validation and predictions stay float32; the weights that are learned are others than with float32"
)


RECURRENT_PRECISION = "precision {}: recurrent networks are computed in float32 all the same"


def used_precision(wanted: str, device: str, network: nn.Module) -> str:
    """The precision that a step has: bfloat16 where it was asked for, the device is made for it and the network can be.

    Recurrent layers cannot: on CUDA torch would compute them in float16, whose largest number is 65504.
    """
    return wanted if torch.device(device).type in BFLOAT16_DEVICES and not _is_recurrent(network) else "float32"


def used_precision_again(document: Mapping[str, Any], device: str) -> str:
    """The same for the run of a checkpoint (its state.json) that is continued on a device."""
    strategy, saved = document.get("strategy", {}), document.get("precision", "float32")
    wanted = strategy.get("training", {}).get("precision", "float32")
    could, can = (torch.device(name).type in BFLOAT16_DEVICES for name in (document.get("device", device), device))
    never = strategy.get("model", {}).get("type") in ("lstm", "gru") or (could and saved == "float32")
    return wanted if can and not never else "float32"


def precision_remark(wanted: str, device: str, network: nn.Module) -> str | None:
    """What a run on this device should say of its precision; None if it is float32, as ever."""
    if wanted == "float32":
        return None
    if used_precision(wanted, device, network) == wanted:
        return f"precision {wanted}: {BFLOAT16_MEANING}"
    if _is_recurrent(network):
        return RECURRENT_PRECISION.format(wanted)
    return f"precision {wanted} needs CUDA: on {device} this run computes in float32"


def precision_forecast(wanted: str, network: nn.Module) -> str | None:
    """The same before it is known which device will train."""
    if wanted == "float32":
        return None
    if _is_recurrent(network):
        return RECURRENT_PRECISION.format(wanted)
    return f"precision {wanted} on CUDA: {BFLOAT16_MEANING}; on any other device the run computes in float32"


def _is_recurrent(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.RNNBase) for layer in network.modules())


def forward(network: nn.Module, precision: str, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as a training step calls it: float32 in, float32 out."""
    if precision == "float32":
        return network

    def rounded(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = network(features)
        return logits.float()

    return rounded
