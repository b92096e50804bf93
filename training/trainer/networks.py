"""Networks: a strategy's model section → a torch module from raw features to logits: MLP, LSTM, GRU, other packages' networks."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategies_app.grammar import plugins
from strategies_app.grammar.plugins import Plugin, PluginError, guarded
from strategies_app.grammar.schema import Mlp, PluginModel, StrategySpec
from training.core.plugin_code import PluginFailed, call
from training.core.values import Refusal
from training.trainer.device import out_of_memory

#: Widths are padded to a multiple of this for evaluation, see `padded`.
WIDTH_STEP = 16
#: Rows per pass over the training rows when normalization is fitted.
CHUNK_ROWS, CHUNK_COLUMNS = 65_536, 32

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
}


class TrainingError(Refusal):
    """A run that cannot be trained as asked; the message is one sentence."""


class NotEnoughMemory(TrainingError):
    """Memory is out, and nothing smaller can be tried."""

    category = "resources"


class Normalization(nn.Module):
    """(x − offset) / scale, learned once on the training rows and never by gradient. offset, scale float32 (f,)."""

    offset: torch.Tensor
    scale: torch.Tensor

    def __init__(self, offset: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.offset) / self.scale


class Dropout(nn.Module):
    """Zeroes each value with a probability and scales the others up by what is kept.

    On the CPU torch draws each decision by itself, which costs more than all matrix products of a
    small network; here one 64-bit random number decides four times, so the probability is rounded to
    1/65536 (and the scale with it). Drawn from torch's generator, like torch's own.
    """

    LEVELS = 1 << 16

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.level = min(round(probability * self.LEVELS), self.LEVELS - 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.probability)
        count = values.numel()
        bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        keep = bits[:count].view(values.shape) >= self.level - self.LEVELS // 2
        return values * keep.float().mul_(self.LEVELS / (self.LEVELS - self.level))


def build_network(
    spec: StrategySpec, feature_count: int, class_count: int, offset: NDArray[np.float32], scale: NDArray[np.float32]
) -> nn.Module:
    """float32 (n, feature_count), or windows (n, window, feature_count) → logits float32 (n, class_count).

    The initial weights are torch's defaults drawn from the strategy's seed; the caller's generator is left as it was.
    """
    if offset.shape != (feature_count,) or scale.shape != (feature_count,):
        raise TrainingError(f"offset {offset.shape} and scale {scale.shape} do not fit {feature_count} features")
    normalization, model = Normalization(_float32(offset), _float32(scale)), spec.model
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.training.seed)
        if isinstance(model, Mlp):
            return _mlp(model, normalization, feature_count, class_count)
        if isinstance(model, PluginModel):
            plugin = plugins.plugin(plugins.NETWORKS, model.type)
            assert plugin is not None
            return built(plugin, model.parameters, normalization, feature_count, class_count)
        wanted = model.architecture
        cells = make_cells(model.type, feature_count, wanted.hidden_size, wanted.num_layers, wanted.dropout)
        return Recurrent(normalization, cells, nn.Linear(wanted.hidden_size, class_count), wanted.sequence_length)


def _mlp(model: Mlp, normalization: Normalization, feature_count: int, class_count: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(normalization=normalization)
    width = feature_count
    for position, size in enumerate(model.architecture.hidden_layers):
        layers[f"hidden_{position}"] = nn.Linear(width, size)
        layers[f"activation_{position}"] = _ACTIVATIONS[model.architecture.activation]()
        if model.architecture.dropout > 0:
            layers[f"dropout_{position}"] = Dropout(model.architecture.dropout)
        width = size
    layers["output"] = nn.Linear(width, class_count)
    return nn.Sequential(layers)


def parameter_count(network: nn.Module) -> int:
    """Learned numbers; normalization is not one of them."""
    return sum(parameter.numel() for parameter in network.parameters())


def padded(network: nn.Module) -> nn.Module:
    """A copy for evaluation whose layer widths are multiples of WIDTH_STEP; further logits are zero columns.

    Matrix products of odd width take code paths whose rounding depends on where a row lies in memory.
    With even widths, aligned buffers and one batch size, a row's result depends on that row alone. The
    additional weights are zeros, so each result is the same sum with zeros added.
    """
    if isinstance(network, PluginNetwork):
        return widened(network, WIDTH_STEP)
    with torch.no_grad():
        if isinstance(network, nn.Sequential):
            return nn.Sequential(*(_padded_layer(layer) for layer in network)).eval()
        if isinstance(network, Recurrent):
            with torch.random.fork_rng(devices=[]):  # the cells draw initial weights, which are not used
                cells = padded_cells(network.cells, WIDTH_STEP)
            ends = _padded_layer(network.normalization), _padded_layer(network.output)
            return Recurrent(ends[0], cells, ends[1], network.window).eval()
    return network


def padded_width(network: nn.Module, width: int) -> int:
    """Features that the `padded` copy of a network takes."""
    return _rounded_up(width) if isinstance(network, nn.Sequential | Recurrent) else width


def _padded_layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear):
        rows, columns = (_rounded_up(size) for size in layer.weight.shape)
        with torch.random.fork_rng(devices=[]):  # the layer draws initial weights, which are not used
            wide = nn.Linear(columns, rows).to(layer.weight.device)
        wide.weight.zero_()[: layer.out_features, : layer.in_features] = layer.weight
        wide.bias.zero_()[: layer.out_features] = layer.bias
        return wide
    if isinstance(layer, Normalization):
        extra = _rounded_up(len(layer.offset)) - len(layer.offset)
        offset, scale = layer.offset, layer.scale
        return Normalization(torch.cat([offset, offset.new_zeros(extra)]), torch.cat([scale, scale.new_ones(extra)]))
    return layer


def _rounded_up(width: int) -> int:
    return -(-width // WIDTH_STEP) * WIDTH_STEP


def _float32(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))


def fit_normalization(
    features: NDArray[np.float32], kinds: tuple[str, ...], positions: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
    """offset, scale float32 (f,) and warnings, learned on `features[positions]` (all rows if None).

    zscore: mean and population deviation; minmax: minimum and range; none: 0 and 1. Sums are float64
    over chunks, so the matrix is never copied. A constant column gets scale 1 and a warning.
    """
    if len(kinds) != features.shape[1]:
        raise TrainingError(f"normalization names {len(kinds)} features, the rows have {features.shape[1]}")
    offset, scale = np.zeros(len(kinds), np.float32), np.ones(len(kinds), np.float32)
    columns = np.flatnonzero([kind != "none" for kind in kinds])
    if not len(columns):
        return offset, scale, []
    low, high, mean, deviation = _column_statistics(features, columns, positions)
    warnings = []
    for i, column in enumerate(columns):
        by_mean = kinds[column] == "zscore"
        offset[column] = mean[i] if by_mean else low[i]
        width = np.float32(deviation[i] if by_mean else high[i] - low[i])
        if low[i] == high[i] or not width > 0:
            warnings.append(f"feature {column} is constant ({low[i]:g}) over the training rows, so it is shifted but not scaled")
            continue
        scale[column] = width
    return offset, scale, warnings


def _column_statistics(
    features: NDArray[np.float32], columns: NDArray[np.intp], positions: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Minimum, maximum, mean and population deviation, float64 (columns,); two passes, so that no digits cancel.

    A group of columns at a time, so that many columns take no more memory than some; each column's sums are its own.
    """
    groups = np.array_split(columns, -(-len(columns) // CHUNK_COLUMNS))
    found = [_group_statistics(features, group, positions) for group in groups]
    low, high, mean, deviation = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return low, high, mean, deviation


def _group_statistics(
    features: NDArray[np.float32], columns: NDArray[np.intp], positions: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    count = len(features) if positions is None else len(positions)
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    total, squares = np.zeros(len(columns)), np.zeros(len(columns))
    for chunk in _chunks(features, columns, positions):
        low, high = np.minimum(low, chunk.min(axis=0)), np.maximum(high, chunk.max(axis=0))
        total += chunk.sum(axis=0)
    mean = total / count
    for chunk in _chunks(features, columns, positions):
        squares += np.square(chunk - mean).sum(axis=0)
    return low, high, mean, np.sqrt(squares / count)


def _chunks(
    features: NDArray[np.float32], columns: NDArray[np.intp], positions: NDArray[np.int64] | None
) -> Iterator[NDArray[np.float64]]:
    count = len(features) if positions is None else len(positions)
    first, last = columns[0], columns[-1] + 1
    for start in range(0, count, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS) if positions is None else positions[start : start + CHUNK_ROWS]
        yield features[rows, first:last][:, columns - first].astype(np.float64)


Cells = nn.LSTM | nn.GRU

#: Most rows per evaluation batch, and fewest, and the bytes that a batch's largest layer may take in between.
MOST_ROWS, FEWEST_ROWS, BATCH_BYTES = 1024, 16, 32 << 20


class Recurrent(nn.Module):
    """Raw features float32 (n, window, f) → logits float32 (n, k), from what the last layer says at the last bar."""

    def __init__(self, normalization: nn.Module, cells: Cells, output: nn.Module, window: int) -> None:
        super().__init__()
        self.normalization = normalization
        self.cells = cells
        self.output = output
        self.window = window

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values = self.normalization(features)
        if values.device.type != "cuda":
            return self._logits(values)
        with warnings.catch_warnings():
            # In training all parameters of a network lie in one buffer of ours, of which cuDNN makes a copy per call.
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
            return self._logits(values)

    def _logits(self, values: torch.Tensor) -> torch.Tensor:
        said, _ = self.cells(values)
        logits: torch.Tensor = self.output(said[:, -1])
        return logits


def make_cells(kind: str, inputs: int, hidden: int, layers: int, dropout: float) -> Cells:
    """LSTM or GRU layers on top of one another, dropout between them; one layer has no between."""
    cells = nn.LSTM if kind == "lstm" else nn.GRU
    return cells(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)


def padded_cells(cells: Cells, step: int) -> Cells:
    """A copy for evaluation whose widths are multiples of `step`; the further units are zeros and stay zeros."""
    inputs, hidden = (-(-width // step) * step for width in (cells.input_size, cells.hidden_size))
    wide = type(cells)(inputs, hidden, cells.num_layers, batch_first=True, device=cells.weight_ih_l0.device)
    gates = 4 if isinstance(cells, nn.LSTM) else 3
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            narrow = getattr(cells, name)
            places = (slice(None), slice(cells.hidden_size), *(slice(width) for width in narrow.shape[1:]))
            weight.zero_().view(gates, hidden, *weight.shape[1:])[places] = narrow.view(gates, -1, *narrow.shape[1:])
    return wide.eval()


def window_of(network: nn.Module) -> int:
    """Bars that the network sees at once."""
    return network.window if isinstance(network, Recurrent) else 1


def evaluation_rows(network: nn.Module) -> int:
    """Rows per evaluation batch: a function of the network alone, fewer for long windows, so that a batch fits into memory."""
    if not isinstance(network, Recurrent):
        return MOST_ROWS
    cells = network.cells
    row_bytes = 4 * network.window * max(cells.input_size, 4 * cells.hidden_size)
    fitting = max(BATCH_BYTES // row_bytes, FEWEST_ROWS)
    return min(MOST_ROWS, 1 << (fitting.bit_length() - 1))


def gather(features: torch.Tensor, last: torch.Tensor, window: int) -> torch.Tensor:
    """What the network sees of the rows whose last bar lies at `last` (b,): (b, f), or windows (b, window, f).

    One copy, made where the features lie.
    """
    if window == 1:
        return features.index_select(0, last)
    return features.index_select(0, bars_of(last, window)).view(len(last), window, features.shape[1])


def bars_of(last: torch.Tensor, window: int) -> torch.Tensor:
    """Positions of all bars of the windows that end at `last` (b,), window after window: int64 (b · window,)."""
    return (last[:, None] + torch.arange(1 - window, 1, device=last.device)).view(-1)


class PluginNetwork(nn.Module):
    """Raw features float32 (b, f) → normalization → the other package's module → float32 (b, outputs)."""

    def __init__(self, plugin: Plugin, normalization: nn.Module, body: nn.Module, outputs: int) -> None:
        super().__init__()
        self.plugin, self.outputs = plugin, outputs
        self.normalization = normalization
        self.body = body

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        answer = self._body(self.normalization(features))
        wanted = (len(features), self.outputs)
        if not isinstance(answer, torch.Tensor):
            raise PluginFailed(f"{self.plugin.source} gave a {type(answer).__name__}, wanted a tensor of shape {wanted}")
        if tuple(answer.shape) != wanted or answer.dtype != torch.float32:
            seen = f"{tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
            raise PluginFailed(f"{self.plugin.source} gave {seen} for {len(features)} rows, wanted {wanted} of float32")
        return answer

    def _body(self, features: torch.Tensor) -> object:
        try:
            return guarded(self.plugin.source, f"failed on {len(features)} rows", self.body, features)
        except PluginError as error:
            if isinstance(error.__cause__, RuntimeError) and out_of_memory(error.__cause__):
                raise error.__cause__ from None  # the batch begins anew in smaller pieces
            raise PluginFailed(str(error)) from error


def built(plugin: Plugin, architecture: Mapping[str, Any], normalization: nn.Module, inputs: int, outputs: int) -> PluginNetwork:
    """What the kind builds. PluginFailed if it is nothing that can be trained."""
    body = call(plugin, dict(architecture), inputs, outputs)
    if not isinstance(body, nn.Module):
        raise PluginFailed(f"{plugin.source} built a {type(body).__name__}, wanted a torch.nn.Module")
    parameters = dict(body.named_parameters())
    if not parameters:
        raise PluginFailed(f"{plugin.source} built a network without parameters, so there is nothing to train")
    for name, parameter in parameters.items():
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            seen = str(parameter.dtype).removeprefix("torch.") if parameter.dtype != torch.float32 else "one that is not learned"
            raise PluginFailed(f"{plugin.source} has the parameter {name}, {seen}; wanted float32, and buffers for what stays")
    network = PluginNetwork(plugin, normalization, body, outputs)
    with torch.no_grad():  # on a copy: what the first rows leave behind must not be in the trained one
        copy.deepcopy(network).eval()(normalization.get_buffer("offset").repeat(2, 1))
    return network


class _Wide(nn.Linear):
    """A linear layer that is computed in multiples of `step` columns, and answers as the narrow one."""

    wide_weight: torch.Tensor
    wide_bias: torch.Tensor

    def widen(self, step: int) -> None:
        rows, columns = (-(-size // step) * step for size in self.weight.shape)
        wide = self.weight.new_zeros(rows, columns)
        wide[: self.out_features, : self.in_features] = self.weight
        bias = self.weight.new_zeros(rows)
        if self.bias is not None:
            bias[: self.out_features] = self.bias
        self.register_buffer("wide_weight", wide, persistent=False)
        self.register_buffer("wide_bias", bias, persistent=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        extra = self.wide_weight.shape[1] - self.in_features
        answer = nn.functional.linear(nn.functional.pad(input, (0, extra)), self.wide_weight, self.wide_bias)
        return answer[..., : self.out_features]


def widened(network: PluginNetwork, step: int) -> PluginNetwork:
    """A copy for evaluation whose linear layers work on multiples of `step` columns.

    As `networks.padded` for our own: a row's result then depends on that row alone. Other layers stay as they are.
    """
    with torch.no_grad():
        twin = copy.deepcopy(network).eval()
        for layer in twin.body.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = _Wide
                assert isinstance(layer, _Wide)
                layer.widen(step)
    return twin
