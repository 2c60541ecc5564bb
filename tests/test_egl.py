"""EGL: contexts that go from thread to thread, and the GPU that they are on. One device is all that there is here."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import threading

import pytest

from l2s_node import egl, texture
from l2s_node.texture import Target, TextureError

REASON = texture.missing() if texture.EGL else "EGL is Linux's"
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no EGL: {REASON}")


def test_cudas_gpu_goes_first_and_the_others_keep_their_order() -> None:
    uuids = {11: b"a" * 16, 12: None, 13: b"c" * 16, 14: b"d" * 16}
    assert egl.in_order(uuids, b"c" * 16) == [13, 11, 12, 14]
    assert egl.in_order(uuids, b"x" * 16) == [11, 12, 13, 14]


def test_with_one_device_cuda_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    first = egl.EGL().devices()[:1]
    monkeypatch.setattr(egl.EGL, "devices", lambda self: first)
    monkeypatch.setattr(egl, "cuda_uuid", lambda: pytest.fail("asked"))
    texture.gl()
    texture.close()


def test_where_none_matches_it_is_one_sentence_and_there_is_a_context(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = egl.EGL().devices()[:1]
    monkeypatch.setattr(egl.EGL, "devices", lambda self: first * 2)
    monkeypatch.setattr(egl, "cuda_uuid", lambda: b"x" * 16)
    with caplog.at_level(logging.WARNING):
        assert texture.gl().renderer
    texture.close()
    assert [record.getMessage() for record in caplog.records if "CUDA" in record.getMessage()] == [
        "EGL doesn't say which GPU is CUDA's; if it is another one, textures go through host memory"
    ]


def test_the_device_says_what_it_is_or_nothing() -> None:
    library = egl.EGL()
    for device in library.devices():
        uuid = library.uuid(device)
        assert uuid is None or len(uuid) == 16


def test_a_context_goes_to_another_thread_with_what_was_made_in_it() -> None:
    made: list[tuple[texture.GL, Target]] = []

    def make() -> None:
        gl = texture.beside()
        assert gl is not None
        target = Target(gl, (4, 4))
        target.clear((1.0, 0.0, 0.0, 1.0))
        gl.leave()
        made.append((gl, target))

    thread = threading.Thread(target=make, name="l2s-test")
    thread.start()
    thread.join()
    gl, target = made[0]
    assert not texture.exists() and texture.hand_in(gl) and texture.gl() is gl
    assert (target.read()[..., 0] == 255).all()
    other = texture.beside()
    assert other is not None and not texture.hand_in(other)
    other.close()
    texture.gl()
    texture.close()


def test_without_the_library_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise OSError(f"{name}: cannot open")

    monkeypatch.setattr(egl.ctypes, "CDLL", nothing)
    with pytest.raises(TextureError, match=r"libEGL.*apt install"):
        texture.gl()


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton: torch for CUDA brings it")
def test_triton_can_be_imported_after_mesa() -> None:
    code = "from l2s_node import texture; print(texture.gl().renderer); import triton; print('both')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("both\n"), done.stderr[-1000:]
