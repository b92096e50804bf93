"""The limit of the settings reaches the run: its rows are streamed then, and it ends in the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from strategies_app.models import Strategy
from tests.examples.api import TEXT, start, store_bars
from training.workers.attempt import run_operation


@pytest.mark.django_db(transaction=True)
def test_a_training_with_its_rows_streamed_ends_in_the_same_weights(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.trainer import loop

    placed: list[bool] = []
    place = loop.place

    def watched(*arguments: Any) -> Any:
        rows = place(*arguments)
        placed.append(rows.streaming)
        return rows

    monkeypatch.setattr(loop, "place", watched)
    store_bars()
    weights = []
    for limit in (None, 0):
        settings.RESIDENT_LIMIT_BYTES = limit
        operation = start(Strategy.objects.import_text(TEXT))
        assert run_operation(operation.pk, 1, device="cpu") == "completed"
        operation.refresh_from_db()
        folder = Path(django_settings.BUNDLE_DIR) / operation.trained_model.folder
        weights.append((folder / "weights.safetensors").read_bytes())
    assert placed == [False, True]
    assert weights[0] == weights[1]
