"""Small networks over sequences, and quantised ones, for the tests of net2net-onnx.

    python make_sequence_fixtures.py DIRECTORY

and what onnxruntime computes with those that are not quantised, in `sequences.txt`.

Recurrent layers as both of PyTorch's exporters write them, attention as its newer one writes it for
operator set 23, attention and rotary positions with all that their operators offer, and a network that
onnxruntime quantised in both of its ways.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from make_onnx_fixtures import forget_the_machine
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")


class Recurrent(nn.Module):
    """All states of a layer, the last ones, and the last cells are read. Plain cells if they are wanted: one
    exporter writes them step by step."""

    def __init__(self, plain):
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.lstm = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.gate, self.gru = nn.Linear(4, 8), nn.GRU(8, 6, batch_first=True)
        self.rnn = nn.RNN(6, 6, nonlinearity="relu", batch_first=True) if plain else None
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        y, (_, cells) = self.lstm(F.relu(self.first(x)))
        y, state = self.gru(y * torch.sigmoid(self.gate(cells[0]))[:, None])
        y = y if self.rnn is None else self.rnn(y)[0]
        return self.last(y + state.transpose(0, 1))


class Attention(nn.Module):
    """Causal attention whose queries share heads of keys and values."""

    def __init__(self, width=8, heads=4, kv=2, size=4):
        super().__init__()
        self.heads, self.kv, self.size = heads, kv, size
        self.q, self.k, self.v = (nn.Linear(width, n * size) for n in (heads, kv, kv))
        self.out, self.last = nn.Linear(heads * size, width), nn.Linear(width, 3)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (
            layer(x).view(n, t, heads, self.size).transpose(1, 2)
            for layer, heads in ((self.q, self.heads), (self.k, self.kv), (self.v, self.kv))
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.last(F.relu(x + self.out(y.transpose(1, 2).reshape(n, t, -1))))


def heads():
    """Heads within the last axis, turned by their positions; a soft cap, a mask and a scale."""
    random = numpy.random.default_rng(0)
    weights = {
        "q.w": (6, 16), "k.w": (6, 8), "v.w": (6, 6), "o.w": (12, 6), "last.w": (6, 3),
        "cosine": (9, 2), "sine": (9, 2), "mask": (1, 1, 5, 5),
    }
    tensors = [
        numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32), name)
        for name, shape in weights.items()
    ]
    seen = numpy.tril(numpy.ones((5, 5), bool)) | (random.random((5, 5)) < 0.5)
    tensors.append(numpy_helper.from_array(seen, "seen"))
    tables = ["cosine", "sine", "at"]
    nodes = [
        helper.make_node("MatMul", ["x", "q.w"], ["q"]),
        helper.make_node("MatMul", ["x", "k.w"], ["k"]),
        helper.make_node("MatMul", ["x", "v.w"], ["v"]),
        helper.make_node("RotaryEmbedding", ["q", *tables], ["q.turned"], num_heads=4, interleaved=1),
        helper.make_node("RotaryEmbedding", ["k", *tables], ["k.turned"], num_heads=2, interleaved=1),
        helper.make_node(
            "Attention", ["q.turned", "k.turned", "v", "mask"], ["y"], q_num_heads=4, kv_num_heads=2, softcap=2.0,
            scale=0.7,
        ),
        helper.make_node("MatMul", ["y", "o.w"], ["o"]),
        helper.make_node("Attention", ["o", "x", "o", "seen"], ["z"], q_num_heads=1, kv_num_heads=1),
        helper.make_node("MatMul", ["z", "last.w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "heads",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5, 6]),
            helper.make_tensor_value_info("at", TensorProto.INT64, ["N", 5]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5, 3])], tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


class Images(quantization.CalibrationDataReader):
    """Random ones, to find the ranges of values with."""

    def __init__(self, shape):
        random = numpy.random.default_rng(0)
        self.images = iter([{"x": random.standard_normal(shape).astype(numpy.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.images, None)


def quantized(folder):
    """The middle layers in integers, by ranges measured before and by ranges measured while it runs."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3),
    ).eval()
    with tempfile.TemporaryDirectory() as place:
        plain, ready = f"{place}/plain.onnx", f"{place}/ready.onnx"
        torch.onnx.export(
            model, torch.randn(1, 2, 4, 4), plain, dynamo=False, opset_version=17, input_names=["x"],
            output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )
        quantization.shape_inference.quant_pre_process(plain, ready, skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(ready).graph.node if node.op_type in ("Conv", "Gemm")]
        quantization.quantize_static(
            ready, str(folder / "quantized-static.onnx"), Images((1, 2, 4, 4)), nodes_to_quantize=[names[1]],
        )
        quantization.quantize_dynamic(
            ready, str(folder / "quantized-dynamic.onnx"), nodes_to_quantize=[f"{names[4]}_MatMul"],
        )


def newer(model, example, path, opset):
    program = torch.onnx.export(
        model, (example,), dynamo=True, opset_version=opset, input_names=["x"], output_names=["y"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
    )
    program.save(str(path), external_data=False)
    forget_the_machine(str(path))


def expected(path, steps=11):
    """The outputs for one sample of `sin(i)`, and of positions `i % 9`."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = {}
    for value in session.get_inputs():
        shape = [{"N": 1, "T": steps}.get(size, size) for size in value.shape]
        count = numpy.arange(numpy.prod(shape)).reshape(shape)
        fed[value.name] = numpy.sin(count).astype(numpy.float32) if "float" in value.type else count % 9
    return session.run(None, fed)[0].ravel()


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    steps = torch.randn(2, 6, 3)
    torch.onnx.export(
        Recurrent(True).eval(), steps, str(folder / "recurrent-torchscript.onnx"), dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N", 1: "T"}, "y": {0: "N", 1: "T"}},
    )
    newer(Recurrent(False).eval(), steps, folder / "recurrent-dynamo.onnx", 20)
    newer(Attention().eval(), torch.randn(2, 5, 8), folder / "attention-dynamo.onnx", 23)
    onnx.save(heads(), str(folder / "heads.onnx"))
    quantized(folder)
    plain = sorted(path for path in folder.glob("*.onnx") if "quantized" not in path.name)
    lines = (f"{path.name} " + " ".join(f"{x:.7g}" for x in expected(path)) for path in plain)
    (folder / "sequences.txt").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
