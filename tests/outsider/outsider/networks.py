"""Architecture, inputs and outputs → a torch module from features to logits."""

import torch
from torch import nn


class Gated(nn.Module):
    def __init__(self, width, dropout, gate, inputs, outputs):
        super().__init__()
        self.values = nn.Linear(inputs, width)
        self.gates = nn.Linear(inputs, width)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width, outputs)
        self.gate = torch.sigmoid if gate == "sigmoid" else torch.tanh

    def forward(self, features):
        return self.last(self.dropout(self.values(features) * self.gate(self.gates(features))))


def gated(architecture, inputs, outputs):
    return Gated(architecture["width"], architecture["dropout"], architecture["gate"], inputs, outputs)
