"""The page docs/coverage.md out of what coverage.py found."""

from importlib.metadata import version

from check_onnx import TOLERANCE

NAMES = {"torchscript": "TorchScript", "dynamo": "dynamo"}
# What the library's own words mean for these models.
REFUSALS = {
    "two activations are multiplied and summed over this axis": (
        "the width of an attention head: queries and keys are multiplied and summed over it"
    ),
    "softmax divides by the sum over this axis": "tokens, over which softmax divides by a sum",
    "two concatenations have no common parts": (
        "halves of channels that are shuffled: the two sides of a concatenation are cut elsewhere"
    ),
    "two products have no common factors": (
        "windows: an axis is split into factors that another reshape splits differently"
    ),
}


def page(results, models, exporters):
    """All of it."""
    parts = [HEAD.format(versions=versions(), tolerance=f"{TOLERANCE:.0e}")]
    parts += [table(results, models, exporters), READING, gaps(results, models, exporters)]
    return "\n".join(parts) + "\n"


def versions():
    names = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime")
    return ", ".join(f"{name} {version(name).split('+')[0]}" for name in names)


HEAD = """# Coverage

Torchvision's classification models, as PyTorch's two exporters write them: which of them grow, and how exactly.

```sh
cargo build --release
python xtask/python/coverage.py                       # all models; writes this page
python xtask/python/coverage.py --models swin_t       # one of them again, the others as they were
```

The interpreter needs torch, torchvision, onnx, onnxscript and onnxruntime. Here: {versions}. TorchScript's exporter
(`dynamo=False`) writes operator set 17 with constants folded, the other (`dynamo=True`) its own default, both with a free
batch. Weights are random, batch-norm statistics too, and nothing is left at 0 or 1, so that nothing is exact by chance.
"""

READING = """
- *Wider*: everything that can grow by half. *Deeper*: a layer after the first, the middle and the last place where one can
  be put.
- The first number is the largest relative difference between the outputs before and after in f64, the second that of ONNX
  Runtime's outputs in f32 with the files as written, on 3 random images; more than {tolerance} is a failure, and so is a
  file that `onnx.checker` objects to. 0 means: the same to the last bit.
- *Growable* is the share of parameters with an axis that can grow. *Outside* counts nodes that are not understood, which
  stay as they are.
""".replace("{tolerance}", f"{TOLERANCE:.0e}")


def table(results, models, exporters):
    head = ["model", "input", "parameters"]
    for exporter in exporters:
        head += [f"{NAMES[exporter]}: outside", "growable", "wider", "deeper"]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- | ---: |" + " ---: |" * 4 * len(exporters)]
    for model in models:
        found = [results.get(model, {}).get(exporter, {"error": "not run"}) for exporter in exporters]
        count = next((f"{one['parameters'] / 1e6:.1f} M" for one in found if "parameters" in one), "?")
        row = [f"`{model}`", f"{models[model]}×{models[model]}", count]
        for one in found:
            row += cells(one)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def cells(one):
    if "error" in one:
        return ["**no**", "", "", ""]
    outside = len(one["not_understood"])
    ways = [way(one.get("wider")), way(one.get("deeper"))]
    return [str(outside) if outside else "–", f"{one['share']:.0%}", *ways]


def good(at):
    return "f64" in at and at["exact"] and at["onnxruntime"] <= TOLERANCE


def way(at):
    if at is None:
        return "–"
    if not good(at):
        return "**no**"
    return " / ".join("0" if at[key] == 0 else f"{at[key]:.0e}" for key in ("f64", "onnxruntime"))


def gaps(results, models, exporters):
    """Everything that did not go well, and what does not grow although it is a part of a layer."""
    lines = ["## What does not grow, and why", ""]
    for model in models:
        for exporter in exporters:
            one = results.get(model, {}).get(exporter, {"error": "not run"})
            where = f"`{model}`, {NAMES[exporter]}"
            lines += [f"- {where}: {why}" for why in failures(one)]
    if len(lines) == 2:
        lines.append("Every model grows in both ways from both exporters.")
    lines += ["", "Axes of layers that stay as they are in models that do grow:", ""]
    for why, text in REFUSALS.items():
        names = [model for model in models if refuses(results.get(model, {}), why)]
        if names:
            lines.append(f"- {text} ({', '.join(f'`{name}`' for name in names)}).")
    return "\n".join(lines)


def refuses(found, why):
    spaces = [space for one in found.values() for space in one.get("refusals", [])]
    return any(space[0].startswith(why) for space in spaces)


def failures(one):
    if "error" in one:
        return [one["error"]]
    found = [f"{node['node']} ({node['operator']}): {node['why']}" for node in one["not_understood"][:3]]
    for name in ("wider", "deeper"):
        at = one.get(name, {})
        if at and not good(at):
            found.append(f"{name}: {at.get('error') or 'differs by %.0e' % at['onnxruntime']}")
    return [line.replace("net2net: ", "")[:300] for line in found]
