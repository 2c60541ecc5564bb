"""The OSC server over real sockets: liblo's command-line tools and python-osc's packets are the surfaces."""

import logging
import random
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from l2s_node.control.osc import OscServer
from l2s_node.control.packet import read_packet
from l2s_node.control.presets import Presets, preset_commands
from l2s_node.control.report import Report, Reports
from l2s_node.errors import ControlError
from l2s_node.params import KNOBS, Board, Params

WORLDS = ("clouds", "fire", "flowers")
liblo = pytest.mark.skipif(shutil.which("oscsend") is None, reason="oscsend is not installed (apt install liblo-tools)")


@pytest.fixture
def board():
    return Board()


@contextmanager
def serving(board, reports=None, **options):
    server = OscServer(board, reports or Reports(), port=0, worlds=lambda: WORLDS, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server(board):
    with serving(board) as server:
        yield server


class Surface:
    """A UDP port on this machine that sees what it is sent."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()

    def send(self, server, address, *args):
        self.socket.sendto(message(address, *args).dgram, server.address)

    def heard(self, address, timeout=3.0):
        """The arguments of the next message to `address`; None when none comes."""
        return next((args for got, args in self.everything(timeout) if got == address), None)

    def everything(self, timeout):
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                yield from read_packet(self.socket.recv(65536))
            except TimeoutError:
                return


@pytest.fixture
def surface():
    surface = Surface()
    yield surface
    surface.socket.close()


def message(address, *args):
    builder = OscMessageBuilder(address)
    for arg in args:
        builder.add_arg(arg)
    return builder.build()


def bundle(*messages, when=IMMEDIATELY):
    builder = OscBundleBuilder(when)
    for content in messages:
        builder.add_content(content)
    return builder.build()


def send(server, address, *args):
    """One message, made by python-osc, from a socket of its own."""
    send_packet(server, message(address, *args))


def send_packet(server, packet):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(packet.dgram, server.address)


def until(condition, timeout=5.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def settled(server, board):
    """Wait until everything sent so far has been read: messages are read in order."""
    mark = random.random()
    send(server, "/l2s/crossfade", mark)
    until(lambda: board.get("crossfade") == pytest.approx(mark, abs=1e-6))


# turning knobs


@liblo
@pytest.mark.parametrize(
    ("address", "types", "text", "knob", "value"),
    [
        ("/l2s/mix", "f", "0.25", "mix", 0.25),
        ("/l2s/mix", "d", "0.75", "mix", 0.75),
        ("/l2s/mix", "i", "7", "mix", 1.0),
        ("/l2s/mix", "h", "-7", "mix", 0.0),
        ("/l2s/detail", "s", "32", "detail", 32.0),
        ("/l2s/detail", "S", "1e9", "detail", 64.0),
        ("/l2s/invert", "T", None, "invert", True),
        ("/l2s/invert", "f", "1.0", "invert", True),
        ("/l2s/blend", "s", "Screen", "blend", "screen"),
        ("/l2s/blend", "f", "1.0", "blend", "add"),
        ("/l2s/size", "i", "99", "size", "large"),
        ("/l2s/world", "s", "clouds", "world", "clouds"),
        ("/l2s/world", "f", "1.0", "world", "fire"),
        ("/L2S/Mix", "f", "0.5", "mix", 0.5),
    ],
)
def test_knobs_turned_by_liblo(server, board, address, types, text, knob, value):
    host, port = server.address
    subprocess.run(["oscsend", host, str(port), address, types, *([text] if text else [])], check=True)
    until(lambda: board.get(knob) == value)


@liblo
def test_false_from_liblo(server, board):
    board.set({"invert": True})
    subprocess.run(["oscsend", "127.0.0.1", str(server.address[1]), "/l2s/invert", "F"], check=True)
    until(lambda: board.get("invert") is False)


def test_a_pattern_turns_several_knobs(server, board):
    send(server, "/l2s/{mix,fade}", 0.5)
    until(lambda: (board.get("mix"), board.get("fade")) == (0.5, 0.5))


def test_another_prefix(board):
    with serving(board, prefix="stage/left 2") as server:
        send(server, "/stage_left_2/mix", 0.5)
        until(lambda: board.get("mix") == 0.5)


def test_values_that_cannot_be_read_turn_nothing_and_are_told_once(server, board, caplog):
    for _ in range(3):
        for bad in ("much", "nan", None, b"blob"):
            send(server, "/l2s/mix", bad)
        send(server, "/l2s/blend", "sceen")
        send(server, "/l2s/world", "../../etc/passwd")
        send(server, "/l2s/world", "flower")
        send(server, "/l2s/status/fps", 3.0)
    settled(server, board)
    assert board.snapshot() == Params(crossfade=board.get("crossfade"))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(set(told)) == 8
    assert any("sceen" in text and "did you mean screen?" in text for text in told)
    assert any("'flower'" in text and "clouds, fire, flowers" in text for text in told)


def test_unknown_addresses_are_told_once_with_the_nearest_name(server, board, caplog):
    for _ in range(5):
        send(server, "/l2s/sturation", 1.0)
        send(server, "/mix", 1.0)
        send(server, "/l2s/{nothing,like}", 1.0)
    settled(server, board)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert "/l2s/sturation" in told[0] and told[0].endswith("did you mean /l2s/saturation?")
    assert "did you mean /l2s/mix?" in told[1]


def test_thousands_of_unknown_addresses_neither_fill_the_log_nor_stop_the_knobs(server, board, caplog):
    for number in range(2_000):
        send(server, f"/nobody/{number}", 1)
        if number % 100 == 0:
            settled(server, board)
    assert 100 <= len(caplog.records) <= 102


# bundles


def test_a_bundle_is_applied_in_one_step_whatever_its_time_tag(server, board):
    before = board.revision
    send_packet(server, bundle(message("/l2s/mix", 0.5), bundle(message("/l2s/fade", 0.5)), when=time.time() + 3600))
    until(lambda: board.revision > before)
    assert (board.get("mix"), board.get("fade"), board.revision) == (0.5, 0.5, before + 1)


def test_a_frame_never_sees_half_a_bundle(server, board):
    seen, stop = set(), threading.Event()

    def frames():
        while not stop.is_set():
            snapshot = board.snapshot()
            seen.add((snapshot.pan_x, snapshot.pan_y))
            time.sleep(0)

    watcher = threading.Thread(target=frames)
    watcher.start()
    for step in range(300):
        value = (step % 20) / 20
        send_packet(server, bundle(message("/l2s/pan_x", value), message("/l2s/pan_y", value)))
    settled(server, board)
    stop.set()
    watcher.join()
    assert all(x == y for x, y in seen)


def test_a_bundle_with_one_bad_value_turns_nothing(server, board, caplog):
    send_packet(server, bundle(message("/l2s/mix", 0.5), message("/l2s/blend", "sceen")))
    settled(server, board)
    assert board.get("mix") == 1.0
    assert "sceen" in caplog.text


def test_what_is_meant_for_others_does_not_spoil_a_bundle(server, board):
    send_packet(server, bundle(message("/other/thing", 1), message("/l2s/mix", 0.5)))
    until(lambda: board.get("mix") == 0.5)


def test_packets_over_eight_kilobytes_are_read_whole(server, board):
    many = [message("/l2s/fade", 0.25)] * 2000
    packet = bundle(*many, message("/l2s/mix", 0.5))
    assert 8192 < packet.size < 65_507
    send_packet(server, packet)
    until(lambda: board.get("mix") == 0.5)


def test_a_burst_ends_with_the_newest_value(server, board, surface):
    for step in range(3000):
        surface.send(server, "/l2s/mix", (step % 1000) / 1000)
        if step % 500 == 499:  # no more than a socket's buffer holds at once
            settled(server, board)
    assert board.get("mix") == pytest.approx(0.999)


def test_noise_never_kills_the_thread(server, board, caplog):
    caplog.set_level(logging.CRITICAL)
    rng = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for step in range(3000):
            head = rng.choice([b"", b"/", b"#bundle\0", b"/l2s/mix\0\0\0\0,", b"/l2s/preset\0,s\0\0", b"/l2s/*"])
            noise.sendto(head + rng.randbytes(rng.randrange(80)), server.address)
            if step % 300 == 299:
                settled(server, board)
        noise.sendto(b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfc", server.address)  # python-osc never returns from it
        noise.sendto(rng.randbytes(60_000), server.address)
        noise.sendto(b"", server.address)
    settled(server, board)


# asking


@pytest.mark.parametrize("args", [(), ("?",)])
def test_the_sender_is_answered(server, board, surface, args):
    board.set({"mix": 0.5, "blend": "screen", "invert": True})
    for name, value in (("mix", 0.5), ("blend", "screen"), ("invert", 1)):
        surface.send(server, f"/l2s/{name}", *args)
        assert surface.heard(f"/l2s/{name}") == [value]


def test_one_question_for_everything(server, surface):
    surface.send(server, "/l2s/*", "?")
    heard = {}
    for address, args in surface.everything(3.0):
        heard[address] = args[0]
        if len(heard) == len(KNOBS):
            break
    assert heard.keys() == {f"/l2s/{knob.name}" for knob in KNOBS}
    surface.send(server, "/l2s/worlds")
    assert surface.heard("/l2s/worlds") == list(WORLDS)


def test_the_answer_comes_after_the_knobs_of_its_own_bundle(server, surface):
    surface.socket.sendto(bundle(message("/l2s/mix", "?"), message("/l2s/mix", 0.5)).dgram, server.address)
    assert surface.heard("/l2s/mix") == [0.5]


# state


@liblo
def test_state_reaches_oscdump_as_one_number_or_one_text_per_address(board):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reports = Reports(Report(fps=29.97, heartbeat=12, state="connected", source="ndi:HOST (cam)", world="flowers"))
    dump = subprocess.Popen(["oscdump", "-L", str(port)], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(line.split(maxsplit=3)[1:] for line in dump.stdout))
    reader.start()
    with serving(board, reports, feedback=("localhost", port)):
        until(lambda: sum(line[0] == "/l2s/status/engine" for line in lines) >= 3)
        board.set({"blend": "screen"})
        until(lambda: any("screen" in line[-1] for line in lines))
    dump.kill()
    dump.wait()
    reader.join()
    dump.stdout.close()
    heard = [" ".join(line).strip() for line in lines]
    assert "/l2s/status/fps f 29.969999" in heard
    assert "/l2s/status/heartbeat f 12.000000" in heard
    assert '/l2s/status/source s "ndi:HOST (cam)"' in heard
    assert '/l2s/blend s "screen"' in heard


def test_state_goes_out_ten_times_a_second_with_what_is_newest(board, surface):
    reports = Reports()
    with serving(board, reports, feedback=surface.address):
        beats = []
        for address, args in surface.everything(1.55):
            if address == "/l2s/status/heartbeat":
                beats += args
                reports.set(Report(heartbeat=len(beats)))
    assert 5 <= len(beats) <= 16
    assert beats == sorted(set(beats))


def test_a_surface_hears_what_others_turn_but_never_its_own_fader(board, surface):
    with serving(board, feedback=surface.address) as server:
        assert surface.heard(f"/l2s/{KNOBS[-1].name}") == [KNOBS[-1].default]  # everything once, at the start
        surface.send(server, "/l2s/mix", 0.5)
        until(lambda: board.get("mix") == 0.5)
        board.set({"fade": 0.25}, origin="192.0.2.7")
        heard = []
        for address, args in surface.everything(0.5):
            if "status" not in address:
                heard.append((address, args))
        assert heard == [("/l2s/fade", [0.25])]
        surface.send(server, "/l2s/refresh", 1)
        assert surface.heard("/l2s/mix") == [0.5]


def test_a_flood_does_not_silence_the_state(board, surface):
    with serving(board, feedback=surface.address) as server:
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                surface.send(server, "/l2s/mix", 0.5)

        flooding = threading.Thread(target=flood)
        flooding.start()
        beats = sum(address == "/l2s/status/heartbeat" for address, _ in surface.everything(1.0))
        stop.set()
        flooding.join()
    assert beats >= 3


def test_nobody_listens_and_the_show_goes_on(board):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    with serving(board, feedback=nobody) as server:
        time.sleep(0.25)
        send(server, "/l2s/mix", 0.5)
        until(lambda: board.get("mix") == 0.5)


def test_a_feedback_name_that_cannot_be_found_is_told(board, caplog):
    with serving(board, feedback=("no-such-host.invalid", 9000)) as server:
        settled(server, board)
    assert "no-such-host.invalid can't be found" in caplog.text


# the port


def test_a_port_in_use_is_one_sentence(server, board):
    with pytest.raises(ControlError, match=f"UDP port {server.address[1]} is in use.*--osc PORT"):
        OscServer(board, Reports(), port=server.address[1])
    assert sum(thread.name == "l2s-osc" for thread in threading.enumerate()) == 1


def test_an_address_of_another_machine_is_one_sentence(board):
    with pytest.raises(ControlError, match=r"UDP 192\.0\.2\.1:0 can't be listened on"):
        OscServer(board, Reports(), host="192.0.2.1", port=0)


def test_close_joins_and_gives_the_port_back(board):
    server = OscServer(board, Reports(), port=0)
    server.close()
    assert "l2s-osc" not in [thread.name for thread in threading.enumerate()]
    OscServer(board, Reports(), port=server.address[1]).close()


# presets over OSC


@pytest.fixture
def stage(board, tmp_path, surface):
    (tmp_path / "ship").mkdir()
    (tmp_path / "ship" / "crisp.toml").write_text("detail = 40\nmix = 1.0\n")
    (tmp_path / "ship" / "dream.toml").write_text('detail = 9\nblend = "screen"\n')
    (tmp_path / "ship" / "wrong.toml").write_text("detial = 9\n")
    presets = Presets([tmp_path / "own", tmp_path / "ship"], lambda: WORLDS)
    with serving(board, feedback=surface.address, commands=preset_commands(presets, board)) as server:
        assert surface.heard("/l2s/upscale") == ["bicubic"]
        yield server


def test_a_preset_is_recalled_and_every_surface_is_told(stage, board, surface):
    surface.send(stage, "/l2s/preset", "dream")
    assert surface.heard("/l2s/detail") == [9.0]
    assert (board.get("detail"), board.get("blend")) == (9.0, "screen")
    surface.send(stage, "/l2s/preset", "?")
    assert surface.heard("/l2s/preset") == ["dream"]
    surface.send(stage, "/l2s/presets")
    assert surface.heard("/l2s/presets") == ["crisp", "dream", "wrong"]


def test_a_bundle_may_recall_and_turn_in_one_step(stage, board):
    before = board.revision
    send_packet(stage, bundle(message("/l2s/preset", "dream"), message("/l2s/detail", 20)))
    until(lambda: board.revision > before)
    assert (board.get("detail"), board.get("blend"), board.revision) == (20.0, "screen", before + 1)


def test_buttons_fire_on_one_and_not_on_zero(stage, board, caplog):
    for _ in range(4):  # crisp, dream, wrong (told, and got past), crisp
        send(stage, "/l2s/preset/next", 1.0)
        send(stage, "/l2s/preset/next", 0.0)
    until(lambda: board.get("detail") == 40.0 and board.get("blend") == "screen")
    assert "wrong.toml" in caplog.text and "did you mean 'detail'?" in caplog.text
    send(stage, "/l2s/preset/previous", True)
    send(stage, "/l2s/preset/previous", 1)
    until(lambda: board.get("detail") == 9.0)
    send(stage, "/l2s/preset", 1)  # the first, by number
    send(stage, "/l2s/preset", 0)
    until(lambda: board.get("detail") == 40.0)


def test_saving_and_reset(stage, board, tmp_path, caplog):
    board.set({"world": "fire", "fade": 0.5})
    send(stage, "/l2s/preset/save", "mine")
    until(lambda: (tmp_path / "own" / "mine.toml").exists())
    send(stage, "/l2s/reset")
    until(lambda: board.get("fade") == 0.0)
    assert board.get("world") == "fire"  # costs a load, so a reset leaves it
    send(stage, "/l2s/preset", "MINE")
    until(lambda: board.get("fade") == 0.5)
    send(stage, "/l2s/preset/save", "../mine")
    settled(stage, board)
    assert "a preset's name has" in caplog.text
    assert [path.name for path in tmp_path.rglob("mine*")] == ["mine.toml"]
