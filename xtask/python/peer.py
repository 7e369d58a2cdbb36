"""PyTorch's side: a net2net graph as a `torch.nn.Module`.

A checkpoint is a safetensors file whose metadata carries the graph in its text form, one line a
value or node:

    node conv [N, 16, 28, 28] = Conv(images, conv.weight; pads=[1, 1, 1, 1])

The text is parsed, each node becomes one call of a PyTorch function, and the parameters keep the
graph's names: `stem.conv.weight` is the parameter `weight` of the submodule `stem.conv`. Inputs
and outputs are in the graph's own axis order (NCHW).
"""

import re
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from safetensors import safe_open

# --- The text form -----------------------------------------------------------------------------


@dataclass
class Node:
    """One line `node OUTPUTS = OPERATOR(INPUTS; ATTRIBUTES)`."""

    operator: str
    inputs: list
    outputs: list
    attributes: dict = field(default_factory=dict)


@dataclass
class Graph:
    """A parsed graph. Shapes are lists of sizes, the batch is the string `N`."""

    name: str
    inputs: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    nodes: list = field(default_factory=list)
    outputs: list = field(default_factory=list)


TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z0-9_.\-/:]+)|(\S))')
ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|(.))")


class Line:
    """The tokens of one line, read from the front; each is a pair (kind, text)."""

    def __init__(self, text):
        self.text = text
        self.tokens = []
        for quoted, bare, mark in TOKEN.findall(text):
            if mark:
                self.tokens.append(("mark", mark))
            elif bare:
                self.tokens.append(("bare", bare))
            else:
                plain = ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2], quoted)
                self.tokens.append(("text", plain))

    def take(self):
        if not self.tokens:
            raise ValueError(f"the line ends too early: {self.text}")
        return self.tokens.pop(0)

    def accept(self, mark):
        found = self.tokens[:1] == [("mark", mark)]
        if found:
            self.tokens.pop(0)
        return found

    def expect(self, mark):
        if not self.accept(mark):
            raise ValueError(f"expected `{mark}` before {self.tokens[:1]} in: {self.text}")

    def name(self):
        kind, text = self.take()
        if kind == "mark":
            raise ValueError(f"expected a name, found `{text}` in: {self.text}")
        return text

    def items(self):
        """`[a, b, …]`, each an integer or `N`."""
        self.expect("[")
        items = []
        while not self.accept("]"):
            word = self.name()
            items.append(word if word == "N" else int(word))
            self.accept(",")
        return items

    def attribute(self):
        if self.tokens[:1] == [("mark", "[")]:
            return self.items()
        kind, text = self.take()
        if kind == "text":
            return text
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def node(self):
        outputs = [self.name()]
        self.items()
        while self.accept(","):
            outputs.append(self.name())
            self.items()
        self.expect("=")
        node = Node(self.name(), [], outputs)
        self.expect("(")
        while not self.accept(")"):
            if self.accept(";"):
                break
            node.inputs.append(self.name())
            self.accept(",")
        else:
            return node
        while not self.accept(")"):
            key = self.name()
            self.expect("=")
            node.attributes[key] = self.attribute()
            self.accept(",")
        return node


def parse(text):
    """Reads the text form of a graph."""
    graph = None
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        line = Line(line)
        keyword = line.name()
        if keyword == "graph":
            graph = Graph(line.name())
        elif keyword == "input":
            name = line.name()
            graph.inputs[name] = line.items()
        elif keyword == "param":
            name = line.name()
            graph.parameters[name] = line.items()
        elif keyword == "node":
            graph.nodes.append(line.node())
        elif keyword == "output":
            graph.outputs.append(line.name())
        else:
            raise ValueError(f"unknown keyword `{keyword}`")
        if line.tokens:
            raise ValueError(f"the line goes on where it should end: {line.text}")
    return graph


# --- The operators -----------------------------------------------------------------------------
#
# One builder for each operator: from a node's attributes to a function of its inputs and of
# whether the network is in training. Defaults are ONNX's.

BUILDERS = {}


def builder(operator):
    def register(build):
        BUILDERS[operator] = build
        return build

    return register


def elementwise(operator, function):
    BUILDERS[operator] = lambda attributes: lambda inputs, training: function(*inputs)


elementwise("Sigmoid", torch.sigmoid)
elementwise("Tanh", torch.tanh)
elementwise("Silu", F.silu)
elementwise("Identity", lambda x: x)
elementwise("PRelu", F.prelu)
elementwise("Add", torch.add)
elementwise("Mul", torch.mul)
elementwise("Softmax", lambda x: F.softmax(x, -1))
elementwise("Flatten", lambda x: torch.flatten(x, 1))
elementwise("GlobalAveragePool", lambda x: F.adaptive_avg_pool2d(x, 1))


@builder("Relu")
def relu(attributes):
    in_place = attributes.get("in_place", False)  # set by `mark_in_place`, not by the text
    return lambda inputs, training: F.relu(inputs[0], inplace=in_place)


@builder("LeakyRelu")
def leaky_relu(attributes):
    alpha = attributes.get("alpha", 0.01)
    return lambda inputs, training: F.leaky_relu(inputs[0], alpha)


@builder("Gelu")
def gelu(attributes):
    approximate = attributes.get("approximate", "none")
    return lambda inputs, training: F.gelu(inputs[0], approximate=approximate)


@builder("Dropout")
def dropout(attributes):
    ratio = attributes.get("ratio", 0.5)
    return lambda inputs, training: F.dropout(inputs[0], ratio, training)


@builder("Reshape")
def reshape(attributes):
    sizes = attributes["sizes"]
    return lambda inputs, training: inputs[0].reshape(-1, *sizes)


