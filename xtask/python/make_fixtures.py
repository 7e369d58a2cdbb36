"""Makes the numbers that the engine is held to: PyTorch trains `curve.txt` in float64.

    python xtask/python/make_fixtures.py

writes `curve.safetensors` beside the graph: the start, the data, the gradients of the first step,
and for SGD and AdamW the losses of all steps and the running statistics at the end. Images are
stored as bytes in NHWC order; `(byte - 127.5) / 64` is the same number on both sides. The
settings and PyTorch's version are in the metadata.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import peer

FOLDER = Path(__file__).parents[2] / "crates/net2net-core/tests/pytorch/fixtures"
STEPS, BATCH, CLASSES, SIDE = 20, 8, 5, 12

SETTINGS = {
    "label_smoothing": 0.1,
    "sgd": {
        "learning_rate": 0.05,
        "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    },
    "adamw": {
        "learning_rate": 0.01,
        "optimizer": {
            "kind": "adamw",
            "beta1": 0.9,
            "beta2": 0.99,
            "epsilon": 1e-8,
            "weight_decay": 0.1,
        },
    },
}


def make_data(random):
    """Each class is a pattern under noise, so that the losses fall."""
    patterns = random.integers(0, 256, (CLASSES, SIDE, SIDE, 3))
    labels = random.integers(0, CLASSES, (STEPS, BATCH))
    noise = random.integers(0, 256, (STEPS, BATCH, SIDE, SIDE, 3))
    images = (patterns[labels] + noise) // 2
    return images.astype(np.uint8), labels.astype(np.uint8)


def make_weights(graph, random):
    """Matrices and filters as He et al. would, all else near its neutral value, but not at it."""
    tensors = {}
    for name, shape in graph.parameters.items():
        noise = random.standard_normal(shape)
        if name.endswith("running_mean"):
            values = np.zeros(shape)
        elif name.endswith("running_var"):
            values = np.ones(shape)
        elif len(shape) > 1:
            values = noise * (2.0 / np.prod(shape[1:])) ** 0.5
        elif name.endswith("weight"):
            values = 1.0 + 0.1 * noise
        elif name.endswith("slope"):
            values = 0.25 + 0.05 * noise
        else:
            values = 0.1 * noise
        tensors[name] = torch.tensor(values, dtype=torch.float64)
    return tensors


def make_optimizer(net, learning_rate, optimizer):
    groups = net.groups(optimizer["weight_decay"])
    if optimizer["kind"] == "sgd":
        momentum, nesterov = optimizer["momentum"], optimizer["nesterov"]
        return torch.optim.SGD(groups, learning_rate, momentum, nesterov=nesterov)
    betas = (optimizer["beta1"], optimizer["beta2"])
    return torch.optim.AdamW(groups, learning_rate, betas, optimizer["epsilon"])


def train(text, start, images, labels, setting):
    """The losses, the gradients of the first step and the running statistics at the end."""
    net = peer.Peer(peer.parse(text), start).train()
    optimizer = make_optimizer(net, **setting)
    losses, gradients = [], {}
    for batch, label in zip(images, labels):
        x = (torch.tensor(batch, dtype=torch.float64) - 127.5) / 64.0
        logits = net(x.permute(0, 3, 1, 2).contiguous())
        loss = F.cross_entropy(
            logits, torch.tensor(label).long(), label_smoothing=SETTINGS["label_smoothing"]
        )
        optimizer.zero_grad()
        loss.backward()
        if not gradients:
            gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients, dict(net.named_buffers())


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    random = np.random.Generator(np.random.PCG64(7))
    text = (FOLDER / "curve.txt").read_text()
    images, labels = make_data(random)
    start = make_weights(peer.parse(text), random)
    tensors = {"images": torch.tensor(images), "labels": torch.tensor(labels)}
    tensors |= {f"start/{name}": tensor for name, tensor in start.items()}
    for kind in ("sgd", "adamw"):
        losses, gradients, running = train(text, start, images, labels, SETTINGS[kind])
        print(kind, " ".join(f"{loss:.4f}" for loss in losses))
        tensors[f"{kind}/losses"] = torch.tensor(losses, dtype=torch.float64)
        tensors |= {f"{kind}/running/{name}": tensor for name, tensor in running.items()}
    tensors |= {f"gradient/{name}": gradient for name, gradient in gradients.items()}
    # One entry, because the file format does not keep the order of several.
    about = json.dumps(SETTINGS | {"torch": torch.__version__}, sort_keys=True)
    path = FOLDER / "curve.safetensors"
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, {"about": about})
    path.chmod(0o644)


if __name__ == "__main__":
    main()
