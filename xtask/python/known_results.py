"""Accuracies of known networks before and after growth, computed by onnxruntime.

    python known_results.py CHECKPOINTS DATA [path of net2net]
"""

import csv
import gzip
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def cifar(data):
    rows = list(csv.reader((data / "cifar10/lossless_test_first100.csv").open()))
    rows = [row for row in rows if row and row[0].isdigit()]
    values = numpy.array(rows, dtype=numpy.float32)
    images = values[:, 1:].reshape(-1, 32, 32, 3) / 255
    images = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return images.transpose(0, 3, 1, 2).astype(numpy.float32), values[:, 0].astype(int)


def digits(data):
    def read(name, header):
        path = next((data / "mnist").glob(f"*{name}*"))
        return numpy.frombuffer(gzip.open(path).read(), numpy.uint8, offset=header)

    images = read("t10k-images", 16).reshape(-1, 1, 28, 28) / 255
    return ((images - 0.1307) / 0.3081).astype(numpy.float32), read("t10k-labels", 8).astype(int)


def classified(path, images, labels):
    run = session(path)
    name, size = run.get_inputs()[0].name, run.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else 100
    parts = (run.run(None, {name: images[i : i + step]})[0] for i in range(0, len(images), step))
    right = int((numpy.concatenate(list(parts)).argmax(1) == labels).sum())
    return f"{right} of {len(labels)}"


def sorted_sequences(path):
    """Six digits of {0, 1, 2}, and the model says the sorted ones after them, one by one."""
    run = session(path)
    right = 0
    sequences = numpy.array(list(itertools.product(range(3), repeat=6)))
    ids = numpy.concatenate([sequences, numpy.zeros((len(sequences), 5), int)], 1)
    for position in range(6):
        logits = run.run(None, {run.get_inputs()[0].name: ids})[0]
        said = logits[:, 5 + position].argmax(1)
        if position < 5:
            ids[:, 6 + position] = said
    answers = numpy.concatenate([ids[:, 6:], said[:, None]], 1)
    right = int((answers == numpy.sort(sequences, 1)).all(1).sum())
    return f"{right} of {len(sequences)}"


def main():
    checkpoints, data = Path(sys.argv[1]), Path(sys.argv[2])
    net2net = sys.argv[3] if len(sys.argv) > 3 else "target/release/net2net"
    photos, numbers = cifar(data), digits(data)
    models = {
        "resnet-cifar10/resnet20.onnx": lambda path: classified(path, *photos),
        "resnet-cifar10/resnet20-dynamo.onnx": lambda path: classified(path, *photos),
        "resnet-cifar10/resnet56.onnx": lambda path: classified(path, *photos),
        "burn-mnist/mnist.onnx": lambda path: classified(path, *numbers),
        "gpt-nano-sort/gpt-nano-sort.onnx": sorted_sequences,
    }
    ways = {
        "wider": ["--wider", "1.5"],
        "deeper": ["--deeper", "*"],
        "twice as deep": ["--deeper", "2x"],
        "both": ["--wider", "1.5", "--deeper", "2x"],
        "4x parameters": ["--params", "4x"],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, judge in models.items():
            results = [f"before {judge(checkpoints / name)}"]
            for way, how in ways.items():
                path = f"{folder}/{way}.onnx"
                command = [net2net, "grow", checkpoints / name, "-o", path, "--force", *how]
                if subprocess.run(command, capture_output=True).returncode != 0:
                    results.append(f"{way} refused")
                    continue
                onnx.checker.check_model(path, full_check=True)
                results.append(f"{way} {judge(path)}")
            print(f"{name}: " + ", ".join(results))


if __name__ == "__main__":
    main()
