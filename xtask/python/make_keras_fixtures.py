"""Small networks as tf2onnx, Keras' own export and jax2onnx write them, for the tests of net2net-onnx.

    python make_keras_fixtures.py DIRECTORY

The interpreter needs tensorflow-cpu, tf2onnx, flax, jax2onnx and onnx.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy
import onnx
from flax import nnx
from jax2onnx import to_onnx
from keras import layers


def image():
    """SAME pads that differ by side, separable convolutions, a gate, branches; images are NHWC."""
    x = start = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = shortcut = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(3, 1, activation="swish")(gate)
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Concatenate()([left, layers.Conv2D(5, 1, activation="tanh")(x)])
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x))
    return keras.Model(start, layers.Dense(5, activation="softmax")(x))


def attention():
    """One block of attention: its products become shape arithmetic around plain ones."""
    x = start = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 12)(x)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(3, 4)(y, y)])
    y = layers.Dense(20, activation="silu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(12)(y)])
    return keras.Model(start, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def randomize(model):
    """Nothing stays at 0 or 1, so that a mistake in it shows."""
    random = numpy.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            if len(variable.shape) == 1:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


class Attention(nnx.Module):
    """The same block as flax has it."""

    def __init__(self, rngs):
        self.embed, self.head = nnx.Embed(9, 12, rngs=rngs), nnx.Linear(12, 4, rngs=rngs)
        self.norm1, self.norm2 = nnx.LayerNorm(12, rngs=rngs), nnx.LayerNorm(12, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(3, 12, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(12, 20, rngs=rngs), nnx.Linear(20, 12, rngs=rngs)

    def __call__(self, ids):
        x = self.embed(ids)
        x = x + self.attention(self.norm1(x))
        x = x + self.down(nnx.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


def dense(x):
    """Products without a layer around them."""
    random = numpy.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    x = nnx.relu(x @ draw(10, 16) + draw(16))
    return nnx.log_softmax(jnp.tanh(x @ draw(16, 12)) @ draw(12, 3))


def forget_the_machine(path):
    """Exporters note where in which file a node was made."""
    model = onnx.load(path)
    for noted in [model, model.graph, *model.graph.node, *model.graph.value_info]:
        noted.ClearField("doc_string")
        noted.ClearField("metadata_props")
    onnx.save(model, path)


def main():
    folder = Path(sys.argv[1])
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as saved:
        randomize(image()).export(saved, verbose=False)
        target = str(folder / "keras-image.onnx")
        convert = [sys.executable, "-m", "tf2onnx.convert", "--opset", "17"]
        subprocess.run([*convert, "--saved-model", saved, "--output", target], check=True)
    model = randomize(attention())
    model(numpy.zeros((1, 7)))  # Keras exports only what has been called.
    model.export(folder / "keras-attention.onnx", format="onnx", verbose=False)
    ids = jax.ShapeDtypeStruct((2, 7), jnp.int32)
    onnx.save(to_onnx(Attention(nnx.Rngs(0)), [ids]), folder / "jax-attention.onnx")
    onnx.save(to_onnx(dense, [("N", 10)]), folder / "jax-dense.onnx")
    for path in [*folder.glob("keras-*.onnx"), *folder.glob("jax-*.onnx")]:
        forget_the_machine(path)


if __name__ == "__main__":
    main()
