"""Holds net2net to torchvision's classification models, from both of PyTorch's ONNX exporters.

    python xtask/python/coverage.py [--net2net PATH] [--models NAME...] [--exporters NAME...] [--keep]

For each model and exporter: exports it with random weights into target/coverage/, grows it wider
and deeper, and compares by ONNX's checker and ONNX Runtime. Findings are kept in
target/coverage/results.json, so that some models can be run again, and docs/coverage.md is written
from all of them. Needs torch, torchvision, onnx, onnxscript and onnxruntime.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from check_onnx import TOLERANCE
from coverage_page import page

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "target/coverage"
RESULTS = FOLDER / "results.json"
PAGE = ROOT / "docs/coverage.md"
# Small ones first. Sides that are not 64 are the smallest that the model can be exported at.
MODELS = {
    "squeezenet1_1": 64,
    "shufflenet_v2_x1_0": 64,
    "mobilenet_v3_small": 64,
    "mobilenet_v2": 64,
    "mnasnet1_0": 64,
    "regnet_y_400mf": 64,
    "mobilenet_v3_large": 64,
    "efficientnet_b0": 64,
    "googlenet": 64,
    "resnet18": 64,
    "densenet121": 64,
    "resnext50_32x4d": 64,
    "resnet50": 64,
    "efficientnet_v2_s": 64,
    "inception_v3": 96,
    "swin_t": 64,
    "convnext_tiny": 64,
    "alexnet": 224,
    "wide_resnet50_2": 64,
    "vit_b_16": 64,
    "vgg11_bn": 224,
    "vgg16": 224,
}
EXPORTERS = ("torchscript", "dynamo")
SECONDS = 300


class Failed(Exception):
    """A step that did not do what it should."""


def command(*words):
    """What a program prints, within the time that each step has."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"took more than {SECONDS} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise Failed(lines[0] if "net2net" in str(words[0]) and lines else (lines or ["?"])[-1])
    return done.stdout


def python(script, *words):
    return command(sys.executable, Path(__file__).with_name(script), *words)


def compared(old, new):
    """What ONNX's own tools say of a grown file: how much it differs."""
    return float(python("check_onnx.py", old, new).rsplit("by ", 1)[1].split()[0])


def grown(program, old, new, *wanted):
    """Grows a model, and says how exact it is by our evidence and by ONNX Runtime."""
    start = time.perf_counter()
    try:
        words = ("-o", new, "--force", "--json", "--threads", 1, "--samples", 2)
        report = json.loads(command(program, "grow", old, *wanted, *words))
        seconds = time.perf_counter() - start
        return {
            "f64": max(output["max_rel"] for output in report["evidence"]["f64"]),
            "exact": report["evidence"]["exact"],
            "parameters": report["new"]["parameters"] / report["old"]["parameters"],
            "seconds": seconds,
            "onnxruntime": compared(old, new),
        }
    except Failed as fault:
        return {"error": str(fault)}
    finally:
        new.unlink(missing_ok=True)


def some(names):
    """The first, the middle and the last of the layers that can be deepened."""
    return sorted({names[0], names[len(names) // 2], names[-1]}) if names else []


def examined(program, model, exporter, keep):
    """Everything about one model from one exporter."""
    path = FOLDER / f"{model}-{exporter}.onnx"
    try:
        if not path.exists():
            python("coverage_export.py", model, MODELS[model], exporter, path)
        seen = json.loads(command(program, "inspect", path, "--json"))
    except Failed as fault:
        return {"error": str(fault)}
    found = {
        "nodes": len(seen["nodes"]),
        "not_understood": seen["not_understood"],
        "parameters": seen["parameters"],
        "share": seen["parameters_in_growable_spaces"] / max(seen["parameters"], 1),
        "refusals": [
            [space["refusal"]["why"], space["refusal"].get("node"), len(space["sites"])]
            for space in seen["spaces"]
            if space["refusal"]
        ],
        "deepenable": len(seen["deepenable"]),
        "wider": grown(program, path, FOLDER / "wider.onnx", "--wider", 1.5),
    }
    layers = some(seen["deepenable"])
    if layers:
        found["deeper"] = grown(program, path, FOLDER / "deeper.onnx", "--deeper", *layers)
    if not keep:
        path.unlink(missing_ok=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net2net", type=Path, default=ROOT / "target/release/net2net")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=EXPORTERS)
    parser.add_argument("--keep", action="store_true", help="keep the exported files")
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    program = args.net2net.resolve()
    if not program.exists():
        sys.exit(f"{program} is not there; build it with cargo build --release")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in (name for name in MODELS if name in args.models):
        for exporter in args.exporters:
            start = time.perf_counter()
            found = examined(program, model, exporter, args.keep)
            results.setdefault(model, {})[exporter] = found
            RESULTS.write_text(json.dumps(results, indent=1))
            print(model, exporter, f"{time.perf_counter() - start:.0f} s", summary(found), flush=True)
            PAGE.write_text(page(results, MODELS, EXPORTERS))
    return 0


def summary(found):
    """One line for whoever waits."""
    if "error" in found:
        return found["error"]
    parts = [f"{len(found['not_understood'])} not understood", f"{found['share']:.0%}"]
    for way in ("wider", "deeper"):
        at = found.get(way, {"error": "nothing to do"})
        good = "f64" in at and at["onnxruntime"] <= TOLERANCE
        parts.append(f"{way} {at['f64']:.0e}/{at['onnxruntime']:.0e}" if good else f"{way}: {at}")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
