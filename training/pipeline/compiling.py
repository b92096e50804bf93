"""How kernels are compiled: with explicit types, kept on disk, without the GIL.

Explicit signatures compile a kernel once when its module is imported, or take it from the cache (NUMBA_CACHE_DIR); inputs
may be read-only. `error_model="numpy"` makes a division by zero give inf or NaN as numpy does, and costs no branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

FloatVector = types.Array(types.float64, 1, "C", readonly=True)
IntVector = types.Array(types.int64, 1, "C", readonly=True)
FloatMatrix = types.Array(types.float64, 2, "C", readonly=True)
FeatureMatrix = types.Array(types.float32, 2, "C")
Flags = types.Array(types.boolean, 1, "C", readonly=True)
FlagsOut = types.Array(types.boolean, 1, "C")
IntOut = types.Array(types.int64, 1, "C")
FloatOut = types.Array(types.float64, 1, "C")


def kernel(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a compiled loop with these types."""
    return njit(list(signature), cache=True, nogil=True, error_model="numpy")
