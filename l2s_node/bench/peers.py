"""Peers: the original web demo's network in TensorFlow.js, in a real browser, beside ours on the same machine.

TensorFlow.js comes from npm when this is measured, at the versions named here, into ``~/.l2s/cache/npm``; it is no part
of this program and nothing of it is needed to play. The browser is a headless Chromium that is already installed.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from l2s_node.bench import _live
from l2s_node.bench._row import Row, Task, timed, timing
from l2s_node.bench._worlds import OURS, random_world
from l2s_node.bench.frame import Case, steps
from l2s_node.config import demo_clip, home
from l2s_node.errors import EngineError
from l2s_node.models import engines
from l2s_node.models.pix2pix import Classic

METHOD = (
    "the layers of the original web demo's small network with the same random weights on both sides, 256x256, in "
    "TensorFlow.js in headless Chromium without a GPU and in our engine; each call ends when its numbers are there; "
    "the web app's loop is its work written anew (fake camera, shader, read-back, generator, canvas), counted by what "
    "it paints and not by what it says"
)
NEWEST, ORIGINAL = "4.22.0", "2.8.3"
"""Of TensorFlow.js: the newest on npm, and the one that the original demo pins."""
FILES = {
    f"tfjs-{NEWEST}.js": (f"@tensorflow/tfjs@{NEWEST}", "package/dist/tf.min.js"),
    f"tfjs-{ORIGINAL}.js": (f"@tensorflow/tfjs@{ORIGINAL}", "package/dist/tf.min.js"),
    f"wasm-{NEWEST}.js": (f"@tensorflow/tfjs-backend-wasm@{NEWEST}", "package/dist/tf-backend-wasm.min.js"),
    "tfjs-backend-wasm.wasm": (f"@tensorflow/tfjs-backend-wasm@{NEWEST}", "package/dist/tfjs-backend-wasm.wasm"),
    "tfjs-backend-wasm-simd.wasm": (
        f"@tensorflow/tfjs-backend-wasm@{NEWEST}",
        "package/dist/tfjs-backend-wasm-simd.wasm",
    ),
    "tfjs-backend-wasm-threaded-simd.wasm": (
        f"@tensorflow/tfjs-backend-wasm@{NEWEST}",
        "package/dist/tfjs-backend-wasm-threaded-simd.wasm",
    ),
}
"""What the page loads: (package, file in it)."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # only our own page and npm's TensorFlow.js run in it; as root it wouldn't start otherwise
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--no-first-run",
    "--disable-background-networking",
)
PATIENCE = 120.0
"""Seconds beyond the measuring itself that a page may take."""
COMPARED = 30_000
"""So many of the picture's numbers are held against each other."""
SAME = 1e-3
"""How far the two sides' pictures may be apart, of -1…1: else they don't compute the same."""


def rows(task: Task) -> Iterator[Row]:
    """See `Row`.

    Raises:
        EngineError: npm, Chromium or TensorFlow.js is missing, with the remedy; or the two sides paint differently.
    """
    browser = _browser()
    files = _fetched()
    generator, card = random_world("classic", "small")
    assert isinstance(generator, Classic)
    enliven(generator)
    x = torch.rand((1, 1, 256, 256)) * 2 - 1
    with torch.inference_mode():
        picture = generator(x)[0].permute(1, 2, 0).ravel()[:COMPARED].numpy()
    pages = _pages(files, generator, x)
    engine, _ = engines.build("auto", generator, card, (1, 1, 256, 256), task.device)
    with closing(engine):
        ours = timed(lambda: engine(x.to(task.device)).cpu())
    name = f"the web demo's small network, {engine.name} {engine.precision}"
    best: list[float] = []
    for backend in ("wasm", "cpu"):
        answer = _asked(browser, pages, task, NEWEST, backend, "calls", 5.0)
        apart = float(np.abs(np.array(answer["picture"]) - picture).max())
        if not apart < SAME:
            raise EngineError(f"TensorFlow.js {NEWEST} on {backend} paints another picture: {apart:.2g} apart")
        times = answer["times"]
        yield timing(name, ours, f"TensorFlow.js {NEWEST} {backend}", times, note=f"pictures {apart:.1g} apart")
        best = min(best or times, times, key=statistics.median)
    step, what, canvas = steps(Case(OURS, "small", (1280, 720)), task.device, "auto")
    note = f"{what}, {canvas[0]}x{canvas[1]}, camera to picture; there the network alone"
    yield timing("our small world, whole step at 720p", step, "its fastest backend", best, factor_goal=8.0, note=note)
    yield _against_the_app(browser, pages, task)


def _against_the_app(browser: str, pages: dict[str, bytes], task: Task) -> Row:
    answer = _asked(browser, pages, task, ORIGINAL, "webgl", "loop", max(task.seconds, 10.0))
    theirs = len(answer["times"]) / answer["seconds"]
    options = ("--in", f"file:{demo_clip()}", "--out", "null:", "--fps", "1000", "--output-size", "640x480")
    with _live.live(*options, "--seconds", str(task.seconds)) as node:
        node.process.wait(task.seconds + _live.PATIENCE)
    reached = float(node.summary["fps"])
    note = f"640x480; {node.summary['engine']}"
    return Row("the whole node, file → null:", reached, "FPS", baseline=theirs, against="the web app's loop, painted",
               more=True, factor_goal=25.0, note=note)  # fmt: skip


# --- what is needed --------------------------------------------------------------------------------------------------


def _browser() -> str:
    for name in BROWSERS:
        if (path := shutil.which(name)) is not None:
            return path
    raise EngineError("there is no Chromium to run TensorFlow.js in: install chromium (sudo apt install chromium)")


