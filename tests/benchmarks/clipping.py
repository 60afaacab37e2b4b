"""Private steps with per-example gradients against ghosts: CPU seconds, peak memory, same weights.

Run: python tests/benchmarks/clipping.py [--batch 32]. Each way runs in a process of its own, on one
thread; memory is what the steps need on top of the loaded model. The ratios to the first way, all
examples' gradients at once, are what to compare between machines.
"""

import argparse
import multiprocessing
import time

import torch
from torch import nn

from harness.data.examples import Split
from harness.defenses.dpsgd import DPSGD
from harness.memory import peak_mb
from zoo import nets
from zoo.recipe import Recipe

WHOLE = 1e3  # GiB: more than any batch here needs
WAYS = {
    "all at once": DPSGD(memory=WHOLE),
    "in pieces of 1/2 GiB": DPSGD(memory=0.5),
    "ghosts": DPSGD(clipping="ghost", memory=WHOLE),
}


def network(name: str) -> nn.Module:
    """A larger model for images of 3x32x32, the same on every call."""
    torch.manual_seed(0)
    if name == "wide mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(),
            nn.Linear(2048, 10),
        )  # fmt: skip
    model = nets.build(name, (3, 32, 32), 10)
    return DPSGD().adapt(model, fine_tuned=False)[0]


def measure(name: str, way: str, batch: int, steps: int) -> tuple[float, float, torch.Tensor]:
    """CPU seconds of a step, peak MiB on top of the model, and the weights afterwards."""
    torch.set_num_threads(1)
    model = network(name)
    stream = torch.Generator().manual_seed(0)
    data = Split(torch.rand(batch, 3, 32, 32, generator=stream), torch.arange(batch) % 10)
    # What is loaded and allocated once is not counted.
    WAYS[way].fit(network("mlp-128"), data, Recipe(epochs=1, batch_size=batch), seed=0)
    before, begin = peak_mb(), time.process_time()
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=steps, batch_size=batch)
    WAYS[way].fit(model, data, recipe, seed=0)
    seconds = (time.process_time() - begin) / steps
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    return seconds, peak_mb() - before, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {arguments.steps} steps of {arguments.batch} images")
    print("model           way                    CPU s/step  ratio   peak MiB  ratio  difference")
    for name in ("resnet18-stem3", "wide mlp"):
        first = None
        for way in WAYS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measure, (name, way, arguments.batch, arguments.steps))
            first = first or found
            seconds, peak, weights = found
            print(
                f"{name:15s} {way:22s} {seconds:10.2f} {seconds / first[0]:6.2f} {peak:10.0f} "
                f"{peak / first[1]:6.2f} {(weights - first[2]).abs().max():11.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
