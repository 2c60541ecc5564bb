"""Quantise: a network written for OpenVINO, made to multiply in 8 bits, by NNCF. For `l2s build`, never in a show.

Ranges are found by histograms. By the least and greatest value, a rare input takes the steps away from all others; by
their means over all inputs, what lies beyond is cut off, and pictures are three times as far from float32's. Symmetric
ranges double the distance and save nothing; sums in 8 bits made it 1.2 to 1.35 times as far, and were slower. The first
convolution, which sees the luma, and the last, which is the picture, stay as they are, and so do the seed field and the
luma's averages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2s_node.errors import EngineError
from l2s_node.models.pix2pix import SEEDS
from l2s_node.models.unheard import unheard

KEPT = ("Add", "Multiply", "MatMul", "AvgPool", "MVN")
"""Kinds of OpenVINO's operations that aren't touched."""
CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")


def missing() -> str | None:
    """Why nothing can be quantised here and the remedy, or None."""
    if importlib.util.find_spec("nncf") is None:
        return "nncf isn't installed: pip install nncf"
    return None


def quantised(model: Any, examples: Tensor) -> Any:
    """`model` with its convolutions between the first and the last in 8 bits, as an ``openvino.Model``.

    Args:
        model: an ``openvino.Model`` as `engines.openvino.written` makes it; it may be changed.
        examples: inputs ``(n, 1, h, w)`` float32 in [-1, 1] like those that it will see: ranges are made for them.

    Raises:
        EngineError: NNCF is missing, or can't do it.
    """
    reason = missing()
    if reason is not None:
        raise EngineError(reason)
    nncf = _imported()
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges

    convolutions = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() in CONVOLUTIONS]
    ends = list(dict.fromkeys([convolutions[0], convolutions[-1]]))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it draws a progress bar there
            return nncf.quantize(
                model,
                nncf.Dataset(list(_fed(examples, len(model.inputs)))),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(examples),
                ignored_scope=nncf.IgnoredScope(types=list(KEPT), names=ends, validate=False),
                advanced_parameters=AdvancedQuantizationParameters(
                    activations_range_estimator_params=Ranges.HISTOGRAM,
                    weights_range_estimator_params=Ranges.MINMAX,
                ),
            )
    except (nncf.InternalError, nncf.UnsupportedModelError, nncf.ValidationError) as err:
        raise EngineError(f"nncf can't quantise this world: {err}") from err


def _fed(examples: Tensor, parameters: int) -> Iterator[list[np.ndarray]]:
    """What the model is given for each example; the seed field as it was drawn, or anywhere that it may drift to."""
    rng = torch.Generator().manual_seed(0)
    for number, x in enumerate(examples):
        drifted = torch.randn(SEEDS, generator=rng)
        seeds = drifted / drifted.norm() if number % 2 else torch.eye(1, SEEDS)[0]
        yield [x[None].numpy(), seeds.numpy()][:parameters]


def _imported() -> ModuleType:
    """NNCF, quiet; it would make all loggers of this process from now on."""
    loggers = logging.getLoggerClass()
    try:
        with unheard():
            import nncf
    except (ImportError, OSError) as err:
        raise EngineError(f"nncf can't be loaded ({err}): pip install --force-reinstall nncf") from err
    finally:
        logging.setLoggerClass(loggers)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    module: ModuleType = nncf
    return module
