"""Times PyTorch on the shapes of conv_speed.rs: two threads, f32, NCHW as most people run it.

Forward and backward are timed by themselves; "fwd+bwd" is what to compare."""
import statistics
import sys
import time

import torch
from torch import nn

torch.set_num_threads(2)
REPEATS = int(sys.argv[1]) if len(sys.argv) > 1 else 21
LAST = "channels_last" in sys.argv


def bench(name, module, *shape):
    x = torch.randn(shape)
    if LAST:
        x, module = x.to(memory_format=torch.channels_last), module.to(memory_format=torch.channels_last)
    x.requires_grad_()
    dy = torch.randn_like(module(x))
    forward, backward = [], []
    for _ in range(REPEATS + 3):
        x.grad = None
        module.zero_grad(set_to_none=True)
        t0 = time.perf_counter()
        y = module(x)
        t1 = time.perf_counter()
        y.backward(dy)
        t2 = time.perf_counter()
        forward.append(1e3 * (t1 - t0))
        backward.append(1e3 * (t2 - t1))
    both = [f + b for f, b in zip(forward, backward)][3:]
    f, b = statistics.median(forward[3:]), statistics.median(backward[3:])
    print(f"{name:<26} forward {f:8.3f} backward {b:8.3f} fwd+bwd {statistics.median(both):8.3f} least {min(both):8.3f}")


def conv(i, o, k, stride=1, groups=1):
    return nn.Conv2d(i, o, k, stride, k // 2, bias=False, groups=groups)


B = 64
bench("28x28x16->32 3x3", conv(16, 32, 3), B, 16, 28, 28)
bench("14x14x64->64 3x3", conv(64, 64, 3), B, 64, 14, 14)
bench("32x32x64->64 3x3", conv(64, 64, 3), B, 64, 32, 32)
bench("14x14x96->64 1x1", conv(96, 64, 1), B, 96, 14, 14)
bench("32x32x3->64 3x3", conv(3, 64, 3), B, 3, 32, 32)
bench("32x32x64->128 3x3 /2", conv(64, 128, 3, 2), B, 64, 32, 32)
bench("14x14x96 3x3 depthwise", conv(96, 96, 3, groups=96), B, 96, 14, 14)
bench("max pool 14x14x96 3x3", nn.MaxPool2d(3, 1, 1), B, 96, 14, 14)
bench("batch norm 28x28x32", nn.BatchNorm2d(32), B, 32, 28, 28)
bench("with relu", nn.Sequential(nn.BatchNorm2d(32), nn.ReLU()), B, 32, 28, 28)
