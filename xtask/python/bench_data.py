"""torchvision's loader for `cargo xtask bench data`: an epoch for each line of input."""

import sys
import time

import torch
import torchvision
from torchvision import transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    folder, kind = sys.argv[1:3]
    batch, workers, side = map(int, sys.argv[3:6])
    crop = {
        "resized": transforms.RandomResizedCrop(side),
        "padded": transforms.RandomCrop(side, padding=4),
    }[kind]
    steps = [
        crop,
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    images = torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(
        images,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
    )
    print(f"torchvision {torchvision.__version__}", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        count = sum(len(labels) for _, labels in loader)
        print(count / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
