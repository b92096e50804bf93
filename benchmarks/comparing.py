"""How often the comparison names a leader: of pairs of equal models, whose labels overlap, and of pairs that differ.

`python -m benchmarks.comparing [PAIRS]`: a market without skill or with some, a label that looks several bars ahead, two
models of the same worth that err on their own; the figures are in docs/reliability.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.results.pairs import Losses, difference

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A market and what two models see of it. bars and symbols; ahead: bars that a label looks at; skill: how much of the
    coming return a model sees; calm: how slowly its own error changes; more: what the second model sees beyond that."""

    bars: int
    symbols: int
    ahead: int
    skill: float
    calm: float
    more: float = 0.0


def worlds(count: int, seed: int = 7, more: float = 0.0) -> Iterator[tuple[World, np.random.Generator]]:
    """So many different ones."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        ahead = int(draw.choice([1, 5, 10, 20, 50]))
        bars = int(draw.choice([max(60 * ahead, 400), 2_000, 6_000]))
        skill, symbols = float(draw.choice([0.0, 0.3, 0.8])), int(draw.choice([1, 1, 4]))
        world = World(max(bars, 40 * ahead), symbols, ahead, skill, float(draw.choice([0.0, 0.9, 0.98])), more)
        yield world, np.random.default_rng((seed, number))


def pair(world: World, draw: np.random.Generator) -> tuple[Losses, Losses]:
    """The losses of two models that are worth the same, or differ by `more`."""
    count = world.bars + world.ahead
    moves = draw.standard_normal((world.symbols, count)) + 0.7 * draw.standard_normal(count)
    coming = np.stack([np.convolve(own, np.ones(world.ahead), "valid")[1 : world.bars + 1] for own in moves])
    coming /= coming.std(axis=1, keepdims=True)
    labels = np.digitize(coming, [-0.43, 0.43])
    losses = []
    for skill in (world.skill, world.skill + world.more):
        own = smooth(draw.standard_normal(coming.shape), world.calm)
        called = np.digitize((skill * coming + own) / np.hypot(skill, 1.0), [-0.43, 0.43])
        wrong = (called != labels).astype(np.float64).ravel()
        times = np.tile(np.arange(world.bars), world.symbols)
        numbers = np.repeat(np.arange(world.symbols, dtype=np.int32), world.bars)
        losses.append(Losses(times, numbers, wrong, float(world.ahead)))
    return losses[0], losses[1]


def smooth(noise: Floats, calm: float) -> Floats:
    """Noise of variance 1 that changes as slowly as asked, along its last axis."""
    out, share = noise.copy(), np.sqrt(1 - calm**2)
    for place in range(1, noise.shape[-1] if calm else 1):
        out[..., place] = calm * out[..., place - 1] + share * noise[..., place]
    return out


def named(pairs: int, seed: int = 7, more: float = 0.0) -> int:
    """In how many of the pairs one model is called better."""
    return sum(difference(*pair(world, draw)).is_real for world, draw in worlds(pairs, seed, more))


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    said = [f"{named(pairs):,} of {pairs:,} pairs of equal models have a leader"]
    said += [f"{named(pairs // 10, more=more):,} of {pairs // 10:,} whose second sees {more:g} more" for more in (0.2, 0.5)]
    sys.stdout.write("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