@builder("Concat")
def concat(attributes):
    axis = attributes.get("axis", 1)
    return lambda inputs, training: torch.cat(inputs, axis)


@builder("Gemm")
def gemm(attributes):
    transposed = attributes.get("transB", 0)

    def run(inputs, training):
        x, weight, *bias = inputs
        return F.linear(x, weight if transposed else weight.t(), *bias)

    return run


@builder("BatchNormalization")
def batch_norm(attributes):
    # ONNX's momentum is the share that stays, PyTorch's the share that comes new.
    momentum = 1.0 - attributes.get("momentum", 0.9)
    epsilon = attributes.get("epsilon", 1e-5)

    def run(inputs, training):
        x, scale, shift, mean, variance = inputs
        return F.batch_norm(x, mean, variance, scale, shift, training, momentum, epsilon)

    return run


def split_pads(attributes, most):
    """ONNX's pads (top, left, bottom, right) as what the function does itself, and what `F.pad`
    (left, right, top, bottom) must do before: PyTorch's windows are padded alike on both sides,
    and those of its pools by `most`, half a window."""
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    alike = (top, left) == (bottom, right)
    if alike and (most is None or (top <= most[0] and left <= most[1])):
        return (top, left), None
    return (0, 0), (left, right, top, bottom)


@builder("Conv")
def conv(attributes):
    pads, before = split_pads(attributes, None)
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    groups = attributes.get("group", 1)

    def run(inputs, training):
        x, weight, *bias = inputs
        x = F.pad(x, before) if before else x
        return F.conv2d(x, weight, *(bias or [None]), strides, pads, dilations, groups)

    return run


@builder("MaxPool")
def max_pool(attributes):
    kernel = attributes["kernel_shape"]
    pads, before = split_pads(attributes, [size // 2 for size in kernel])
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])

    def run(inputs, training):
        x = F.pad(inputs[0], before, value=float("-inf")) if before else inputs[0]
        return F.max_pool2d(x, kernel, strides, pads, dilations)

    return run


@builder("AveragePool")
def average_pool(attributes):
    kernel = attributes["kernel_shape"]
    pads, before = split_pads(attributes, [size // 2 for size in kernel])
    strides = attributes.get("strides", [1, 1])
    include = bool(attributes.get("count_include_pad", 0))

    def run(inputs, training):
        x = inputs[0]
        if not before:
            return F.avg_pool2d(x, kernel, strides, pads, count_include_pad=include)
        y = F.avg_pool2d(F.pad(x, before), kernel, strides)
        if include:
            return y
        share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), before), kernel, strides)
        return y / share

    return run


def mark_in_place(graph):
    """Lets rectifiers overwrite what nobody else reads, as PyTorch's own models do."""
    readers = [name for node in graph.nodes for name in node.inputs] + graph.outputs
    made_by = {name: node.operator for node in graph.nodes for name in node.outputs}
    for node in graph.nodes:
        if node.operator == "Relu":
            # Functions that do not read their output again in the backward pass.
            source = made_by.get(node.inputs[0]) in ("Conv", "BatchNormalization", "Gemm", "Add")
            node.attributes["in_place"] = source and readers.count(node.inputs[0]) == 1


# --- The module --------------------------------------------------------------------------------


class Peer(torch.nn.Module):
    """The network of a graph; called with its inputs in order, it returns its first output."""

    def __init__(self, graph, tensors):
        super().__init__()
        mark_in_place(graph)
        running, weights = set(), set()
        for node in graph.nodes:
            if node.operator == "BatchNormalization":
                running.update(node.inputs[3:5])
            elif node.operator in ("Conv", "Gemm"):
                weights.add(node.inputs[1])
        self.decaying = sorted(weights & set(graph.parameters))
        self.places = {}
        for name, shape in graph.parameters.items():
            if list(tensors[name].shape) != shape:
                raise ValueError(f"`{name}` has shape {list(tensors[name].shape)}, not {shape}")
            self.register(name, tensors[name].clone(), name in running)
        # Values are kept by index, the inputs first, then the parameters, then what nodes make.
        values = [*graph.inputs, *graph.parameters]
        values += [name for node in graph.nodes for name in node.outputs]
        index = {name: i for i, name in enumerate(values)}
        self.steps = [
            (BUILDERS[node.operator](node.attributes), [index[name] for name in node.inputs])
            for node in graph.nodes
        ]
        self.output = index[graph.outputs[0]]
        self.input_shape = next(iter(graph.inputs.values()))

    def register(self, name, tensor, running):
        *path, last = name.split(".")
        holder = self
        for part in path:
            if part not in holder._modules:
                holder.add_module(part, torch.nn.Module())
            holder = holder._modules[part]
        if running:
            holder.register_buffer(last, tensor)
            self.places[name] = (holder._buffers, last)
        else:
            holder.register_parameter(last, torch.nn.Parameter(tensor))
            self.places[name] = (holder._parameters, last)

    def stored(self):
        """Parameters and running statistics by name, in the graph's order."""
        return {name: holder[last] for name, (holder, last) in self.places.items()}

    def groups(self, weight_decay):
        """Parameter groups for an optimizer: only matrices and filters decay."""
        named = dict(self.named_parameters())
        others = [parameter for name, parameter in named.items() if name not in self.decaying]
        decaying = [named[name] for name in self.decaying]
        return [
            {"params": decaying, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def forward(self, *inputs):
        values = [*inputs, *self.stored().values()]
        for run, sources in self.steps:
            values.append(run([values[i] for i in sources], self.training))
        return values[self.output]


def load(path):
    """The network of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        graph = parse(file.metadata()["net2net.graph"])
        tensors = {name: file.get_tensor(name) for name in graph.parameters}
    return Peer(graph, tensors)
