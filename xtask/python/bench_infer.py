"""onnxruntime's side of `cargo xtask bench infer`: answers as many batches as each line of
standard input says, and replies with their times. `src/bench/worker.rs` is the same for us."""

import argparse
import itertools
import json
import sys
import time

import numpy as np
import onnxruntime


def main():
    parser = argparse.ArgumentParser()
    for name in ("checkpoint", "images", "labels", "onnx"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        arguments.onnx, options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    _, channels, height, width = source.shape
    images = np.fromfile(arguments.images, "<f4").reshape(-1, height, width, channels)
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    batches = itertools.cycle(np.split(images, len(images) // arguments.batch))

    print(json.dumps({"torch": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        milliseconds, losses = [], []
        for x in itertools.islice(batches, int(line)):
            start = time.perf_counter()
            (y,) = session.run(None, {source.name: x})
            milliseconds.append((time.perf_counter() - start) * 1e3)
            losses.append(float(np.abs(y).mean()))
        print(json.dumps({"milliseconds": milliseconds, "losses": losses}), flush=True)


main()
