"""libndi as the wheel of ``cyndilib`` carries it, called through ctypes. For the room `ndi` only.

Why not cyndilib's classes (0.1.3): they reach neither a connection by address nor connection metadata; on an open
sender the size can't change, and closing it costs every receiver a second; their receiver always has a frame
synchroniser attached, which eats from the queue that `capture` reads; a name that is taken crashes the process.

The names, layouts and numbers below are those of ``Processing.NDI.{structs,Find,Recv,Send}.h``, which the same wheel
contains under ``cyndilib/wrapper/include``. ctypes releases the GIL in every call.
"""

from __future__ import annotations

import ctypes as C
import functools
import sys
from pathlib import Path

from l2s_node.errors import RoomError

VIDEO = 1  # NDIlib_frame_type_video
NONE = 0  # NDIlib_frame_type_none
PROGRESSIVE = 1  # NDIlib_frame_format_type_progressive
FIELD_0, FIELD_1 = 2, 3  # single fields: the even rows, the odd rows
FASTEST = 100  # NDIlib_recv_color_format_fastest: UYVY, or UYVA where there is alpha
METADATA_ONLY = -10  # NDIlib_recv_bandwidth_metadata_only: no pictures
HIGHEST = 100  # NDIlib_recv_bandwidth_highest: the picture in its full size
SYNTHESIZE = UNDEFINED = 2**63 - 1  # NDIlib_send_timecode_synthesize, NDIlib_recv_timestamp_undefined


class NDISource(C.Structure):
    """NDIlib_source_t: a source by name, by address ("host:port"), or both."""

    _fields_ = (("name", C.c_char_p), ("address", C.c_char_p))


class Find(C.Structure):
    """NDIlib_find_create_t."""

    _fields_ = (("show_local", C.c_bool), ("groups", C.c_char_p), ("extra_ips", C.c_char_p))


class Recv(C.Structure):
    """NDIlib_recv_create_v3_t."""

    _fields_ = (
        ("source", NDISource),
        ("color_format", C.c_int),
        ("bandwidth", C.c_int),
        ("allow_fields", C.c_bool),
        ("name", C.c_char_p),
    )


class Send(C.Structure):
    """NDIlib_send_create_t."""

    _fields_ = (("name", C.c_char_p), ("groups", C.c_char_p), ("clock_video", C.c_bool), ("clock_audio", C.c_bool))


class Video(C.Structure):
    """NDIlib_video_frame_v2_t; `stride` is the first plane's, in bytes."""

    _fields_ = (
        ("width", C.c_int),
        ("height", C.c_int),
        ("fourcc", C.c_uint32),
        ("rate_n", C.c_int),
        ("rate_d", C.c_int),
        ("aspect", C.c_float),
        ("frame_format", C.c_int),
        ("timecode", C.c_int64),
        ("data", C.c_void_p),
        ("stride", C.c_int),
        ("metadata", C.c_char_p),
        ("timestamp", C.c_int64),
    )


class Metadata(C.Structure):
    """NDIlib_metadata_frame_t; a length of 0 means "up to the NUL"."""

    _fields_ = (("length", C.c_int), ("timecode", C.c_int64), ("data", C.c_char_p))


class Tally(C.Structure):
    """NDIlib_tally_t."""

    _fields_ = (("program", C.c_bool), ("preview", C.c_bool))


class Performance(C.Structure):
    """NDIlib_recv_performance_t: frames since the receiver was made."""

    _fields_ = (("video", C.c_int64), ("audio", C.c_int64), ("metadata", C.c_int64))


_P = C.c_void_p
_PROTOTYPES = {  # name: (result, *arguments)
    "initialize": (C.c_bool,),
    "find_create_v2": (_P, _P),
    "find_get_current_sources": (C.POINTER(NDISource), _P, _P),
    "find_destroy": (None, _P),
    "recv_create_v3": (_P, _P),
    "recv_connect": (None, _P, _P),
    "recv_capture_v3": (C.c_int, _P, _P, _P, _P, C.c_uint32),
    "recv_free_video_v2": (None, _P, _P),
    "recv_free_metadata": (None, _P, _P),
    "recv_get_performance": (None, _P, _P, _P),
    "recv_get_no_connections": (C.c_int, _P),
    "recv_set_tally": (C.c_bool, _P, _P),
    "recv_add_connection_metadata": (None, _P, _P),
    "recv_destroy": (None, _P),
    "send_create": (_P, _P),
    "send_get_source_name": (C.POINTER(NDISource), _P),
    "send_add_connection_metadata": (None, _P, _P),
    "send_send_video_async_v2": (None, _P, _P),
    "send_destroy": (None, _P),
}


@functools.cache
def load() -> C.CDLL:
    """libndi, initialised, its functions (``NDIlib_…``) with their prototypes.

    Raises:
        RoomError: cyndilib or its library isn't there or can't run here; the message has the remedy.
    """
    try:
        from cyndilib.wrapper import ndi_structs
    except ImportError as err:
        raise RoomError(f"NDI needs the package cyndilib ({err}): pip install cyndilib") from err
    # dlopen finds the functions of everything that an extension module is linked to; Windows wants the DLL itself
    path = Path(ndi_structs.__file__)
    if sys.platform == "win32":
        path = path.parent / "bin" / "Processing.NDI.Lib.x64.dll"
    try:
        lib = C.CDLL(str(path))
        for name, (result, *arguments) in _PROTOTYPES.items():
            function = getattr(lib, f"NDIlib_{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as err:
        raise RoomError(f"cyndilib's libndi can't be used ({err}): pip install --force-reinstall cyndilib") from err
    if not lib.NDIlib_initialize():
        raise RoomError("libndi refuses this CPU: it needs SSE4.2 or NEON")
    return lib