def _fetched() -> dict[str, bytes]:
    """The files that the page loads, out of the cache or fetched into it by npm."""
    cache = home() / "cache" / "npm"
    found = {}
    for name, (package, member) in FILES.items():
        archive = cache / f"{package.removeprefix('@').replace('/', '-').replace('@', '-')}.tgz"
        if not archive.exists():
            _pack(package, cache)
        with tarfile.open(archive) as tar:
            file = tar.extractfile(member)
            assert file is not None
            found[name] = file.read()
    return found


def _pack(package: str, cache: Path) -> None:
    """Let npm put the package's archive into `cache`; npm itself holds it to the registry's checksum."""
    npm = shutil.which("npm")
    if npm is None:
        raise EngineError("there is no npm to fetch TensorFlow.js with: install Node.js")
    cache.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", package, "--pack-destination", str(cache)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as err:
        raise EngineError(f"npm did not fetch {package} within {PATIENCE:.0f} s") from err
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "ERR" in line or "error" in line), "it failed")
        raise EngineError(f"npm can't fetch {package}: {said}")


# --- the page --------------------------------------------------------------------------------------------------------


def _pages(files: dict[str, bytes], generator: Classic, x: Tensor) -> dict[str, bytes]:
    """Everything that the browser may ask for, by path."""
    shapes, numbers = exported(generator)
    return {
        **files,
        "": (Path(__file__).parent / "_peers.html").read_bytes(),
        "weights.json": json.dumps(shapes).encode(),
        "weights.bin": numbers.tobytes(),
        "input.bin": x.numpy().astype("<f4").tobytes(),
    }


def exported(generator: Classic) -> tuple[dict[str, Any], np.ndarray]:
    """(shapes of the layers' tensors in the page's order, their numbers as float32 one after the other).

    Kernels are laid out as TensorFlow has them: (height, width, in, out), and (height, width, out, in) transposed.
    """
    numbers: list[np.ndarray] = []

    def put(**tensors: Tensor) -> dict[str, list[int]]:
        for tensor in tensors.values():
            numbers.append(tensor.detach().contiguous().numpy().astype("<f4").ravel())
        return {name: list(tensor.shape) for name, tensor in tensors.items()}

    downs = []
    for down in generator.downs:
        kernel = down.conv.weight.permute(2, 3, 1, 0)  # type: ignore[union-attr, operator]
        if isinstance(down.norm, nn.BatchNorm2d):
            scale, offset = _as_product(down.norm)
            downs.append(put(kernel=kernel * scale, bias=offset))
        else:
            downs.append(put(kernel=kernel))
    ups = []
    for up in generator.ups:
        scale, offset = _as_product(up.norm)  # type: ignore[arg-type]
        ups.append(put(kernel=up.conv.weight.permute(2, 3, 1, 0), scale=scale, offset=offset))  # type: ignore[union-attr, operator]
    assert generator.head.bias is not None
    head = put(kernel=generator.head.weight.permute(2, 3, 1, 0), bias=generator.head.bias)
    return {"downs": downs, "ups": ups, "head": head}, np.concatenate(numbers)


def enliven(generator: Classic) -> None:
    """Draw its numbers so that the picture has the full range and each of them counts (He et al. 2015)."""
    torch.manual_seed(1)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, 0.3)
        elif isinstance(module, nn.ConvTranspose2d):  # each result is the sum over a quarter of the kernel
            nn.init.normal_(module.weight, 0.0, (2 / (4 * module.weight.shape[0])) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0.0, 0.1)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)


def _as_product(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(scale, offset) of a norm that only plays."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _asked(
    browser: str, pages: dict[str, bytes], task: Task, tfjs: str, backend: str, job: str, seconds: float
) -> dict[str, Any]:
    """What the page answers.

    Raises:
        EngineError: it failed, answered nothing, or TensorFlow.js took another backend.
    """
    what = f"TensorFlow.js {tfjs} on {backend}"
    with _served(pages) as (port, answers), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{port}/?tfjs={tfjs}&backend={backend}&job={job}&seconds={seconds}"
        command = [browser, *FLAGS, f"--user-data-dir={profile}", address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answer = answers.get(timeout=seconds + PATIENCE)
        except Empty as err:
            raise EngineError(f"{what} answered nothing within {seconds + PATIENCE:.0f} s") from err
        finally:
            task.elsewhere.append(_ended(process))
    if "error" in answer or answer.get("backend") != backend:
        raise EngineError(f"{what} fails: {answer.get('error') or 'it took ' + str(answer.get('backend'))}")
    return answer


def _ended(process: subprocess.Popen[bytes]) -> float:
    """End the browser with all that it started; seconds of processor time of those that it can't report for us."""
    spent, family = 0.0, psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for each in family:
        try:
            times = each.cpu_times()
            spent += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    process.kill()
    process.wait()
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=5)
    return spent


@contextmanager
def _served(pages: dict[str, bytes]) -> Iterator[tuple[int, Queue[dict[str, Any]]]]:
    """(port of a server of `pages` on loopback, what was posted to it)."""
    answers: Queue[dict[str, Any]] = Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(pages, answers.put))
    thread = threading.Thread(target=server.serve_forever, name="l2s-peers")
    thread.start()
    try:
        yield server.server_address[1], answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


KINDS = {"": "text/html", ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"}


def _handler(pages: dict[str, bytes], answer: Callable[[dict[str, Any]], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].lstrip("/")
            body = pages.get(path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", KINDS.get(Path(path).suffix, "application/octet-stream"))
            # both let the page have threads, where TensorFlow.js takes them
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            answer(json.loads(body))

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler
