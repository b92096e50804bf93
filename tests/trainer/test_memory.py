"""Rows that do not fit on the device are streamed with the same bits; when memory runs out, smaller pieces add up to the batch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from tests.examples.trainer import Recorder, dataset, strategy
from tests.trainer.test_resume import outcome
from training.core.values import BatchMetrics, Cancelled, Dataset, Silent
from training.trainer import batches, device
from training.trainer.batches import fits, place
from training.trainer.engine import Reference
from training.trainer.loop import Fitted, fit
from training.trainer.networks import TrainingError, build_network

NOTHING_RESIDENT = 0
TOO_MUCH = "memory that the test says is not there"
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def mapped(rows: Dataset, folder: Path) -> Dataset:
    """The same rows with their features in a read-only, memory-mapped file."""
    np.save(folder / "features.npy", rows.rows.features)
    features = np.load(folder / "features.npy", mmap_mode="r")
    return dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=features))


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """scarce(n): a forward pass of more than n training rows finds no memory, from the given pass on. Gives the sizes seen."""
    forward = nn.Sequential.forward

    def limit(most: int, error: type[RuntimeError] = torch.OutOfMemoryError, after: int = 0, text: str = TOO_MUCH) -> list[int]:
        sizes: list[int] = []

        def limited(self: nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
            logits = forward(self, rows)  # dropout has drawn by the time that memory runs out
            if self.training:
                sizes.append(len(rows))
                if len(rows) > most and len(sizes) > after:
                    raise error(text)
            return logits

        monkeypatch.setattr(nn.Sequential, "forward", limited)
        return sizes

    return limit


def trained(rows: Dataset, splits: Any, spec: Any, **how: Any) -> tuple[Fitted, Recorder]:
    recorder = Recorder()
    return fit(rows, splits, spec, recorder, **how), recorder


def last_weights(recorder: Recorder) -> dict[str, torch.Tensor]:
    return load(recorder.states[-1]()["model.safetensors"])


# --- where the rows lie ---


@given(
    sampling=st.sampled_from(["proportional", "balanced"]),
    dropout=st.sampled_from([0.0, 0.4]),
    batch_size=st.sampled_from([1, 7, 32, 1000]),
    block_bytes=st.sampled_from([1, 700, batches.BLOCK_BYTES]),
    fused=st.booleans(),
    modes=st.tuples(st.booleans(), st.booleans()),
    stop_after=st.integers(0, 2),
)
@settings(max_examples=25, deadline=None)
def test_streaming_and_resident_rows_give_the_same_bits_also_across_a_resume(
    sampling: str, dropout: float, batch_size: int, block_bytes: int, fused: bool, modes: tuple[bool, bool], stop_after: int
) -> None:
    rows, splits = dataset()
    spec = strategy(sampling=sampling, dropout=dropout, batch_size=batch_size)
    limits = [NOTHING_RESIDENT if streaming else None for streaming in modes]
    whole = Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.Placed.blocks, "__defaults__", (block_bytes,))
        first, second = Recorder(Cancelled(), after_epoch=stop_after), Recorder()
        with pytest.raises(Cancelled):
            fit(rows, splits, spec, first, fused=fused, resident_limit=limits[0])
        resumed = fit(rows, splits, spec, second, fused=fused, resume=first.last_parts(), resident_limit=limits[1])
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())


def test_a_memory_mapped_matrix_is_streamed_from_its_file(tmp_path: Path) -> None:
    rows, splits = dataset()
    there = mapped(rows, tmp_path)
    resident, streamed = Recorder(), Recorder()
    a = fit(rows, splits, strategy(dropout=0.2), resident)
    b = fit(there, splits, strategy(dropout=0.2), streamed, resident_limit=NOTHING_RESIDENT)
    assert outcome(a, resident.states[-1]()) == outcome(b, streamed.states[-1]())
    placed = place(there.rows.features, there.rows.labels, "cpu", NOTHING_RESIDENT)
    assert placed.features.data_ptr() == there.rows.features.ctypes.data, "the file's pages, not a copy"


@pytest.mark.parametrize(("batch_size", "block_bytes"), [(16, 500), (16, 2000), (7, 10_000), (1, 1), (5000, 100)])
def test_a_streamed_block_is_whole_batches_within_its_bytes(batch_size: int, block_bytes: int) -> None:
    rows, _ = dataset(1000)
    order = batches.epoch_order(1, 0, 1000)
    placed = place(rows.rows.features, rows.rows.labels, "cpu", NOTHING_RESIDENT)
    blocks = list(placed.blocks(order, batch_size, block_bytes))
    batch_bytes = min(batch_size, 1000) * rows.rows.features.shape[1] * 4
    assert all(x.nbytes <= max(block_bytes, batch_bytes) for x, _ in blocks)
    assert all(len(x) % batch_size == 0 for x, _ in blocks[:-1])
    np.testing.assert_array_equal(torch.cat([x for x, _ in blocks]).numpy(), rows.rows.features[order])
    np.testing.assert_array_equal(torch.cat([y for _, y in blocks]).numpy(), rows.rows.labels[order])


def test_streamed_features_reach_the_device_batch_by_batch() -> None:
    rows, _ = dataset(100)
    placed = place(rows.rows.features, rows.rows.labels, "meta", NOTHING_RESIDENT)
    features, labels = next(placed.blocks(np.arange(100), 10))
    assert placed.streaming and features.device.type == "cpu" and labels.device.type == "meta"
    assert placed.moved(features[:10]).device.type == "meta" and not features.is_pinned()


def test_rows_are_resident_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits("cpu", 1 << 60), "on the CPU they are where they are"
    assert fits("cpu", 100, 100) and not fits("cpu", 101, 100)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    share = int(1000 * batches.RESIDENT_SHARE)
    assert share <= 800, "the network, its activations and the optimizer need room beside the rows"
    assert fits("cuda", share) and not fits("cuda", share + 1)
    assert not fits("cuda", share + 1, 10_000), "a limit asks for less, never for more than there is"
    assert not fits("cuda", share, share - 1)


def test_rows_that_turn_out_not_to_fit_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = dataset()

    def full(self: torch.Tensor, device: torch.device) -> torch.Tensor:
        raise torch.OutOfMemoryError("another process was faster")

    monkeypatch.setattr(torch.Tensor, "to", full)
    monkeypatch.setattr(batches, "resident", lambda array, device: torch.from_numpy(array))
    assert place(rows.rows.features, rows.rows.labels, "meta").streaming


# --- when memory runs out ---


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("class_weights", ["balanced", "none"])
def test_pieces_add_up_to_the_batch(scarce: Any, fused: bool, loss: str, class_weights: str) -> None:
    rows, splits = dataset()
    spec = strategy(batch_size=50, loss=loss, class_weights=class_weights, learning_rate=0.003)
    whole, whole_run = trained(rows, splits, spec, fused=fused)
    sizes = scarce(13)
    pieces, pieces_run = trained(rows, splits, spec, fused=fused)
    assert sizes[:7] == [50, 25, 13, 13, 13, 11, 13], "the step that failed begins anew, and later ones begin small"
    assert whole.micro_batch == 50 and pieces.micro_batch == 13
    for name, tensor in last_weights(whole_run).items():
        torch.testing.assert_close(last_weights(pieces_run)[name], tensor, rtol=1e-4, atol=1e-5)
    for a, b in zip(whole.history, pieces.history, strict=True):
        assert "micro_batch" not in a and b["micro_batch"] == 13
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-4)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
    assert json.loads(pieces_run.states[-1]()["state.json"])["micro_batch"] == 13
    said = [[text for text in run.warnings if "memory" in text] for run in (whole, pieces)]
    assert said[0] == []
    assert said[1] == ["memory ran out in epoch 1: batches of 50 rows were computed in pieces of 13"]


def one_epoch(micro_batch: int, limit: int | None, fused: bool) -> bytes:
    """The weights after an epoch with dropout that begins with `micro_batch` rows at once."""
    rows, splits = dataset()
    spec = strategy(dropout=0.4, batch_size=32)
    network = build_network(spec, 5, 3, np.zeros(5, np.float32), np.ones(5, np.float32))
    engine = Reference(network, spec.training, place(rows.rows.features, rows.rows.labels, "cpu", limit), None, fused)
    engine.micro_batch = micro_batch
    engine.train_epoch(splits.train, 1, BatchMetrics(1, 6), lambda metrics: None)
    assert engine.micro_batch == 8
    return save(network.state_dict())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("limit", [None, NOTHING_RESIDENT])
def test_a_failed_step_leaves_no_trace(scarce: Any, limit: int | None, fused: bool) -> None:
    """Two tries that failed, after dropout had drawn, end in the bits of an epoch that began with small pieces."""
    scarce(8)
    assert one_epoch(32, limit, fused) == one_epoch(8, limit, fused)


@pytest.mark.parametrize("fused", [True, False])
def test_pieces_that_succeeded_before_the_failure_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    """Memory runs out at the second piece, when the first has left its gradients."""
    expected = one_epoch(8, None, fused)
    forward, seen = nn.Sequential.forward, []

    def limited(self: nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        if len(seen) == 2:
            raise torch.OutOfMemoryError(TOO_MUCH)
        return forward(self, rows)

    monkeypatch.setattr(nn.Sequential, "forward", limited)
    assert one_epoch(16, None, fused) == expected and seen[:3] == [16, 16, 8]


@pytest.mark.parametrize("stop_at", [0, 3, 6, 11, 12, 17])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_run_that_went_on_in_pieces_is_resumed_in_pieces(scarce: Any, stop_at: int, dropout: float) -> None:
    rows, splits = dataset()
    spec = strategy(dropout=dropout, epochs=3)
    scarce(9)
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=stop_at), Recorder()
    undisturbed = fit(rows, splits, spec, whole)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first)
    resumed = fit(rows, splits, spec, second, resume=first.last_parts(), resident_limit=NOTHING_RESIDENT)
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())
    assert undisturbed.warnings == resumed.warnings and resumed.micro_batch == 8


def test_memory_that_comes_back_does_not_change_a_resumed_run(scarce: Any) -> None:
    rows, splits = dataset()
    spec = strategy(dropout=0.4, epochs=4)
    scarce(9, after=6)  # from the second epoch on: it has six batches
    whole, first, second = Recorder(), Recorder(Cancelled(), after_epoch=1), Recorder()
    undisturbed = fit(rows, splits, spec, whole)
    assert ["micro_batch" in metrics for metrics in undisturbed.history] == [False, True, True, True]
    assert undisturbed.warnings[0].startswith("memory ran out in epoch 2")
    scarce(9, after=6)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first)
    sizes = scarce(1000)
    resumed = fit(rows, splits, spec, second, resume=first.last_parts())
    assert max(sizes) == 8
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())


def test_the_cpus_way_of_saying_it_is_understood_and_other_errors_pass(scarce: Any) -> None:
    rows, splits = dataset()
    scarce(16, RuntimeError, text="DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
    assert fit(rows, splits, strategy(epochs=1), Silent()).micro_batch == 16
    scarce(16, RuntimeError, text="mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fit(rows, splits, strategy(epochs=1), Silent())


def test_one_row_too_much_is_refused_in_one_sentence(scarce: Any) -> None:
    rows, splits = dataset()
    sizes = scarce(0)
    before = torch.random.get_rng_state()
    with pytest.raises(
        TrainingError, match=r"^there is not enough memory on cpu to train even one row at a time; wanted a smaller"
    ):
        fit(rows, splits, strategy(dropout=0.2), Silent())
    assert sizes == [32, 16, 8, 4, 2, 1]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_checkpoint_that_names_no_pieces_computes_whole_batches() -> None:
    rows, splits = dataset()
    recorder = Recorder(Cancelled(), after_epoch=1)
    with pytest.raises(Cancelled):
        fit(rows, splits, strategy(), recorder)
    parts = recorder.states[-1]()
    document = json.loads(parts["state.json"])
    del document["micro_batch"]
    fitted = fit(rows, splits, strategy(), Silent(), resume={**parts, "state.json": json.dumps(document).encode()})
    assert fitted.micro_batch == 32


# --- on a graphics card ---


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize(("features", "batch_size"), [(20, 512), (7, 33)])
def test_streaming_on_cuda_gives_the_same_bits_also_across_a_resume(tmp_path: Path, features: int, batch_size: int) -> None:
    rows, splits = dataset(30_000, features)
    rows = mapped(rows, tmp_path)
    spec = strategy([64, 32], dropout=0.3, sampling="balanced", batch_size=batch_size)
    whole, first, second = Recorder(), Recorder(Cancelled(), after_epoch=1), Recorder()
    undisturbed = fit(rows, splits, spec, whole, device="cuda")
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, device="cuda", resident_limit=NOTHING_RESIDENT)
    resumed = fit(rows, splits, spec, second, device="cuda", resume=first.last_parts(), resident_limit=NOTHING_RESIDENT)
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())


@pytest.mark.gpu
@cuda
def test_streamed_blocks_of_cuda_are_page_locked() -> None:
    rows, _ = dataset(1000)
    placed = place(rows.rows.features, rows.rows.labels, "cuda", NOTHING_RESIDENT)
    order = batches.epoch_order(1, 0, 1000)
    arrived = []
    for x, _ in placed.blocks(order, 10, block_bytes=400):
        assert x.is_pinned()
        arrived.append(placed.moved(x))
    np.testing.assert_array_equal(torch.cat(arrived).cpu().numpy(), rows.rows.features[order])


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("limit", [None, NOTHING_RESIDENT])
def test_pieces_on_cuda_are_resumed_with_the_same_bits(scarce: Any, limit: int | None) -> None:
    rows, splits = dataset(3000, 20)
    spec = strategy([64, 32], dropout=0.3, batch_size=256, epochs=3)
    scarce(100)
    whole, first, second = Recorder(), Recorder(Cancelled(), at_batch=9), Recorder()
    undisturbed = fit(rows, splits, spec, whole, device="cuda", resident_limit=limit)
    with pytest.raises(Cancelled):
        fit(rows, splits, spec, first, device="cuda", resident_limit=limit)
    resumed = fit(rows, splits, spec, second, device="cuda", resume=first.last_parts())
    assert undisturbed.micro_batch == 64
    assert outcome(undisturbed, whole.states[-1]()) == outcome(resumed, second.states[-1]())


@pytest.mark.gpu
@cuda
def test_a_card_that_is_really_full_is_trained_on_in_pieces() -> None:
    """One hidden layer of 4096 over 60 000 rows takes about 1 GB per activation, which is more than is allowed here."""
    rows, splits = dataset(100_000, 8)
    spec = strategy([4096], batch_size=60_000, epochs=1)
    torch.cuda.empty_cache()
    total = device.device_memory("cuda")
    assert total is not None
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + (1 << 30)) / total))
    try:
        fitted = fit(rows, splits, spec, Silent(), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fitted.micro_batch < 60_000 and fitted.epochs_completed == 1
