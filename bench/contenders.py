"""What is compared, how each of them is installed, and how it is started."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.building import debian_packages, environment, run, version_in
from bench.places import PROXY_CORE, Unavailable
from llmlb.demo.children import Child, end_all, environment_for_children
from llmlb.demo.ports import LOOPBACK, free_port

START_LIMIT_S = 90.0
STOP_LIMIT_S = 20.0
LOOK_EVERY_S = 0.005

PINNED = {
    "vllm-router": "vllm-router==0.1.17",
    "sglang-router": "sglang-router==0.3.2",
    "litellm": "litellm[proxy]==1.106.2",
}
"""One version each, so that figures of two days can be compared, and nothing runs unlooked at."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a contender stands before, and who asks it."""

    stub_port: int
    key: str
    """That clients show: all contenders are sent it, some check it."""
    directory: Path
    """For its configuration, data and log."""

    @property
    def stub_url(self) -> str:
        return f"http://{LOOPBACK}:{self.stub_port}"


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers."""

    name: str
    port: int
    key: str
    pid: int | None
    """None: it is the stub itself."""
    start_s: float | None
    """From the start of its process to its first answer to a chat completion."""


class Contender(ABC):
    """One of those that are compared."""

    name: str
    about: str
    """What it does beside passing on, in this benchmark."""

    @abstractmethod
    def install(self) -> str:
        """Have it here; its version. Raises Unavailable."""

    @abstractmethod
    def command(self, scene: Scene, port: int) -> Sequence[str]:
        """How to start it; writes its configuration first, if it has one."""

    def environment(self, scene: Scene) -> Mapping[str, str]:  # noqa: ARG002 - most need none
        """Of its process, beside ours."""
        return {}

    def prepare(self, scene: Scene) -> Scene:
        """Once, before its first start."""
        return scene

    @contextmanager
    def started(self, scene: Scene) -> Iterator[Running]:
        """It runs, pinned, until the end of the block. Raises Unavailable."""
        port = free_port()
        command = ["taskset", "-c", str(PROXY_CORE), *self.command(scene, port)]
        begun_s = time.monotonic()
        child = Child(
            self.name,
            command,
            log=scene.directory / f"{self.name}.log",
            environment=environment_for_children(**self.environment(scene)),
        )
        try:
            wait_for_answer(child, port, scene.key)
            start_s = time.monotonic() - begun_s
            yield Running(self.name, port, scene.key, child.pid, start_s)
        finally:
            end_all([child], within_s=STOP_LIMIT_S)


def wait_for_answer(child: Child, port: int, key: str) -> None:
    """Until a chat completion is answered by 200. Raises Unavailable. Blocks."""
    body = {"model": "stub", "messages": [{"role": "user", "content": "Hello"}]}
    url = f"http://{LOOPBACK}:{port}/v1/chat/completions"
    end_s, last = time.monotonic() + START_LIMIT_S, "nothing"
    with httpx.Client(trust_env=False, timeout=10, headers=bearer(key)) as client:
        while time.monotonic() < end_s:
            if child.exit_code() is not None:
                words = " ".join(child.last_lines()[-1:])
                raise Unavailable(f"{child.name} ended by itself: {words[:300]}")
            try:
                response = client.post(url, json=body)
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if response.status_code == 200:
                    return
                last = f"{response.status_code} {response.text[:200]}"
            time.sleep(LOOK_EVERY_S)
    raise Unavailable(f"{child.name} gave no answer in {START_LIMIT_S:g} s, but {last}")


def bearer(key: str) -> dict[str, str]:
    """The header that shows *key*."""
    return {"authorization": f"Bearer {key}"}


class Direct(Contender):
    name = "direct"
    about = "nothing stands in between: what the stub and the load generator can do"

    def install(self) -> str:
        return "–"

    def command(self, scene: Scene, port: int) -> Sequence[str]:
        raise NotImplementedError(f"{self.name} has no process ({scene.stub_url}, {port})")

    @contextmanager
    def started(self, scene: Scene) -> Iterator[Running]:
        yield Running(self.name, scene.stub_port, scene.key, None, None)


class HAProxy(Contender):
    name = "HAProxy"
    about = "one thread; passes on, and knows nothing of models, keys or tokens"

    _packages = ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")

    def __init__(self) -> None:
        self._program = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/bin")
        self._libraries = ""

    def install(self) -> str:
        if self._program is None:
            place = debian_packages("haproxy", *self._packages)
            self._program = str(place / "usr/sbin/haproxy")
            self._libraries = ":".join(map(str, place.glob("usr/lib/*-linux-gnu")))
        library_path = ["env", f"LD_LIBRARY_PATH={self._libraries}"] if self._libraries else []
        return run([*library_path, self._program, "-v"], limit_s=20).split()[2]

    def environment(self, scene: Scene) -> Mapping[str, str]:  # noqa: ARG002
        return {"LD_LIBRARY_PATH": self._libraries} if self._libraries else {}

    def command(self, scene: Scene, port: int) -> Sequence[str]:
        assert self._program is not None
        configuration = scene.directory / "haproxy.cfg"
        configuration.write_text(
            "global\n    nbthread 1\n    maxconn 8000\n"
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n"
            "    timeout server 60s\n    option http-keep-alive\n    http-reuse always\n"
            f"frontend clients\n    bind {LOOPBACK}:{port}\n    default_backend endpoints\n"
            f"backend endpoints\n    server stub {LOOPBACK}:{scene.stub_port}"
            " pool-max-conn 8000\n"
        )
        return [self._program, "-q", "-db", "-f", str(configuration)]


class RustRouter(Contender):
    """vllm-router, and the router of SGLang that it descends from."""

    about = "Rust; passes on, round robin over one worker; logs warnings only"

    def __init__(self, name: str, program: Sequence[str], warnings: str) -> None:
        self.name = name
        self._program, self._warnings = program, warnings
        self._python: Path | None = None

    def install(self) -> str:
        self._python = environment(self.name, PINNED[self.name])
        return version_in(self._python, self.name)

    def command(self, scene: Scene, port: int) -> Sequence[str]:
        assert self._python is not None
        words = [str(self._python), *self._program, "--host", LOOPBACK, "--port", str(port)]
        words += ["--worker-urls", scene.stub_url, "--policy", "round_robin"]
        words += ["--prometheus-port", str(free_port()), "--log-level", self._warnings]
        return words


class LiteLLM(Contender):
    name = "LiteLLM"
    about = "Python; one worker, checks its master key, no database, no callbacks"

    def __init__(self) -> None:
        self._python: Path | None = None

    def install(self) -> str:
        self._python = environment("litellm", PINNED["litellm"])
        return version_in(self._python, "litellm")

    def environment(self, scene: Scene) -> Mapping[str, str]:
        return {"LITELLM_MASTER_KEY": scene.key, "LITELLM_LOG": "ERROR", "NO_PROXY": "*"}

    def command(self, scene: Scene, port: int) -> Sequence[str]:
        assert self._python is not None
        configuration = scene.directory / "litellm.yaml"
        configuration.write_text(
            'model_list:\n  - model_name: "*"\n    litellm_params:\n      model: "openai/*"\n'
            f'      api_base: "{scene.stub_url}/v1"\n'
            '      api_key: "none"\n'  # pragma: allowlist secret - the stub asks for none
            "litellm_settings:\n  num_retries: 0\n  request_timeout: 60\n"
        )
        words = [str(self._python.parent / "litellm"), "--config", str(configuration)]
        words += ["--host", LOOPBACK, "--port", str(port), "--num_workers", "1"]
        return [*words, "--telemetry", "False"]


def others() -> list[Contender]:
    """All but llmlb."""
    launch = ["-m", "sglang_router.launch_router"]
    return [
        Direct(),
        HAProxy(),
        RustRouter("vllm-router", ["-m", "vllm_router.launch_router"], "warning"),
        RustRouter("sglang-router", launch, "warn"),
        LiteLLM(),
    ]
