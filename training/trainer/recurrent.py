"""Recurrent networks: windows of bars → logits, from torch's own LSTM or GRU; and how windows are read from the bars."""

from __future__ import annotations

import warnings

import torch
from torch import nn

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
