"""Exports one of torchvision's classification models with random weights.

    python xtask/python/coverage_export.py MODEL SIDE torchscript|dynamo OUT
"""

import sys
import warnings

import torch
import torchvision

warnings.filterwarnings("ignore")


def build(name, side):
    """A model in which nothing is at a neutral value, so that nothing is exact by chance."""
    torch.manual_seed(0)
    settings = {"vit_b_16": {"image_size": side}}.get(name, {})
    if name in ("googlenet", "inception_v3"):
        settings = {"init_weights": False}
    model = getattr(torchvision.models, name)(weights=None, **settings).eval()
    with torch.no_grad():
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or "attn_mask" in key:
                continue
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif (tensor == tensor.flatten()[0]).all():
                # Ones of scales, zeros of shifts and of whole layers.
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def export(model, side, exporter, path):
    images = torch.randn(2, 3, side, side)
    if exporter == "dynamo":
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        return
    torch.onnx.export(
        model,
        (images,),
        path,
        dynamo=False,
        opset_version=17,
        training=torch.onnx.TrainingMode.EVAL,
        do_constant_folding=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
    )


def main(name, side, exporter, path):
    torch.set_num_threads(1)
    # Not under no_grad: without gradients attention takes a path that TorchScript cannot export.
    export(build(name, int(side)), int(side), exporter, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
