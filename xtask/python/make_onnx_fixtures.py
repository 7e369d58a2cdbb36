"""Small networks as both of PyTorch's exporters write them, for the tests of net2net-onnx.

    python make_onnx_fixtures.py DIRECTORY
"""

import sys
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")


class Residual(nn.Module):
    """An option-A shortcut, a depthwise convolution, squeeze and excitation, branches and a shuffle."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.down, self.down_bn = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 3, padding=1)
        self.mix = nn.Conv2d(10, 8, 1, groups=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(x)))
        y = self.down_bn(self.down(x))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        x = F.hardswish(self.depthwise(x))
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        x = x * F.hardsigmoid(gate)
        x = self.mix(torch.cat([self.left(x), F.max_pool2d(self.right(x), 3, 1, 1)], 1))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(F.adaptive_avg_pool2d(F.silu(x), 1).flatten(1))


class Transformer(nn.Module):
    """One block of attention over embedded tokens, with its own softmax."""

    def __init__(self, width=12, heads=3, tokens=7):
        super().__init__()
        self.heads, self.tokens = heads, tokens
        self.embed, self.place = nn.Embedding(9, width), nn.Parameter(torch.randn(1, tokens, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 20), nn.Linear(20, width)
        self.head = nn.Linear(width, 4)

    def forward(self, ids):
        x = self.embed(ids) + self.place
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).split(c, 2)
        q, k, v = (z.view(n, t, self.heads, c // self.heads).transpose(1, 2) for z in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-2, -1) / (c // self.heads) ** 0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, c))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x)


def randomize(model):
    """Batch norms with statistics of their own, so that a mistake in them shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return model.eval()


def forget_the_machine(path):
    """The exporter notes the stack of each node, with the paths of the files on it."""
    model = onnx.load(path)
    notes = [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]
    notes += [*model.graph.initializer, *model.functions]
    for noted in notes:
        kept = [entry for entry in noted.metadata_props if "/" not in entry.value]
        del noted.metadata_props[:]
        noted.metadata_props.extend(kept)
    onnx.save(model, path)


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    networks = {
        "residual": (randomize(Residual()), torch.randn(2, 3, 8, 8)),
        "transformer": (randomize(Transformer()), torch.randint(9, (2, 7))),
    }
    for name, (model, example) in networks.items():
        torch.onnx.export(
            model, example, str(folder / f"{name}-torchscript.onnx"), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        )
        program = torch.onnx.export(
            model, (example,), dynamo=True, input_names=["x"], output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
        )
        path = str(folder / f"{name}-dynamo.onnx")
        program.save(path, external_data=False)
        forget_the_machine(path)


if __name__ == "__main__":
    main()
