"""Accuracy of a Keras network before and after growth: ResNet-8 of MLPerf Tiny on CIFAR-10.

    python known_keras.py CHECKPOINTS DATA [path of net2net]

The interpreter needs tensorflow-cpu, tf2onnx, onnx, onnxruntime and pillow.
"""

import csv
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import keras
import numpy
import onnx
import onnxruntime
from PIL import Image

MODEL = "mlperf-tiny/ic_resnet8_cifar10.h5"
BLOCK = "*activation_2_1/Relu:0"
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def clean(data):
    """The first 100 test images without loss."""
    rows = list(csv.reader((data / "cifar10/lossless_test_first100.csv").open()))
    values = numpy.array([row for row in rows if row and row[0].isdigit()], dtype=numpy.float32)
    return values[:, 1:].reshape(-1, 32, 32, 3), values[:, 0].astype(int)


def training(data):
    """The first 4,000 training images without loss: row i of a picture is image i."""
    pictures = [data / f"cifar10/lossless_train_batch_{part}.png" for part in range(4)]
    images = numpy.concatenate([numpy.asarray(Image.open(path)) for path in pictures])
    labels = numpy.frombuffer((data / "cifar10/lossless_train_labels.u8").read_bytes(), numpy.uint8)
    return images.reshape(-1, 32, 32, 3).astype(numpy.float32), labels.astype(int)


def compressed(data):
    """All test images as JPEG has them."""
    images, labels = [], []
    with tarfile.open(data / "cifar10/cifar10-jpeg.tar.xz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if "test" in parts and member.name.endswith(".jpg"):
                pixels = Image.open(io.BytesIO(archive.extractfile(member).read()))
                images.append(numpy.asarray(pixels))
                labels.append(CLASSES.index(parts[-2]))
    return numpy.array(images).astype(numpy.float32), numpy.array(labels)


def classified(path, images, labels):
    run = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = run.get_inputs()[0].name
    parts = [run.run(None, {name: images[i : i + 250]})[0] for i in range(0, len(images), 250)]
    return f"{int((numpy.concatenate(parts).argmax(1) == labels).sum())} of {len(labels)}"


def main():
    checkpoints, data = Path(sys.argv[1]), Path(sys.argv[2])
    net2net = sys.argv[3] if len(sys.argv) > 3 else "target/release/net2net"
    sets = [clean(data), compressed(data), training(data)]
    ways = {
        "wider": ["--wider", "1.5"],
        "deeper": ["--deeper", "*"],
        "both": ["--wider", "1.5", "--deeper", "*"],
        "block": ["--copy", BLOCK],
        "wider block": ["--wider", "1.5", "--copy", BLOCK],
    }
    with tempfile.TemporaryDirectory() as folder:
        keras.models.load_model(checkpoints / MODEL, compile=False).export(f"{folder}/saved", verbose=False)
        for opset in ["13", "17"]:
            start = f"{folder}/start.onnx"
            convert = [sys.executable, "-m", "tf2onnx.convert", "--opset", opset]
            convert += ["--saved-model", f"{folder}/saved", "--output", start]
            subprocess.run(convert, check=True, capture_output=True)
            print(f"opset {opset}, before: " + ", ".join(classified(start, *images) for images in sets))
            for way, how in ways.items():
                path = f"{folder}/{way}.onnx"
                subprocess.run([net2net, "grow", start, "-o", path, *how, "--force"], check=True, capture_output=True)
                onnx.checker.check_model(path, full_check=True)
                print(f"opset {opset}, {way}: " + ", ".join(classified(path, *images) for images in sets))


if __name__ == "__main__":
    main()
