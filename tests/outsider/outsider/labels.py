"""Columns and parameters → class numbers and the last bar that each label looked at."""

import numpy as np
import pandas as pd


def _ahead(close, horizon):
    """The close `horizon` bars later, and the bar it is of; −1 where there is none."""
    ends = np.arange(len(close)) + horizon
    there = ends < len(close)
    later = np.full(len(close), np.nan)
    later[there] = close[ends[there]]
    return later, np.where(there, ends, -1)


def breakout(columns, parameters):
    close, window = columns["close"], parameters["window"]
    later, ends = _ahead(close, parameters["horizon"])
    highest = pd.Series(close).rolling(window).max().to_numpy()
    lowest = pd.Series(close).rolling(window).min().to_numpy()
    ends[np.isnan(highest)] = -1
    values = np.where(later > highest, 0, np.where(later < lowest, 2, 1))
    return values, ends


def hasty(columns, parameters):
    later, ends = _ahead(columns["close"], parameters["horizon"])
    values = np.where(later > columns["close"], 0, 1)
    return values, np.where(ends >= 0, ends - 1, -1)
