"""Memory: what this process takes, what this machine has to give, and an estimate of what a run will take at most."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from strategies_app.grammar.schema import Mlp, Recurrent, StrategySpec, feature_names
from training.core.values import Refusal

#: Where a container's limit stands: of the newer kind of control groups, and of the older one. (limit, used)
_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
#: A limit above this is the older kind's way of saying that there is none.
_NO_LIMIT = 1 << 60


class TooLarge(Refusal):
    """A run that does not fit into memory: one sentence with the figures."""

    category = "resources"


@dataclass(frozen=True)
class Room:
    """How many bytes a run may take, and whose limit that is. free: what is left now, after all that was taken already."""

    size: int
    whose: str
    free: bool = False


def own_memory() -> int | None:
    """Bytes of this process's own memory, without mapped files; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def free_room(allowance: int | None = None, system: Path = Path("/")) -> Room | None:
    """The smallest of what is free on this machine now, in this container, and the allowance; None if nothing is known."""
    found = [Room(size, "free on this machine", True) for size in (_machine(system, "MemAvailable"),) if size]
    found += [Room(max(0, most - used), "left of this container's limit", True) for most, used in _containers(system)]
    found += [] if allowance is None else [Room(allowance, "allowed by KTRDR_MEMORY_LIMIT")]
    return min(found, key=lambda room: room.size, default=None)


def whole_room(allowance: int | None = None, system: Path = Path("/")) -> Room | None:
    """The same of an idle machine: what does not fit here fits at no time."""
    found = [Room(size, "the memory of this machine") for size in (_machine(system, "MemTotal"),) if size]
    found += [Room(most, "this container's limit") for most, _ in _containers(system)]
    found += [] if allowance is None else [Room(allowance, "allowed by KTRDR_MEMORY_LIMIT")]
    return min(found, key=lambda room: room.size, default=None)


