"""Columns and parameters → one float64 array per output."""

import numpy as np
import pandas as pd


def glide(columns, parameters):
    close, period = columns["close"], parameters["period"]
    average = pd.Series(close).ewm(span=period, adjust=False, min_periods=period).mean().to_numpy()
    return average, 100.0 * (close / average - 1.0)


def peeking(columns, parameters):
    period = parameters["period"]
    return pd.Series(columns["close"]).rolling(period, min_periods=1, center=True).mean().where(_warm(columns, period)).to_numpy()


def _warm(columns, period):
    return np.arange(len(columns["close"])) >= period - 1


_stood_at = []


def remembering(columns, parameters):
    close = columns["close"]
    before = _stood_at.pop() if _stood_at else 100.0
    average = pd.Series(np.concatenate([[before], close])).ewm(span=parameters["period"], adjust=False).mean().to_numpy()[1:]
    _stood_at.append(average[-1] if len(close) else before)
    return average
