"""A training loop as the original's, to compare with: `python original_loop.py JSON`.

It is plain PyTorch: a Dataset that gives one vector at a time, a DataLoader that collects 32 of them in the order of
the file, and SGD at a constant rate. The noise on the latents is one vector for a whole batch.

Three things differ from the original, whose manifold network ends in NaN at its own rate on clean speech. The weight of
`wloss` comes from the target and is clipped. With this weight the last bias must start at the mean target, or the first
steps take the output to values without a gradient. The end of each file is held out; its SD is computed while the clock
is stopped.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mlquant.core import disk, records
from mlquant.networks import training


class Vectors(Dataset):
    """Pairs of input and target, which are taken one at a time."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor):
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.targets[index]


class Manifold(nn.Module):
    """b, log10(Wo) and voicing to y_hat."""

    def __init__(self, settings: dict):
        super().__init__()
        self.layer1, self.layer2, self.layer3 = nn.Linear(22, 512), nn.Linear(512, 512), nn.Linear(512, 79)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer3(torch.relu(self.layer2(torch.relu(self.layer1(x)))))


class Autoencoder(nn.Module):
    """b through a noisy bottleneck to b_hat."""

    def __init__(self, settings: dict):
        super().__init__()
        d = settings["d"]
        self.layer1, self.layer2, self.layer3 = nn.Linear(20, 512), nn.Linear(512, d), nn.Linear(d, 512)
        self.layer4, self.deviation = nn.Linear(512, 20), settings["noise_var"] ** 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latents = torch.tanh(self.layer2(torch.relu(self.layer1(x))))
        if self.training:
            latents = latents + self.deviation * torch.randn(latents.shape[1])
        return self.layer4(torch.relu(self.layer3(latents)))


def weighted_loss(estimate: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Squared error of linear amplitudes, weighted by the target's to the power of gamma - 1, 30 at most."""
    weight = torch.clamp(10 ** (-(1 - gamma) * target), max=30)
    return torch.mean(((10**estimate - 10**target) * weight) ** 2)


def train(settings: dict, data: tuple[torch.Tensor, ...], epochs: int) -> dict:
    """Train for some epochs; return seconds, steps and a curve with loss and held-out SD (dB^2) after each epoch."""
    torch.manual_seed(settings["seed"])
    inputs, targets, held_inputs, held_targets = data
    network = {"manifold": Manifold, "autoencoder1": Autoencoder}[settings["family"]](settings)
    list(network.parameters())[-1].data.copy_(targets.mean(dim=0))
    loader = DataLoader(Vectors(inputs, targets), batch_size=settings["batch"], shuffle=False, num_workers=0)
    optimiser = torch.optim.SGD(network.parameters(), lr=settings["lr"])
    seconds, steps, curve = 0.0, 0, []
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        network.train()
        total = 0.0
        for x, y in loader:
            loss = weighted_loss(network(x), y, settings["gamma"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            steps += 1
        seconds += time.perf_counter() - started
        with torch.no_grad():
            held = training.sd_dB2(settings, network.eval()(held_inputs), held_targets).item()
        print(f"epoch {epoch} loss {total / len(loader):.6f}, held out {held:.3f} dB^2", file=sys.stderr, flush=True)
        curve.append({"epoch": epoch, "seconds": seconds, "loss": total / len(loader), "held_out_sd_dB2": held})
    return {"seconds": seconds, "steps": steps, "vectors": len(inputs), "curve": curve}


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    features = [records.read_features(path) for path in request["features"]]
    y = [records.read_f32(path, 79) for path in request["target"]] if request["target"] else None
    data = training.training_set(request["settings"], features, y)
    disk.write_json(request["out"], train(request["settings"], data, request["epochs"]))