def _machine(system: Path, what: str) -> int | None:
    try:
        text = (system / "proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(rf"^{what}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _containers(system: Path) -> list[tuple[int, int]]:
    """Limit and use of the control group that this process sees as its own, if it has a limit."""
    for limit, used in _CGROUPS:
        try:
            most = (system / "sys/fs/cgroup" / limit).read_text(encoding="ascii").strip()
            now = (system / "sys/fs/cgroup" / used).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if most.isdigit() and int(most) < _NO_LIMIT:
            return [(int(most), int(now))]
    return []


def size_text(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


#: A bar in memory: five numbers and its time, and what pandas needs for them.
PER_BAR = 56
#: What reading a series leaves behind, per bar of the longest one: the file's own columns, which their library keeps.
PER_BAR_READ = 115
#: A row beside its features: time, label, end of the label, symbol, weight, its place in a split, on the clock, in the order.
PER_ROW, PER_WINDOW = 48, 20
#: A row that is evaluated: logits, probabilities, what was right, and the same in the bundle.
PER_EVALUATED = 50
#: What the first step of any training brings: compiled kernels, the optimizer, torch's own tables.
FIRST_STEP = 72_000_000
#: Rows gathered for the next steps, and columns whose normalization is learned at a time.
GATHERED = 8_400_000
#: Copies of the weights while an epoch is kept: gradients, two moments, and clones of the former, last and best state.
WEIGHT_COPIES = 12
#: Numbers that torch's layers keep per unit and bar until their gradients are known; units are counted in steps.
KEPT_BY, LAYER_STEP = {"lstm": 17, "gru": 8}, 16
#: Numbers that a fully connected layer keeps per unit and row: before and after its activation, and gradients.
KEPT_PER_UNIT = 4


@dataclass(frozen=True)
class Footprint:
    """Bytes. in_file: features lie in the cache's file instead and take none of the memory that is counted here."""

    program: int
    bars: int
    features: int
    rows: int
    work: int
    network: int
    batch: int
    in_file: bool = False

    @property
    def run(self) -> int:
        """Beside the program itself."""
        return self.bars + (0 if self.in_file else self.features) + self.rows + self.work + self.network + self.batch

    @property
    def total(self) -> int:
        return self.program + self.run

    def words(self) -> str:
        parts = {"program": self.program, "bars": self.bars, "features": self.features, "labels and splits": self.rows,
                 "work": self.work, "network": self.network, "a batch": self.batch}  # fmt: skip
        if self.in_file:
            del parts["features"]
        listed = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items() if size)
        beside = f"; features {size_text(self.features)} stay in the cache's file" if self.in_file else ""
        return f"about {size_text(self.total)}: {listed}{beside}"


def footprint(
    spec: StrategySpec,
    series: Mapping[str, Iterable[int]],
    matrix_rows: int,
    *,
    program: int = 0,
    threads: int = 1,
    in_file: bool = False,
) -> Footprint:
    """What a run takes. series: bars of each symbol's timeframes; matrix_rows: rows of features, lead included."""
    lengths = {symbol: list(counts) for symbol, counts in series.items()}
    bars, longest = sum(map(sum, lengths.values())), max((max(counts, default=0) for counts in lengths.values()), default=0)
    at_once = min(threads, len(lengths)) or 1
    width = len(feature_names(spec))
    per_row = PER_ROW + (PER_WINDOW if spec.window > 1 else 0) + PER_EVALUATED * _evaluated(spec)
    return Footprint(
        program=program,
        bars=PER_BAR * bars + PER_BAR_READ * longest * at_once,
        features=4 * width * matrix_rows,
        rows=int(per_row * matrix_rows),
        work=GATHERED + 8 * len(spec.indicators) * longest * at_once,
        network=4 * weights_of(spec, width) * WEIGHT_COPIES,
        batch=batch_bytes(spec, width),
        in_file=in_file,
    )


def weights_of(spec: StrategySpec, features: int) -> int:
    """Numbers that a built-in network learns, of strategy and features alone; 0 for one of another package."""
    wanted = spec.model
    if isinstance(wanted, Recurrent):
        size, gates = wanted.architecture.hidden_size, {"lstm": 4, "gru": 3}[wanted.type]
        inputs = [features, *[size] * (wanted.architecture.num_layers - 1)]
        return sum(gates * size * (count + size + 2) for count in inputs) + (size + 1) * spec.output_count
    if not isinstance(wanted, Mlp):
        return 0
    widths = [features * spec.window, *wanted.architecture.hidden_layers, spec.output_count]
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


def program_now() -> int:
    """What this process takes already, and what the first step of a training will bring."""
    return (own_memory() or 0) + FIRST_STEP


def _evaluated(spec: StrategySpec) -> float:
    split = spec.training.data_split
    return float(split.validation + split.test)


def batch_bytes(spec: StrategySpec, features: int) -> int:
    """What a step takes for its batch: the rows twice (gathered and normalized), what torch keeps of every layer for the way
    back, and the gradients of one of them."""
    wanted, batch = spec.model, spec.training.batch_size
    if isinstance(wanted, Recurrent):
        width = -(-wanted.architecture.hidden_size // LAYER_STEP) * LAYER_STEP
        per_bar = 2 * features + (wanted.architecture.num_layers * KEPT_BY[wanted.type] + 5) * width
        return 4 * batch * spec.window * per_bar
    layers = wanted.architecture.hidden_layers if isinstance(wanted, Mlp) else ()
    return 4 * batch * (2 * features * spec.window + KEPT_PER_UNIT * sum(layers))


def must_fit(told: Footprint, room: Room | None, *, loaded: bool = False, what: str = "this run") -> None:
    """TooLarge if it does not. loaded: its bars are in memory already, and so not in what is free."""
    if room is None or not exceeds(told, room, loaded=loaded):
        return
    raise TooLarge(
        f"{what} needs {size_text(needed(told, room, loaded=loaded))} of memory beside the program "
        f"({told.words()}), and {size_text(room.size)} is {room.whose}; "
        "wanted fewer symbols or days, a smaller network or smaller batches, or more memory"
    )


def exceeds(told: Footprint, room: Room | None, *, loaded: bool = False) -> bool:
    return room is not None and needed(told, room, loaded=loaded) > room.size


def needed(told: Footprint, room: Room, *, loaded: bool) -> int:
    """What is still to be taken; of an allowance the bars are part, whether they are there already or not."""
    return told.run - (told.bars if loaded and room.free else 0)


class MemoryWatch:
    """Looks now and then at what a run takes beside the program, and says once when it is more than it may take."""

    def __init__(self, allowance: int | None, tell: Callable[[str], None]) -> None:
        self.allowance, self.tell = allowance, tell
        self.program, self._told = program_now(), False

    def look(self) -> None:
        taken = (own_memory() or 0) - self.program
        if self.allowance is None or self._told or taken <= self.allowance:
            return
        self._told = True
        self.tell(
            f"the run takes {size_text(taken)} of memory beside the program, more than the {size_text(self.allowance)} that "
            "KTRDR_MEMORY_LIMIT allows; it goes on"
        )
