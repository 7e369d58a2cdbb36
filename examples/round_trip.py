"""From PyTorch and back: export, grow, load the grown state dict into a wider module, train on.

    pip install torch onnx safetensors
    cargo build --release
    python examples/round_trip.py [path of net2net]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Net(nn.Module):
    """Two convolutions, a residual block and a classifier; every width is its own argument."""

    def __init__(self, stem=8, inner=12, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.inner = nn.Sequential(nn.Conv2d(stem, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner))
        self.outer = nn.Sequential(nn.Conv2d(inner, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.fc = nn.Linear(stem, classes)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.outer(torch.relu(self.inner(x))))
        return self.fc(x.mean((2, 3)))


def train(model, x, y, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    return loss.item()


def main():
    net2net = sys.argv[1] if len(sys.argv) > 1 else "target/release/net2net"
    torch.manual_seed(0)
    x, y = torch.randn(32, 3, 16, 16), torch.randint(10, (32,))
    teacher = Net()
    train(teacher, x, y, 20)
    with tempfile.TemporaryDirectory() as folder:
        file = lambda name: str(Path(folder) / name)
        save_file(teacher.state_dict(), file("old.safetensors"))
        torch.onnx.export(
            teacher, x, file("model.onnx"), dynamo=False, input_names=["input"], output_names=["logits"],
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        )
        subprocess.run(
            [net2net, "grow", file("model.onnx"), "--wider", "1.5", "-o", file("bigger.onnx"),
             "--state-dict", file("old.safetensors"), file("new.safetensors")],
            check=True,
        )
        state = load_file(file("new.safetensors"))
    # The sizes are in the state dict itself.
    student = Net(stem=state["stem.0.weight"].shape[0], inner=state["inner.0.weight"].shape[0])
    student.load_state_dict(state)
    student.eval()
    with torch.no_grad():
        before, after = teacher(x), student(x)
    difference = ((before - after).abs().max() / before.abs().max()).item()
    print(f"{before.shape[1]} logits of {len(x)} images differ by at most {difference:.1e} of the largest")
    assert difference < 1e-4
    first = nn.functional.cross_entropy(after, y).item()
    last = train(student, x, y, 3)
    print(f"loss {first:.4f}, and {last:.4f} at the third step of training on")


if __name__ == "__main__":
    main()
