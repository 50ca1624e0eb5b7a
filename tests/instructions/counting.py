"""How many instructions of Python's virtual machine llmlb's own code executes.

Unlike time, that is the same on a busy machine. It says nothing of what libraries do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import llmlb

OWN = str(Path(llmlb.__file__).parent)


class Counter:
    """Owns a number, which grows while it counts."""

    def __init__(self) -> None:
        self.count = 0


if sys.version_info >= (3, 12):
    _TOOL = sys.monitoring.PROFILER_ID

    @contextmanager
    def counting(counter: Counter) -> Iterator[None]:
        """Count what this thread executes in the block, below whoever asks."""

        def on_instruction(code: CodeType, _offset: int) -> object:
            if not code.co_filename.startswith(OWN):
                return sys.monitoring.DISABLE
            counter.count += 1
            return None

        events = sys.monitoring.events.INSTRUCTION
        sys.monitoring.use_tool_id(_TOOL, "llmlb")
        sys.monitoring.register_callback(_TOOL, events, on_instruction)
        sys.monitoring.set_events(_TOOL, events)
        try:
            yield
        finally:
            sys.monitoring.set_events(_TOOL, 0)
            sys.monitoring.free_tool_id(_TOOL)

else:

    @contextmanager
    def counting(counter: Counter) -> Iterator[None]:
        """Count what this thread executes in the block, below whoever asks."""

        def on_opcode(frame: FrameType, event: str, _: Any) -> Any:
            if event == "opcode":
                counter.count += 1
            return on_opcode

        def on_call(frame: FrameType, event: str, _: Any) -> Any:
            if not frame.f_code.co_filename.startswith(OWN):
                return None
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            return on_opcode

        before = sys.gettrace()
        sys.settrace(on_call)
        try:
            yield
        finally:
            sys.settrace(before)
