"""When the other ends of sockets close, told by one task for all of them."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

import trio

SWEEP_EVERY_S = 0.5
"""Where the system does not tell of closed ends, they are looked for so often."""


class Watched(Protocol):
    """A socket whose other end may close."""

    @property
    def said_all(self) -> bool:
        """Whether nothing more can be read from it, as far as can be told without waiting."""
        ...

    def peer_has_gone(self) -> None:
        """The other end has closed."""
        ...


class PeerWatch(Protocol):
    """Tells those that it watches when their other ends close."""

    def add(self, fd: int, watched: Watched) -> None:
        """Watch it; it is told soon, but not from within this call, if that is so already."""
        ...

    def remove(self, fd: int) -> None:
        """Not any more: to be called before the socket is closed, for its number is used again."""
        ...


class EpollWatch:
    """Owns an epoll that hears of nothing but ends (EPOLLRDHUP, which only Linux has).

    A task per connection that waits for its socket would cost as much as reading it, and would
    hear of every byte.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Watched] = {}

    def add(self, fd: int, watched: Watched) -> None:
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)
        self._by_fd[fd] = watched

    def remove(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Tell of ends, until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                # Whoever is told may close others, and open some that get the same numbers.
                ended = [(fd, self._by_fd.get(fd)) for fd, _ in self._epoll.poll(0)]
                for fd, watched in ended:
                    if watched is not None and self._by_fd.get(fd) is watched:
                        self.remove(fd)
                        watched.peer_has_gone()
        finally:
            self._by_fd.clear()
            self._epoll.close()


class SweepWatch:
    """Looks at every socket now and then: for systems without EPOLLRDHUP.

    It does not see an end behind bytes that nobody has read yet.
    """

    def __init__(self) -> None:
        self._by_fd: dict[int, Watched] = {}
        self._any = trio.Event()

    def add(self, fd: int, watched: Watched) -> None:
        self._by_fd[fd] = watched
        self._any.set()

    def remove(self, fd: int) -> None:
        self._by_fd.pop(fd, None)

    async def run(self) -> None:
        """Tell of ends, until cancelled."""
        while True:
            await self._any.wait()
            await trio.sleep(SWEEP_EVERY_S)
            for fd, watched in list(self._by_fd.items()):
                if self._by_fd.get(fd) is watched and watched.said_all:
                    self.remove(fd)
                    watched.peer_has_gone()
            if not self._by_fd:
                self._any = trio.Event()


_new_watch: Callable[[], EpollWatch | SweepWatch] = (
    EpollWatch if hasattr(select, "EPOLLRDHUP") else SweepWatch
)
_watch: trio.lowlevel.RunVar[PeerWatch] = trio.lowlevel.RunVar("peer watch")


def peer_watch() -> PeerWatch:
    """The one of this run of Trio; it begins when it is first asked for."""
    try:
        return _watch.get()
    except LookupError:
        new = _new_watch()
        _watch.set(new)
        trio.lowlevel.spawn_system_task(new.run)
        return new
