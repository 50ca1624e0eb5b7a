"""What is kept of the log, and how those are told who follow it."""

from __future__ import annotations

import logging
from threading import Thread

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from llmlb.errors import Overloaded, ShuttingDown
from llmlb.http.logs.tail import MOST_FOLLOWERS, LogTail


def add(tail: LogTail, *names: str, size_bytes: int = 10) -> None:
    for name in names:
        tail.add({"event": name}, logging.INFO, size_bytes)


def seqs(tail: LogTail) -> list[int]:
    return [kept.seq for kept in tail.all()]


@given(st.lists(st.integers(1, 60)), st.integers(1, 8), st.integers(1, 100), st.integers(0, 60))
def test_the_newest_are_kept_and_the_rest_is_counted(
    sizes: list[int], most_entries: int, most_bytes: int, seq: int
) -> None:
    tail = LogTail(most_entries=most_entries, most_bytes=most_bytes)
    for size in sizes:
        add(tail, "x", size_bytes=size)

    kept = tail.all()
    assert len(kept) <= most_entries
    assert sum(entry.size_bytes for entry in kept) <= most_bytes
    assert seqs(tail) == list(range(len(sizes) - len(kept) + 1, len(sizes) + 1))
    if len(kept) < min(len(sizes), most_entries):
        oldest_gone = sizes[len(sizes) - len(kept) - 1]
        assert sum(entry.size_bytes for entry in kept) + oldest_gone > most_bytes
    if seq <= len(sizes):
        found, dropped = tail.after(seq, most=5)
        assert dropped + len(found) == len(sizes) - seq or len(found) == 5
        assert [e.seq for e in found] == list(
            range(seq + dropped + 1, seq + dropped + 1 + len(found))
        )


async def test_a_follower_is_woken_from_any_thread_and_at_the_end(nursery: trio.Nursery) -> None:
    tail = LogTail()
    seen: list[int] = []
    all_seen = trio.Event()

    async def follow() -> None:
        with tail.following():
            while not tail.ended:
                await tail.wait_beyond(len(seen))
                seen.extend(kept.seq for kept in tail.after(len(seen), 100)[0])
                if len(seen) == 41:
                    all_seen.set()

    nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    add(tail, "here")
    await wait_all_tasks_blocked()
    assert seen == [1]
    threads = [Thread(target=add, args=(tail, "a", "b")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with trio.fail_after(100):
        await all_seen.wait()
    assert seen == list(range(1, 42)), "each of them, and once"
    tail.end()
    with pytest.raises(ShuttingDown), tail.following():
        pass
    tail.begin_anew()
    with tail.following():
        pass


async def test_so_many_follow_at_once_and_no_more() -> None:
    tail = LogTail()
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            with tail.following():
                await tail.wait_beyond(0)

        for _ in range(MOST_FOLLOWERS):
            nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        with pytest.raises(Overloaded) as refusal, tail.following():
            pass
        assert refusal.value.retry_after_s
        nursery.cancel_scope.cancel()
    with tail.following():
        pass


def test_entries_that_come_when_trio_has_ended_are_kept() -> None:
    tail = LogTail()

    async def main() -> None:
        with tail.following():
            await trio.lowlevel.checkpoint()
            tail._token, kept = None, tail._token
        tail._token = kept

    trio.run(main)
    add(tail, "late")
    assert seqs(tail) == [1]
