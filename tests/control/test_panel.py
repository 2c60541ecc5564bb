"""The panel over real sockets: streams, state, what is refused, and what a slow client may not do."""

import http.client
import io
import json
import socket
import threading
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
from PIL import Image

from l2s_node.control import panel as panel_module
from l2s_node.control.jpeg import encode, thin, yuv_to_rgb
from l2s_node.control.panel import MAX_STREAMS, Panel, is_own_name
from l2s_node.control.report import Report, Reports, format_line
from l2s_node.errors import ControlError
from l2s_node.frame import Frame, PixelFormat, blank, plane_shapes

RED, GREEN, BLUE, GREY, ORANGE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (240, 150, 30)


def yuv(rgb, width, height):
    """`rgb` as Y, U, V bytes, by the equations of BT.601-7 §2.5 and BT.709-6 item 3."""
    kr, kb = (0.299, 0.114) if width <= 720 and height <= 576 else (0.2126, 0.0722)
    r, g, b = (x / 255 for x in rgb)
    luma = kr * r + (1 - kr - kb) * g + kb * b
    return round(16 + 219 * luma), round(128 + 112 * (b - luma) / (1 - kb)), round(128 + 112 * (r - luma) / (1 - kr))


def painted(fmt, width, height, left, right):
    """A frame whose left and right halves are of one colour each, in rows padded like a sender's."""
    planes = []
    for shape in plane_shapes(fmt, width, height):
        planes.append(np.zeros((shape[0] + 1, shape[1] + 64, *shape[2:]), np.uint8)[: shape[0], : shape[1]])
    for rgb, half in ((left, slice(None, width // 2)), (right, slice(width // 2, None))):
        paint(planes, fmt, half, rgb, yuv(rgb, width, height))
    return Frame(tuple(planes), fmt, width, height, time.monotonic(), 0)


def paint(planes, fmt, half, rgb, yuv):
    first = planes[0]
    y, u, v = yuv
    chroma = slice(half.start and half.start // 2, half.stop and half.stop // 2)
    if fmt.is_rgb:
        first[:, half] = (*(rgb[::-1] if fmt.value.startswith("BGR") else rgb), 255)
    elif fmt in (PixelFormat.UYVY, PixelFormat.UYVA):
        for offset, value in enumerate((u, y, v, y)):
            first[:, offset::4][:, chroma] = value
    else:
        first[:, half] = y
        us, vs = planes[1:] if fmt is PixelFormat.I420 else (planes[1][:, 0::2], planes[1][:, 1::2])
        us[:, chroma], vs[:, chroma] = u, v


def opened(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


# pictures


@pytest.mark.parametrize("fmt", PixelFormat, ids=lambda fmt: fmt.value)
@pytest.mark.parametrize("size", [(1920, 1080), (720, 576), (100, 75)], ids=str)
@pytest.mark.parametrize("colours", [(RED, BLUE), (GREEN, ORANGE), (GREY, (0, 0, 0))], ids=str)
def test_every_format_keeps_its_colours(fmt, size, colours):
    seen = opened(encode(thin(painted(fmt, *size, *colours))))
    for colour, x in zip(colours, (0.25, 0.75), strict=True):
        found = seen[seen.shape[0] // 2, int(seen.shape[1] * x)]
        assert np.abs(found.astype(int) - colour).max() <= 6


@pytest.mark.parametrize("size", [(720, 576), (1280, 720)])
def test_the_matrix_is_that_of_the_composed_picture(size):
    colour, torch = pytest.importorskip("l2s_node.picture.colour"), pytest.importorskip("torch")
    yuv = np.random.default_rng(0).integers(16, 236, (3, 20, 20)).astype(np.float32)
    theirs = colour.yuv_to_rgb(torch.from_numpy(yuv), colour.standard_for(*size)).numpy()
    matrix = np.array(yuv_to_rgb(*size)).reshape(3, 4)
    ours = (matrix[:, :3] @ yuv.reshape(3, -1) + matrix[:, 3:]).reshape(yuv.shape) / 255
    np.testing.assert_allclose(ours.clip(0, 1), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1920, 1080), (640, 360)),
        ((3840, 2160), (640, 360)),
        ((320, 240), (320, 240)),
        ((1080, 1920), (405, 720)),
        ((2, 2), (2, 2)),
        ((5000, 2), (640, 1)),
    ],
)
def test_previews_keep_their_shape(size, small):
    frame = Frame(blank(PixelFormat.UYVY, *size), PixelFormat.UYVY, *size, 0.0, 0)
    assert opened(encode(thin(frame))).shape == (small[1], small[0], 3)


def test_the_top_row_is_on_top():
    frame = painted(PixelFormat.RGBA, 640, 360, GREY, GREY)
    frame.planes[0][:20] = 255
    seen = opened(encode(thin(frame)))
    assert seen[5].min() > 250 and abs(int(seen[-5].mean()) - 128) < 4


# serving


@contextmanager
def serving(reports=None, **options):
    panel = Panel(reports or Reports(), port=0, **options)
    try:
        yield panel
    finally:
        panel.close()


@pytest.fixture
def panel():
    with serving() as panel:
        yield panel


def get(panel, path, method="GET", **headers):
    with closing(http.client.HTTPConnection(*panel.address, timeout=5)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@contextmanager
def stream(panel, which):
    with closing(http.client.HTTPConnection(*panel.address, timeout=5)) as connection:
        connection.request("GET", f"/stream/{which}")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        with answer:
            yield answer


def parts(answer):
    """The pictures of a stream as they come."""
    while (boundary := answer.readline()) == b"--frame\r\n":
        length = 0
        while (line := answer.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            length = int(value) if name == "Content-Length" else length
        yield opened(answer.read(length))
        assert answer.readline() == b"\r\n"
    assert boundary == b""


@contextmanager
def showing(panel, frames, every=0.005):
    """A frame loop that shows `frames()` again and again."""
    stop = threading.Event()

    def loop():
        while not stop.is_set():
            panel.show(*frames())
            time.sleep(every)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def halves(left, right):
    frame = painted(PixelFormat.UYVY, 320, 180, left, right)
    return lambda: (frame, frame)


def test_both_streams_show_what_was_shown(panel):
    red = painted(PixelFormat.UYVY, 1280, 720, RED, RED)
    blue = painted(PixelFormat.BGRA, 640, 480, BLUE, BLUE)
    with showing(panel, lambda: (red, blue)), stream(panel, "input") as one, stream(panel, "output") as other:
        seen, other_seen = next(parts(one)), next(parts(other))
    assert seen.shape == (360, 640, 3) and np.abs(seen.reshape(-1, 3).mean(0) - RED).max() < 5
    assert other_seen.shape == (480, 640, 3) and np.abs(other_seen.reshape(-1, 3).mean(0) - BLUE).max() < 5


def test_a_source_that_is_absent_leaves_the_output_alone(panel):
    frame = painted(PixelFormat.UYVY, 320, 180, GREEN, GREEN)
    with showing(panel, lambda: (None, frame)), stream(panel, "input"), stream(panel, "output") as answer:
        assert next(parts(answer)).shape == (180, 320, 3)


def test_a_whole_frame_loop_costs_a_client_twelve_pictures_a_second(panel):
    with showing(panel, halves(RED, BLUE)), stream(panel, "output") as answer:
        pictures = parts(answer)
        next(pictures)
        start = time.monotonic()
        for _ in range(10):
            next(pictures)
        assert time.monotonic() - start > 9 / 12 - 0.1


def test_nobody_is_shown_an_old_picture(panel):
    with showing(panel, halves(RED, RED)):
        with stream(panel, "output") as answer:
            next(parts(answer))
        until(lambda: panel.watching == 0)  # noticed with the next picture
    with stream(panel, "output") as answer:
        until(lambda: panel.watching == 1)
        time.sleep(0.1)  # longer than between two pictures
        panel.show(*halves(BLUE, BLUE)())
        assert next(parts(answer))[90, 160].argmax() == 2


def until(condition, timeout=5.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def test_a_client_that_hangs_is_let_go_and_holds_up_nobody(panel, monkeypatch):
    monkeypatch.setattr(panel_module, "PATIENCE", 0.5)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (720, 2560), np.uint8) for _ in range(4)]

    def frames():
        frame = Frame((noise[rng.integers(4)],), PixelFormat.UYVY, 1280, 720, 0.0, 0)
        return frame, frame

    hanging = socket.create_connection(panel.address)
    hanging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    hanging.sendall(b"GET /stream/output HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with closing(hanging), showing(panel, frames), stream(panel, "output") as answer:
        until(lambda: panel.watching == 2)
        pictures = parts(answer)
        end = time.monotonic() + 10
        while panel.watching == 2:
            assert next(pictures).shape == (360, 640, 3)
            assert time.monotonic() < end
        assert next(pictures).shape == (360, 640, 3)


def test_there_is_an_end_to_streams(panel):
    clients = [socket.create_connection(panel.address) for _ in range(MAX_STREAMS)]
    for client in clients:
        client.sendall(b"GET /stream/output HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    assert get(panel, "/stream/input")[0] == 503
    assert get(panel, "/status.json")[0] == 200
    for client in clients:
        client.close()


def test_the_state_as_json():
    report = Report(fps=30, step_ms=8.2, state="connected", source="ndi:HOST (cam)", world="flowers")
    with serving(Reports(report), name="stage-left") as panel:
        status, headers, body = get(panel, "/status.json")
    told = json.loads(body)
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert {name: told[name] for name in report.items()} == report.items()
    assert (told["name"], told["line"]) == ("stage-left", format_line(report))


def test_the_page_needs_nothing_from_elsewhere(panel):
    for path, kind in {"/": "text/html", "/panel.css": "text/css", "/panel.js": "text/javascript"}.items():
        status, headers, body = get(panel, path)
        assert (status, headers.get_content_type()) == (200, kind)
        assert b"http://" not in body and b"https://" not in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "aiohttp" not in headers["Server"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/panel.py", 404),
        ("GET", "/stream/secret", 404),
        ("POST", "/", 405),
        ("PUT", "/status.json", 405),
        ("DELETE", "/stream/input", 405),
        ("HEAD", "/stream/input", 405),
    ],
)
def test_nothing_but_get_of_what_is_there(panel, method, path, status):
    assert get(panel, path, method)[0] == status


def test_another_sites_name_is_refused(panel):
    assert get(panel, "/status.json", Host="attacker.example")[0] == 403
    assert get(panel, "/stream/output", Host=f"attacker.example:{panel.address[1]}")[0] == 403
    assert get(panel, "/status.json", Host=f"localhost:{panel.address[1]}")[0] == 200


@pytest.mark.parametrize(
    ("host", "at_home", "in_lan"),
    [
        ("127.0.0.1:7480", True, True),
        ("[::1]:7480", True, True),
        ("localhost", True, True),
        ("", True, True),
        ("192.168.1.20:7480", False, True),
        ("stage-pc:7480", False, True),
        ("stage-pc.local", False, True),
        ("attacker.example", False, False),
        ("localhost.attacker.example", False, False),
        ("127.0.0.1.attacker.example", False, False),
        ("[::1", False, False),
    ],
)
def test_names_of_this_machine(host, at_home, in_lan):
    assert (is_own_name(host, lan=False), is_own_name(host, lan=True)) == (at_home, in_lan)


def test_noise_does_not_stop_the_panel(panel):
    rng = np.random.default_rng(3)
    for _ in range(50):
        with closing(socket.create_connection(panel.address)) as noise:
            noise.sendall(rng.bytes(rng.integers(1, 200)) + b"\r\n\r\n")
    assert get(panel, "/status.json")[0] == 200


def test_a_port_in_use_is_one_sentence(panel):
    with pytest.raises(ControlError, match=f"TCP port {panel.address[1]} is in use.*--panel PORT"):
        Panel(Reports(), port=panel.address[1])


def test_close_ends_the_streams_and_gives_the_port_back(panel):
    first = Panel(Reports(), port=0)
    with stream(first, "output") as answer:
        with showing(first, halves(RED, BLUE)):
            next(parts(answer))
        start = time.monotonic()
        first.close()
        assert time.monotonic() - start < 3
        assert sorted(t.name for t in threading.enumerate() if t.name.startswith("l2s")) == ["l2s-http", "l2s-jpeg"]
        Panel(Reports(), port=first.address[1]).close()
