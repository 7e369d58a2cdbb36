"""PyTorch's side of `cargo xtask bench train`: takes as many training steps as each line of
standard input says, and answers with their times. `src/bench/worker.rs` is the same for us."""

import argparse
import itertools
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import peer

# `worker.rs` has the same numbers.
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


def main():
    parser = argparse.ArgumentParser()
    for name in ("checkpoint", "images", "labels"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    order = torch.channels_last if arguments.channels_last else torch.contiguous_format

    net = peer.load(arguments.checkpoint).train().to(memory_format=order)
    optimizer = torch.optim.SGD(net.groups(WEIGHT_DECAY), LEARNING_RATE, MOMENTUM)
    forward = torch.compile(net) if arguments.compile else net
    labels = torch.tensor(np.fromfile(arguments.labels, "<u4").astype(np.int64))
    _, channels, height, width = net.input_shape
    images = torch.tensor(np.fromfile(arguments.images, "<f4"))
    images = images.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    batches = [
        (x.contiguous(memory_format=order), y)
        for x, y in zip(images.split(arguments.batch), labels.split(arguments.batch))
    ]
    batches = itertools.cycle(batches)

    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        milliseconds, losses = [], []
        for x, y in itertools.islice(batches, int(line)):
            start = time.perf_counter()
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            milliseconds.append((time.perf_counter() - start) * 1e3)
        print(json.dumps({"milliseconds": milliseconds, "losses": losses}), flush=True)


main()
