"""NDI between real processes, unattended: two hosts in network namespaces, and processes that report what they see.

`ndi_hosts` gives two machines as far as NDI can tell, joined by a cable: each in a network namespace with a host name
of its own ("ALPHA", "BETA"), each configured to ask the other for sources, so that no mDNS daemon is needed. They are
needed because two processes that send can't be told apart without one within a single namespace. Nothing outside
the namespaces is touched, and they vanish with the test session, however it ends. Where they can't be made (not Linux,
no privileges, no iproute2), the tests that use them are skipped with the reason.

    cam = ndi_hosts.a.sender("cam", size="640x360", fps=30)        # an independent peer: ndi-python
    node = ndi_hosts.b.start(sys.executable, "-m", "l2s_node", "run", ...)
    out = ndi_hosts.a.receiver("l2s")
    out.wait(lambda e: e.get("counter", -1) > 30)

Every peer prints one JSON object a line; `Process.wait` returns the first event that a predicate likes.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PEERS = HERE / "ndi_peers.py"
Event = dict[str, Any]


class Process:
    """A process that prints JSON lines. Lines that are no JSON (a log, a traceback) become {"text": line}."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.events: list[Event] = []
        self._new: queue.Queue[Event | None] = queue.Queue()
        self.popen = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._thread = threading.Thread(target=self._read, name="l2s-test-peer")
        self._thread.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"text": line.rstrip()}
            self._new.put(event if isinstance(event, dict) else {"text": line.rstrip()})
        self._new.put(None)

    def collect(self) -> list[Event]:
        """Every event so far."""
        while not self._new.empty():
            if (event := self._new.get()) is not None:
                self.events.append(event)
        return self.events

    def wait(self, like: Callable[[Event], Any], timeout: float = 30.0) -> Event:
        """The first event, from now on, that `like` likes.

        Raises:
            AssertionError: none came within `timeout` seconds, or the process ended.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._new.get(timeout=left)
            except queue.Empty:
                break
            if event is None:
                raise AssertionError(f"{self.popen.args} ended; it said {self.events[-10:]}")
            self.events.append(event)
            if like(event):
                return event
        raise AssertionError(f"{self.popen.args}: nothing came within {timeout} s; last: {self.events[-10:]}")

    def wait_counter(self, least: int, timeout: float = 30.0) -> Event:
        """The first picture whose counter is at least `least`."""
        return self.wait(lambda e: e.get("counter") is not None and e["counter"] >= least, timeout)

    def pictures(self) -> list[Event]:
        """All picture events so far."""
        return [event for event in self.collect() if "counter" in event]

    def tell(self, **order: Any) -> None:
        """One JSON line to its standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(order) + "\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.popen.kill()
        self._finish()

    def close(self) -> None:
        """The end of its input, which peers take as the wish that they end, and a node's Ctrl-C; then SIGKILL."""
        assert self.popen.stdin is not None
        if not self.popen.stdin.closed:
            try:
                self.popen.stdin.close()
            except BrokenPipeError:
                pass
        for seconds, end in ((0.3, self.popen.terminate), (5, self.popen.kill)):
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                end()
        self._finish()

    def _finish(self) -> None:
        self.popen.wait()
        self._thread.join()
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass


