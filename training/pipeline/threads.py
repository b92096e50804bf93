"""Together: pieces of work on several threads at a time → their results, one after the other in the order of the pieces.

Compiled kernels and large copies run without the GIL, so threads share them; what holds it takes its turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Result = TypeVar("Result")
#: A piece of work calls this between its steps; it may raise, and then the piece ends there.
Step = Callable[[str], None]
#: While a result is waited for, the one who waits is heard of so often.
LOOK_SECONDS = 0.2


class _Dropped(Exception):
    """Nobody wants the result any more."""


def in_order(
    work: Callable[[int, Step], Result], count: int, threads: int, told: Callable[[int, str | None], None]
) -> Iterator[Result]:
    """work(0, step), …, work(count − 1, step), at most `threads` at a time and as many again finished before they are taken.

    told(number, name): piece `number` is at the step of this name, or is still waited for (None). It is called in the
    caller's thread alone and may raise, which ends everything: no piece is begun any more, those that run end at their
    next step, and no thread is left behind. With one thread or one piece there is no other thread at all.
    """
    if threads <= 1 or count <= 1:
        for number in range(count):
            yield work(number, lambda name, number=number: told(number, name))  # type: ignore[misc]
        return
    stop = threading.Event()

    def step(name: str) -> None:
        if stop.is_set():
            raise _Dropped

    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(min(threads, count), thread_name_prefix="symbols") as pool:
        try:
            begun = 0
            for number in range(count):
                while begun < min(number + 2 * threads, count):
                    under_way.append(pool.submit(work, begun, step))
                    begun += 1
                first = under_way.popleft()
                told(number, None)  # also where no piece takes long: a thousand short ones do
                while not wait([first], LOOK_SECONDS).done:
                    told(number, None)
                yield first.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)  # leaving the pool waits for what still runs
