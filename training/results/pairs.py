"""Two models on the same rows: losses of both, row by row → the mean difference, and how far it may be chance. numpy only.

Rows of one time are one observation (symbols move together), and times near each other are told twice by labels that
overlap. So the variance is that of the stationary block bootstrap (Politis & Romano 1994) over times, in its closed
form: no draw, no seed. Expected blocks are several label lives long, and at least the automatic length (Politis & White 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: How often two equal models may be told apart is 1 in 20. The variance of few long blocks is told too small, so half of
#: that is asked of the statistic; what comes of it over 2,000 pairs is in docs/reliability.md.
LEVEL = 0.025
#: Label lives in an expected block: a block as long as one life keeps only two thirds of what its overlap correlates.
LIVES = 4.0
#: With fewer blocks than these nothing is claimed; more would be short ones, within which calls that change slowly go on.
FEWEST_BLOCKS, MOST_BLOCKS = 8.0, 25.0


@dataclass(frozen=True)
class Losses:
    """What one model lost on n rows, in their order: times µs int64, symbols (n,), values float64 (n,): 0 right and 1 wrong,
    or squared errors. life: rows of a symbol that a label's life covers on average, at least 1."""

    times: NDArray[np.int64]
    symbols: NDArray[np.int32]
    values: Floats
    life: float


@dataclass(frozen=True)
class Difference:
    """How much less the first lost than the second, mean over rows; margin: how far that may be chance. None: too few
    independent rows to say."""

    mean: float
    margin: float | None

    @property
    def is_real(self) -> bool:
        return self.margin is not None and abs(self.mean) > self.margin


def are_of_the_same_rows(first: Losses, second: Losses) -> bool:
    return np.array_equal(first.times, second.times) and np.array_equal(first.symbols, second.symbols)


def difference(first: Losses, second: Losses, tests: int = 1) -> Difference:
    """tests: how many such differences are looked at together; each then has to be so much clearer."""
    gained = second.values - first.values
    if not len(gained):
        return Difference(0.0, None)
    _, of_time = np.unique(first.times, return_inverse=True)
    sums = np.bincount(of_time, weights=gained)
    rows = np.bincount(of_time)
    mean = float(sums.sum() / rows.sum())
    # Of the sum at each time what the mean would give it is taken off, so that times with many symbols weigh as they do.
    centred = sums - mean * rows
    count = len(centred)
    block = max(2 * block_length(centred), LIVES * max(first.life, second.life), count / MOST_BLOCKS)
    blocks = count / block
    if blocks < FEWEST_BLOCKS:
        return Difference(mean, None)
    if not centred.any():
        return Difference(mean, 0.0)  # both lost the same on every row, or differ by the same everywhere
    error = math.sqrt(bootstrap_variance(centred, block)) * count / float(rows.sum())
    return Difference(mean, error * student(1 - LEVEL / tests / 2, blocks - 1))


def autocovariances(centred: Floats) -> Floats:
    """Circular: R_k = 1/n Σ x_t x_{t+k}, k = 0 … n − 1, where t + k goes on at the beginning."""
    return np.fft.irfft(np.abs(np.fft.rfft(centred)) ** 2, len(centred)) / len(centred)


def bootstrap_variance(centred: Floats, block: float) -> float:
    """Of the mean of n centred values, under the stationary bootstrap with this expected block (Politis & Romano 1994, lemma 1):
    1/n (C_0 + 2 Σ (1 − k/n)(1 − 1/block)^k C_k), C the circular autocovariances.
    """
    count, keep = len(centred), 1.0 - 1.0 / max(block, 1.0)
    lags, covariances = np.arange(1, count), autocovariances(centred)
    return max(float(covariances[0] + 2 * ((1 - lags / count) * keep**lags * covariances[1:]).sum()), 0.0) / count


def block_length(centred: Floats) -> float:
    """The automatic expected block of the stationary bootstrap (Politis & White 2004, with Patton's correction 2009)."""
    count = len(centred)
    variance = float(np.dot(centred, centred)) / count
    if count < 8 or variance == 0:
        return 1.0
    longest = int(min(math.ceil(2 * math.sqrt(count)) + max(5, math.log10(count)), count // 3))
    padded = np.fft.rfft(centred, 2 * count)
    covariances = np.fft.irfft(np.abs(padded) ** 2)[: longest + 1] / count
    quiet = max(5, math.ceil(math.sqrt(math.log10(count))))
    small = np.abs(covariances / variance) < 2 * math.sqrt(math.log10(count) / count)
    runs = [k for k in range(1, longest - quiet + 2) if small[k : k + quiet].all()]
    bandwidth = min(2 * (runs[0] - 1 if runs else longest), longest) or 1
    lags = np.arange(-bandwidth, bandwidth + 1)
    flat = np.clip(2 * (1 - np.abs(lags) / bandwidth), 0.0, 1.0)
    of_lag = covariances[np.abs(lags)]
    slope, spectrum = float((flat * np.abs(lags) * of_lag).sum()), float((flat * of_lag).sum())
    if spectrum <= 0:
        return 1.0
    return float(min(max((slope**2 / spectrum**2 * count) ** (1 / 3), 1.0), math.ceil(min(3 * math.sqrt(count), count / 3))))


def student(probability: float, freedom: float) -> float:
    """The quantile of Student's t, by the expansion of Cornish and Fisher; good to 1 % from 6 degrees of freedom on."""
    z = NormalDist().inv_cdf(probability)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
