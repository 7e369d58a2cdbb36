"""Fails if onnxruntime computes something else with NEW than with OLD, or if onnx finds NEW invalid.

    python check_onnx.py OLD NEW...
"""

import sys

import numpy
import onnx
import onnxruntime

FREE_AXIS = 3
TOLERANCE = 1e-4


def feed(session):
    random = numpy.random.default_rng(0)
    values = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else FREE_AXIS for size in value.shape]
        if "float" in value.type:
            values[value.name] = random.standard_normal(shape).astype(numpy.float32)
        else:
            whole = numpy.int32 if "int32" in value.type else numpy.int64
            values[value.name] = random.integers(0, 2, shape).astype(whole)
    return values


def fed(session, inputs):
    """The inputs of a session: the given ones, and other numbers where it has more features."""
    values = {}
    for value in session.get_inputs():
        given = inputs[value.name]
        shape = [s if isinstance(s, int) else g for s, g in zip(value.shape, given.shape)]
        if list(given.shape) != shape:
            larger = numpy.random.default_rng(1).standard_normal(shape).astype(given.dtype)
            larger[tuple(slice(size) for size in given.shape)] = given
            given = larger
        values[value.name] = given
    return values


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    old, *grown = sys.argv[1:]
    inputs = feed(session(old))
    expected = session(old).run(None, inputs)
    for path in grown:
        onnx.checker.check_model(path, full_check=True)
        worst = 0.0
        new = session(path)
        for before, after in zip(expected, new.run(None, fed(new, inputs))):
            # New classes stand behind the old ones.
            after = after[tuple(slice(size) for size in before.shape)]
            worst = max(worst, float(abs(before - after).max() / abs(before).max()))
        print(f"{path}: onnxruntime differs by {worst:.1e}")
        if not worst <= TOLERANCE:
            sys.exit(f"{path} does not compute what {old} computes")


if __name__ == "__main__":
    main()