class Host:
    """One of the two machines.

    Attributes:
        name: its host name, as in "ALPHA (cam)".
        address: its IP address.
    """

    def __init__(self, name: str, address: str, enter: list[str], config: Path) -> None:
        self.name = name
        self.address = address
        self._enter = enter
        self._config = config
        self._processes: list[Process] = []

    def run(self, *command: str) -> str:
        """What `command` prints, run to its end here."""
        return subprocess.run([*self._enter, *command], check=True, capture_output=True, text=True).stdout

    def start(self, *command: str, **env: str) -> Process:
        """Start `command` here; it is ended with the test."""
        environment = {**os.environ, "NDI_CONFIG_DIR": str(self._config), "PYTHONPATH": str(HERE.parent), **env}
        process = Process([*self._enter, *command], environment)
        self._processes.append(process)
        return process

    def sender(self, name: str, *more: str, **settings: object) -> Process:
        """An ndi-python sender; see ``ndi_peers.py send --help``. Pictures carry a counter."""
        return self.start(sys.executable, str(PEERS), "send", name, *more, *_options(settings))

    def receiver(self, name: str, **settings: object) -> Process:
        """An ndi-python receiver that reports every picture; see ``ndi_peers.py receive --help``."""
        return self.start(sys.executable, str(PEERS), "receive", name, *_options(settings))

    def end_all(self) -> None:
        for process in self._processes:
            process.close()
        self._processes.clear()


class Hosts:
    """Two hosts, `a` ("ALPHA") and `b` ("BETA")."""

    def __init__(self, a: Host, b: Host) -> None:
        self.a = a
        self.b = b


def _options(settings: dict[str, object]) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


_HOLD = "import socket, sys; socket.sethostname(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"


class _Namespaces:
    """Two network namespaces with a cable between them, each held by a process that ends when we do."""

    def __init__(self) -> None:
        for tool in ("unshare", "nsenter", "ip"):
            if shutil.which(tool) is None:
                raise OSError(f"{tool} is missing")
        self._holders: list[subprocess.Popen[str]] = []
        root = os.geteuid() == 0
        first = self._hold(["unshare", *([] if root else ["--user", "--map-root-user"])], "ALPHA")
        inside = ["nsenter", *([] if root else ["--preserve-credentials", "-U"]), "-t", str(first)]
        second = self._hold([*([] if root else inside), "unshare"], "BETA")
        self.enter = [[*inside[:-1], str(pid), "-n", "-u"] for pid in (first, second)]
        self._inside(0, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(second))
        for side in (0, 1):
            self._inside(side, "ip", "address", "add", f"10.77.0.{side + 1}/24", "dev", "cable")
            self._inside(side, "ip", "link", "set", "cable", "up")
            self._inside(side, "ip", "link", "set", "lo", "up")
            # a dead sender's port is free at once, not after a minute in TIME_WAIT
            self._inside(side, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets")

    def _hold(self, unshare: list[str], name: str) -> int:
        command = [*unshare, "--net", "--uts", sys.executable, "-c", _HOLD, name]
        holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        said = holder.stdout.readline().strip()
        if said != "ready":
            self.close()
            raise OSError(said or "unshare failed")
        return holder.pid

    def _inside(self, side: int, *command: str) -> None:
        done = subprocess.run([*self.enter[side], *command], capture_output=True, text=True, check=False)
        if done.returncode:
            self.close()
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")

    def close(self) -> None:
        for holder in self._holders:
            holder.communicate()


@pytest.fixture(scope="session")
def _ndi_machines() -> Iterator[Hosts]:
    try:
        namespaces = _Namespaces()
    except OSError as err:
        pytest.skip(f"no network namespaces for two NDI hosts here: {err}")
    with tempfile.TemporaryDirectory() as folder:
        hosts = []
        for side, name in enumerate(("ALPHA", "BETA")):
            config = Path(folder) / name
            config.mkdir()
            ips = {"ndi": {"networks": {"ips": f"10.77.0.{2 - side}"}}}
            (config / "ndi-config.v1.json").write_text(json.dumps(ips))
            hosts.append(Host(name, f"10.77.0.{side + 1}", namespaces.enter[side], config))
        yield Hosts(*hosts)
    namespaces.close()


@pytest.fixture
def ndi_hosts(_ndi_machines: Hosts) -> Iterator[Hosts]:
    """Two hosts for this test; what it started on them is ended with it."""
    pytest.importorskip("NDIlib", reason="the independent NDI peer is missing: pip install ndi-python")
    yield _ndi_machines
    _ndi_machines.a.end_all()
    _ndi_machines.b.end_all()
