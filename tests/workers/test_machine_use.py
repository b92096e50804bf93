"""What a training uses of its machine: measured, thinned, kept per attempt, drawn; with a graphics card and without."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.examples.api import make_examples
from tests.examples.homes import until
from training.models import ResourceUse
from training.results import figures_analytics
from training.workers import attempt, monitoring
from training.workers.monitoring import MachineUse, Meter, Points, open_card


class NVMLError(Exception):
    """As NVIDIA's library raises it."""


def fake_nvml(busy: float = 37, broken: tuple[str, ...] = ()) -> Any:
    """NVIDIA's library with one card."""

    def told(name: str, value: Any) -> Any:
        def answer(*args: Any) -> Any:
            if name in broken:
                raise NVMLError(name)
            return value

        return answer

    answers = {
        "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetHandleByIndex": "card", "nvmlDeviceGetHandleByUUID": "by name",
        "nvmlDeviceGetName": "NVIDIA H200", "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=busy),
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=140e9, used=2.5e9),
    }  # fmt: skip
    return SimpleNamespace(NVMLError=NVMLError, **{name: told(name, value) for name, value in answers.items()})


def test_points_stay_bounded_and_tell_the_same_story() -> None:
    points = Points(most=50)
    for second in range(3600):
        points.add({"cpu": 1.0, "memory": 5e9 if second == 1234 else 1e9})
    assert len(points) < 100 and len(points) * points.seconds == pytest.approx(3600, abs=points.seconds)
    assert set(points.columns["cpu"]) == {1.0}
    memory = points.columns["memory"]
    assert max(memory) == 5e9, "a peak is not averaged away"
    assert memory.index(5e9) == int(1234 // points.seconds)


def test_what_was_not_measured_stays_unknown() -> None:
    points = Points(most=2)
    for value in ({"cpu": 1.0}, {}, {"cpu": 3.0, "gpu": 50.0}, {"cpu": 1.0}):
        points.add(value)
    assert points.seconds == 2 and points.columns == {"cpu": [1.0, 2.0], "gpu": [None, 50.0]}


def test_the_meter_sees_a_busy_core_and_memory_taken() -> None:
    meter = Meter(with_card=False)
    meter.read()
    began = time.monotonic(), time.process_time()
    ballast = bytearray(60_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    worked, passed = time.process_time() - began[1], time.monotonic() - began[0]
    found = meter.read()
    assert found["cpu"] == pytest.approx(worked / passed, rel=0.2), "whatever else the machine does"
    assert sys.platform != "linux" or (found["memory"] or 0) > len(ballast)
    assert (found["disk"] or 0) > 0 and (found["machine_memory"] or 0) > 0 and "gpu" not in found


def test_a_card_is_measured_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    meter = Meter(with_card=True)
    assert meter.facts()["gpu"] == "NVIDIA H200" and meter.facts()["gpu_memory"] == 140e9
    found = meter.read()
    assert (found["gpu"], found["gpu_memory"]) == (37.0, 2.5e9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234,GPU-5")
    card = open_card()
    assert card is not None and card.handle == "by name"


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_without_a_card_nothing_is_said_of_one(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(broken=(broken,)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert open_card() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_card() is None


def test_a_part_of_a_card_that_tells_no_use_still_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(broken=("nvmlDeviceGetUtilizationRates",)))
    card = open_card()
    assert card is not None and card.read() == {"gpu": None, "gpu_memory": 2.5e9}


def test_a_running_attempt_leaves_what_it_used(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "SECONDS", 0.02)
    monkeypatch.setattr(monitoring, "WRITE_SECONDS", 0.05)
    operation = make_examples().own
    with MachineUse(operation.pk, 1, "cpu"):
        until(ResourceUse.objects.exists, "a row")
    row = ResourceUse.objects.get()
    lengths = {len(values) for values in row.points.values()}
    assert len(lengths) == 1 and min(lengths) >= 1 and row.attempt == 1
    assert set(row.points) == {"cpu", "machine_cpu", "memory", "machine_memory", "disk"} and row.facts["cores"] >= 1


def test_every_attempt_is_measured_while_it_works(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "SECONDS", 0.02)
    monkeypatch.setattr(attempt, "_train", lambda *work: until(ResourceUse.objects.exists, "a row"))
    operation = make_examples().own
    assert attempt.run_operation(operation.pk, 1, device="cpu") == "completed"
    assert [(row.operation_id, row.attempt) for row in ResourceUse.objects.all()] == [(operation.pk, 1)]


def test_a_late_reading_fills_the_seconds_that_it_tells_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a thread that was not let run for 3.9 seconds, then for a minute; a reading never comes right after another."""
    now, read, stops = [0.0], [], iter((1.0, 3.9, 1.1, 60.0, None))

    class Slow:
        def wait(self, seconds: float) -> bool:
            late = next(stops)
            now[0] += max(seconds, late or 0)
            return late is None

    class Counting:
        def __init__(self, with_card: bool) -> None:
            self.last = 0.0

        def facts(self) -> dict[str, Any]:
            return {}

        def read(self) -> dict[str, float | None]:
            read.append(now[0] - self.last)
            self.last = now[0]
            return {"cpu": float(len(read))}

        def close(self) -> None:
            return

    kept: list[tuple[Points, int]] = []
    monkeypatch.setattr(monitoring, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(monitoring, "Meter", Counting)
    monkeypatch.setattr(MachineUse, "_write", lambda self, points, facts, first: kept.append((points, len(points))))
    monkeypatch.setattr(monitoring, "connection", SimpleNamespace(close=lambda: None))
    use = MachineUse("op", 1, "cpu")
    use._ended = Slow()  # type: ignore[assignment]
    use._run()
    cpu = kept[-1][0].columns["cpu"]
    assert cpu[:6] == [1.0, 2.0, 2.0, 2.0, 2.0, 3.0] and cpu[6:] == [None] * (len(cpu) - 6) and len(cpu) == 66
    assert min(read) >= 0.5
    kept.clear()
    stops = iter((1.0, 1.0, 1.0, None))
    use._run()
    assert [length for _, length in kept] == [1, 3], "what came since the last writing is written at the end"


def test_a_run_goes_on_while_its_use_cannot_be_written(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(monitoring, "SECONDS", 0.01)
    with MachineUse("op_that_is_gone", 1, "cpu") as use:
        until(lambda: "could not be written" in caplog.text, "a warning")
        assert use._thread.is_alive()
    assert not ResourceUse.objects.exists()


def uses() -> list[dict[str, Any]]:
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    points = {"cpu": [1.0, None, 2.0], "machine_cpu": [50.0, 50.0, 100.0], "memory": [1e9, 2e9, 3e9], "gpu": [10.0, 20.0, 30.0]}
    return [{"began": began, "seconds": 2.0, "points": points, "facts": {"cores": 8, "memory": 16e9, "gpu": "H200"}}]


def test_the_figures_hold_what_was_measured() -> None:
    drawn = figures_analytics.processor([*uses(), *uses()])
    own, machine, card = drawn["data"]
    assert own["y"] == [1.0, None, 2.0, None] * 2 and own["x"][0] == "2026-01-02 03:04:07"
    assert machine["y"][:3] == [4.0, 4.0, 8.0], "percent of eight cores"
    assert card["yaxis"] == "y2" and "yaxis2" in drawn["layout"]
    roomy, short = uses(), uses()
    roomy[0]["points"]["machine_memory"], short[0]["points"]["machine_memory"] = [60e9] * 3, [60e9, 60e9, 1e9]
    assert [len(figures_analytics.memory(found)["data"]) for found in (roomy, short)] == [1, 2], (
        "free memory is drawn where it is short"
    )
    assert figures_analytics.memory(uses())["data"][0]["y"] == [1.0, 2.0, 3.0, None]
    rows = {row["name"]: row for row in figures_analytics.table(uses())}
    assert rows["Memory, this training"] == {"name": "Memory, this training", "mean": "2.0 GB", "extreme": "most 3.0 GB"}
    assert figures_analytics.facts(uses()) == "8 cores · 16 GB memory · H200" and figures_analytics.facts([]) == ""


def test_the_page_gives_it_to_who_may_look(db: None) -> None:
    examples = make_examples()
    client, address = examples.signed_in("viewer"), f"/operations/{examples.completed.pk}/use/"
    assert client.get(address).json() == {"figures": {}, "rows": [], "facts": "", "is_open": False}
    ResourceUse.objects.create(operation=examples.completed, attempt=1, **uses()[0])
    told = client.get(address).json()
    assert told["facts"].startswith("8 cores") and len(told["figures"]["processor"]["data"]) == 3
    assert json.loads(json.dumps(told)) == told
    assert examples.signed_in("nobody").get(address).status_code == 403
    page = client.get(f"/operations/{examples.completed.pk}/").content.decode()
    assert address in page and "use.js" in page
