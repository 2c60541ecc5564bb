"""Raw: a network played by its runtime alone, as the runtime's own documentation does it: what our engines are held to.

The network goes through OpenVINO's own converter, not ours, or torch's exporter to ONNX; its seed field is fixed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

from l2s_node.machine import threads
from l2s_node.models.engines import room
from l2s_node.models.engines.base import Shape, prepared, seeds_of
from l2s_node.models.engines.onnxruntime import exported
from l2s_node.models.engines.openvino import TYPES
from l2s_node.models.pix2pix import Generator
from l2s_node.models.unheard import unheard

Call = Callable[[np.ndarray], np.ndarray]
"""``(1, 1, h, w)`` float32 to ``(1, 3, h, w)`` float32."""


def calls(generator: Generator, shape: Shape, precision: str) -> dict[str, Call]:
    """Each runtime that is here, by its name, on as many threads as ours take; `precision` is OpenVINO's."""
    made: dict[str, Call] = {}
    if room("openvino").missing() is None:
        made["OpenVINO alone"] = openvino(generator, shape, precision)
    if room("onnxruntime").missing() is None:
        made["ONNX Runtime alone"] = onnxruntime(generator, shape)
    return made


def openvino(generator: Generator, shape: Shape, precision: str) -> Call:
    with unheard():
        import openvino as ov

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the converter goes by way of torch.jit.trace
        model = ov.convert_model(prepared(generator, torch.device("cpu")), example_input=torch.zeros(shape))
    model.reshape(list(shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": TYPES[precision],
        "INFERENCE_NUM_THREADS": threads(),
    }
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()

    def call(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = request.infer([x])[0]
        return made

    return call


def onnxruntime(generator: Generator, shape: Shape) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    session = ort.InferenceSession(exported(generator, shape), options, providers=["CPUExecutionProvider"])
    first, *rest = session.get_inputs()
    seeds = seeds_of(generator, torch.device("cpu"))
    fixed = {each.name: seeds.numpy() for each in rest if seeds is not None}

    def call(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = session.run(None, {first.name: x, **fixed})[0]
        return made

    return call
