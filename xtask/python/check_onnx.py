"""Checks grown ONNX files by ONNX's own means.

    python xtask/python/check_onnx.py OLD NEW...

Runs `onnx.checker` and ONNX Runtime on OLD and on each NEW with the same random inputs, and fails
if an output differs by more than 1e-4 of the largest number in it.
"""

import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-4
SAMPLES = 2
# Open axes other than the batch: an odd size is rarely mistaken for another one.
OPEN = 11


def session(path):
    """A session on one thread, after the checker has had its say."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def random_inputs(running, seed=0):
    """Random numbers for each input; whole numbers are 0 or 1, which every table has."""
    random = np.random.default_rng(seed)
    inputs = {}
    for given in running.get_inputs():
        sizes = [SAMPLES if axis == 0 else OPEN for axis in range(len(given.shape))]
        sizes = [size if isinstance(size, int) else open_ for size, open_ in zip(given.shape, sizes)]
        if "float" in given.type or "double" in given.type:
            kind = np.float64 if "double" in given.type else np.float32
            inputs[given.name] = random.standard_normal(sizes).astype(kind)
        else:
            kind = {"tensor(int32)": np.int32, "tensor(bool)": np.bool_}.get(given.type, np.int64)
            inputs[given.name] = random.integers(0, 2, sizes).astype(kind)
    return inputs


def difference(old, new):
    """The largest difference between two lists of outputs, relative to each one's largest number."""
    worst = 0.0
    for a, b in zip(old, new, strict=True):
        if a.shape != b.shape:
            return float("inf")
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def main(paths):
    if len(paths) < 2:
        sys.exit(__doc__)
    old = session(paths[0])
    inputs = random_inputs(old)
    expected = old.run(None, inputs)
    fine = True
    for path in paths[1:]:
        found = difference(expected, session(path).run(None, inputs))
        fine &= found <= TOLERANCE
        print(f"{path}: differs by {found:.1e}{'' if found <= TOLERANCE else ', which is too much'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
