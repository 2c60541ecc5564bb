"""The panel's page in a real browser, which is steered by the Chrome DevTools Protocol."""

import asyncio
import base64
import os
import shutil
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from l2s_node.control.panel import Panel
from l2s_node.control.report import Report, Reports, format_line
from l2s_node.frame import Frame, PixelFormat

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt install chromium)")

PHONE, DESK = (390, 844), (1280, 720)


class Tab:
    """One page of a headless browser."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0

    async def call(self, method, **params):
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async for message in self._socket:
            answer = message.json()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser is gone")

    async def value(self, expression):
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def until(self, expression, timeout=15.0):
        end = time.monotonic() + timeout
        while not (found := await self.value(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"{expression} did not come about: {await self.value('document.body.innerText')}")
            await asyncio.sleep(0.05)
        return found

    async def resize(self, size):
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )

    async def picture(self, name):
        """Keep a picture of the page for whoever wants to look at it (`L2S_SHOTS` names the folder)."""
        if folder := os.environ.get("L2S_SHOTS"):
            shot = await self.call("Page.captureScreenshot", format="png")
            Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browsing(url, profile):
    """A tab that shows `url`."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    process = subprocess.Popen(
        [BROWSER, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = await devtools_port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(tab for tab in await answer.json() if tab["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                yield Tab(socket)
    finally:
        process.terminate()
        process.wait(10)


async def devtools_port(file):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")


class Node:
    """A panel with a frame loop that counts."""

    def __init__(self, port=0):
        self.reports = Reports()
        self.panel = Panel(self.reports, name="stage", port=port)
        self.state, self.runs, self.beats = "connected", True, 0
        self._task = asyncio.create_task(self._loop())

    async def _loop(self):
        x, y = np.meshgrid(np.linspace(0, 255, 640), np.linspace(0, 255, 360))
        rgba = np.stack([x, y, 255 - x, np.full_like(x, 255)], -1).astype(np.uint8)
        while True:
            if self.runs:
                self.beats += 1
                grey = np.repeat(np.roll(rgba, 8 * self.beats, 1)[..., :1], 4, -1)
                pair = (Frame((p,), PixelFormat.RGBA, 640, 360, 0.0, self.beats) for p in (grey, rgba))
                self.panel.show(*pair)
                self.reports.set(
                    Report(fps=29.97, step_ms=8.2, average_ms=8.46, latency_ms=11.8, dropped=3, heartbeat=self.beats,
                           state=self.state, source="ndi:STUDIO (cam)", world="flowers", size="small",
                           engine="openvino bf16")
                )  # fmt: skip
            await asyncio.sleep(0.03)

    async def close(self):
        self._task.cancel()
        await asyncio.to_thread(self.panel.close)


PLAYS = """document.images.length === 2 && [...document.images].every(i => !i.hidden && i.naturalWidth === 640 && i.src)
           && document.querySelectorAll('.noted').length === 0"""
SIDE_BY_SIDE = """(() => { const [a, b] = [...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect());
                  return Math.abs(a.top - b.top) < 1 && b.left >= a.right; })()"""
FITS = "document.documentElement.scrollWidth <= innerWidth"


async def watch(profile):
    node = Node()
    port = node.panel.address[1]
    async with browsing(f"http://localhost:{port}/", profile) as tab:
        await tab.resize(DESK)
        await tab.until(PLAYS)
        assert await tab.value("document.title") == "stage"
        titles = await tab.value("[...document.querySelectorAll('#line span')].map(cell => cell.title).join(' · ')")
        assert titles == format_line(node.reports.get())
        figures = await tab.value("document.getElementById('line').innerText")
        assert "".join(figures.split()).startswith("Step8.2msAverage8.5msFPS30.0Latency11.8msDropped3flowers/small")
        assert await tab.value(SIDE_BY_SIDE) and await tab.value(FITS)
        assert await tab.value("document.getElementById('state').textContent") == "connected"
        await tab.picture("desk")

        await tab.resize(PHONE)
        assert not await tab.value(SIDE_BY_SIDE) and await tab.value(FITS)
        await tab.picture("phone")
        await tab.resize(DESK)

        node.state = "waiting"
        await tab.until("document.body.innerText.includes('Waiting for ndi:STUDIO (cam)')")
        await tab.picture("waiting")

        node.state, node.runs = "connected", False
        await tab.until("document.body.innerText.includes('stands still')")
        await tab.picture("still")

        await node.close()
        await tab.until("document.body.innerText.includes('The node is gone. Reconnecting')")
        await tab.picture("gone")

        node = Node(port)
        await tab.until(PLAYS)
        await tab.until("document.getElementById('state').textContent === 'connected'")
        await tab.picture("back")

        await tab.call("Page.navigate", url="about:blank")
        end = time.monotonic() + 5
        while node.panel.watching and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert node.panel.watching == 0
    await node.close()


def test_the_page_plays_tells_what_is_wrong_and_comes_back(tmp_path):
    asyncio.run(watch(tmp_path))
