"""Training of a network: features in; weights, settings and a loss curve out.

One plain loop for every network. It differs from the original's in what the specification asks for:
vectors are shuffled, noise is drawn for each vector, and the loss's weight comes from the target. Every
draw follows from the seed and the epoch, so that a run that was stopped goes on from its checkpoint to
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch

from mlquant.core.disk import write_bytes, write_json, write_text
from mlquant.core.errors import InputError, log, one_line, progress
from mlquant.networks import losses
from mlquant.networks.inputs import network_inputs, normalised
from mlquant.networks.model import Network
from mlquant.networks.rows import ENTRIES, SHAPING, latent_width, row_of, training_frames
from mlquant.vocoder.features import energy_dB

CHECKPOINT = "checkpoint.safetensors"
_CHECKPOINT_EVERY = 5  # epochs
_SD_OF_Y = slice(3, 74)  # 200 to 3700 Hz of the 79 points; b spans just that
_ERRORS = 1 << 20  # of a search at once, 4 MB: with more it is slower
_REFINEMENTS = 3  # Lloyd iterations of a codebook at each refresh
_LOST = 10.0  # times the SD of a constant output: more than any network has that is not trained yet
_NO_LESS = 1.001  # times the least loss before: what does not change at all is not lost, but is not trained
_EPOCHS_LOST, _STEPS_LOST, _SHARE_LOST = 5, 200, 0.25  # for how long a training may be lost, see _patience
Features = list[np.ndarray]  # the records [F, 22] of each file
Targets = list[np.ndarray] | None  # y [F, 79] of each file, where a network makes y_hat
Latents = list[np.ndarray]  # quantised, [ceil(F/ncat), latent_width] of each file


def training_set(
    settings: dict,
    features: Features,
    targets: Targets,
    held_out: tuple[Features, Targets] | None = None,
    latents: tuple[Latents, Latents] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs and targets for training, then for the held-out share: [n, inputs] and [n, outputs] float32 each.

    `features` are records [F, 22], `targets` y [F, 79] or None for a network that takes and gives back b, one array
    a file. The last `held_out` of each file is held out; where there are features and targets of other voices, in
    the argument `held_out`, all of these are the held-out set instead, and the end of each file is in neither. Frames
    below `thresh` dB of b energy, and unvoiced frames when `voiced_only`, are left out; a sequence of `ncat` frames
    counts when all of them do.

    `latents` are those of `features` and of the features in `held_out`. With them these are the inputs,
    [n, latent_width], and sequences do not overlap, as where latents are made; a last short one is left out.

    Raises InputError when targets or latents and features do not fit, and when nothing is left.
    """
    others, others_y = held_out or ([], None)
    _check_targets(settings, features, targets)
    if others or others_y:
        _check_targets(settings, others, others_y)
        targets = None if targets is None else [*targets, *(others_y or [])]
    row, ncat = row_of(settings), settings["ncat"]
    if latents is not None:
        _check_latents(settings, [*features, *others], [*latents[0], *latents[1]])
    inputs: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    outputs: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for i, records in enumerate([*features, *others]):
        y = None if targets is None else targets[i]
        x = network_inputs(settings, y if y is not None and row.source == "y" else records)
        t = x if y is None else normalised(y)
        keep = np.ones(len(records), bool)
        if settings["thresh"] is not None:
            keep &= energy_dB(records[:, :20]) > settings["thresh"]
        if settings["voiced_only"]:
            keep &= records[:, 21] > 0
        split = training_frames(settings, len(records))
        if not others:
            spans = (slice(0, split), slice(split, None))
        else:
            spans = (slice(0, split), slice(0, 0)) if i < len(features) else (slice(0, 0), slice(None))
        for part, span in enumerate(spans):
            starts = _starts(keep, span, ncat, step=ncat if latents else 1)
            outputs[part].append(_sequences(t, starts, ncat))
            if latents is None:
                inputs[part].append(_sequences(x, starts, ncat))
            else:
                inputs[part].append([*latents[0], *latents[1]][i][starts // ncat])
    arrays = [torch.from_numpy(np.concatenate(parts)) for part in range(2) for parts in (inputs[part], outputs[part])]
    for name, array in zip(("training", "held-out"), arrays[::2], strict=True):
        if not len(array):
            raise InputError(
                f"{name} set: 0 vectors are left with thresh {settings['thresh']}, voiced_only "
                f"{settings['voiced_only']}, held_out {settings['held_out']}, expected at least one"
            )
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _check_targets(settings: dict, features: list[np.ndarray], targets: list[np.ndarray] | None) -> None:
    name = f"{settings['family']} nn {settings['nn']}"
    needed = row_of(settings).target == "y"
    if needed != (targets is not None):
        raise InputError(
            f"target: {name} {'needs y' if needed else 'is trained on b alone'}, expected "
            f"{'one file of y for each of b' if needed else 'none'}"
        )
    found = [len(records) for records in features]
    expected = found if targets is None else [len(y) for y in targets]
    if found != expected:
        raise InputError(f"target: {expected} frames of y, expected {found} as of b")


def _check_latents(settings: dict, features: Features, latents: Latents) -> None:
    ncat, width = settings["ncat"], latent_width(settings)
    if width is None:
        raise InputError(f"latents: {settings['family']} nn {settings['nn']} has no bottleneck, expected no latents")
    found, expected = ([array.shape for array in latents], [(-(-len(records) // ncat), width) for records in features])
    if found != expected:
        raise InputError(f"latents: shapes {found}, expected {expected} as of b in sequences of {ncat}")


def _starts(keep: np.ndarray, span: slice, ncat: int, step: int) -> np.ndarray:
    """First frames [n] of the sequences of `ncat` kept frames in a span of a file; each is a multiple of `step`."""
    first, last, _ = span.indices(len(keep))
    starts = np.arange(-(-first // step) * step, last - ncat + 1, step)
    if not len(starts):
        return starts
    return starts[np.lib.stride_tricks.sliding_window_view(keep, ncat)[starts].all(axis=1)]


def _sequences(vectors: np.ndarray, starts: np.ndarray, ncat: int) -> np.ndarray:
    """The sequences of `ncat` vectors [F, n] that begin at `starts` [n'], flattened: [n', ncat*n]."""
    return vectors[starts[:, None] + np.arange(ncat)].reshape(len(starts), ncat * vectors.shape[1])


def train(
    settings: dict,
    features: Features,
    targets: Targets,
    folder: Path,
    held_out: tuple[Features, Targets] | None = None,
    initial: tuple[dict[str, torch.Tensor], dict] | None = None,
    latents: tuple[Latents, Latents] | None = None,
    codebooks: list[np.ndarray] | None = None,
    refined: Callable | None = None,
    device: torch.device | None = None,
) -> None:
    """Train a network and write weights.safetensors, settings.json, losses.csv and training.json into `folder`.

    The initial weights are random, or the tensors in `initial` (see `state_of`), which come with their settings. With
    quantised `latents` (see `training_set`) the decoder alone is trained, on these. With `codebooks` [M, latent_width]
    a search quantises the latents by them, in training and in measuring. The codebooks follow the latents: before the
    first epoch, and again after every `refresh` epochs (a setting), `refined`, which is that of `vq`, fits them to
    the whole training set. `device` is that of the settings unless one is given.

    A checkpoint in `folder` that was made with the same settings and data is continued. Raises InputError
    when a loss is not finite, or stays worse than that of a constant output (see `_is_lost`), naming the epoch and the
    setting to lower, and for weights, latents or codebooks that do not go with the settings.
    """
    _check_initial(settings, initial, latents, codebooks)
    device = device or device_of(settings)
    torch.set_num_threads(settings["threads"])
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings["seed"])
    arrays = training_set(settings, features, targets, held_out, latents)
    trained_codebooks = [torch.tensor(codebook, device=device) for codebook in codebooks or ()]
    identity = identity_of(settings, *arrays, *(initial[0].values() if initial else ()), *trained_codebooks)
    network = Network(settings)
    if initial:
        network.load_state_dict(initial[0])
    else:
        network.start_at(arrays[1].mean(dim=0))
    network.to(device)
    optimiser = _optimiser(settings, network if latents is None else network.decoder)
    x, t, x_held, t_held = (array.to(device) for array in arrays)
    folder.mkdir(parents=True, exist_ok=True)
    curve, seconds = resume(folder / CHECKPOINT, identity, network, optimiser, trained_codebooks)

    def quantise(latents: torch.Tensor) -> torch.Tensor:
        return searched(latents, trained_codebooks, settings["mbest"])

    def outputs(x: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        return network.decode(x) if latents is not None else network(x, noise, quantise if trained_codebooks else None)

    started = time.monotonic() - seconds
    log(f"{len(x)} training and {len(x_held)} held-out vectors, {settings['epochs']} epochs after {len(curve)}")
    steps_per_epoch = math.ceil(len(x) / settings["batch"])
    constant, patience = _of_a_constant(settings, t), _patience(settings, steps_per_epoch)
    for epoch in range(len(curve) + 1, settings["epochs"] + 1):
        seed = settings["seed"] * 1_000_003 + epoch
        draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # quantisers in a network draw from here
        if trained_codebooks and refined and (epoch - 1) % settings["refresh"] == 0:
            _refresh(settings, network.eval(), x, trained_codebooks, refined)
        order = torch.randperm(len(x), generator=draws)
        if network.row.layers == "normalised" and len(x) % settings["batch"] == 1:
            order = order[:-1]  # alone in a batch it would have no variance to be normalised by
        total = torch.zeros(2, dtype=torch.float64, device=device)
        network.train().entries_used.zero_()
        for step, chosen in enumerate(order.to(device).split(settings["batch"])):
            done = (epoch - 1 + step / steps_per_epoch) / settings["epochs"]
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, done)
            target = t[chosen]
            estimate = outputs(x[chosen], draws)
            value = _loss(settings, estimate, target)
            optimiser.zero_grad()
            (value + network.commitment).backward()
            optimiser.step()
            with torch.no_grad():
                total += len(chosen) * torch.stack([value, sd_dB2(settings, estimate, target)]).double()
        used = network.entries_used.sum(dim=1).tolist() if network.row.quantised == "vq" else []
        network.eval()
        held = _evaluate(settings, outputs, x_held, t_held)
        row = (epoch, learning_rate(settings, done), *(total / len(order)).tolist(), *held, *used)
        if not all(math.isfinite(number) for number in row):
            raise InputError(
                f"epoch {epoch}: the loss is {row[2]:g} in training, {row[4]:g} held out, expected finite values; "
                f"lower the setting lr (now {settings['lr']:g})"
            )
        curve.append(row)
        if len(curve) >= patience and _is_lost(settings, curve[-patience:], constant):
            raise InputError(
                f"epoch {epoch}: the loss is {row[2]:g} (SD {row[3]:g} dB^2), after {patience} epochs of more than the "
                f"{constant[0]:g} (SD {constant[1]:g} dB^2) of a constant output, expected less; lower the setting lr "
                f"(now {settings['lr']:g})"
            )
        progress(
            f"epoch {epoch}/{settings['epochs']} loss {row[2]:.6f} SD {row[3]:.3f} dB^2, "
            f"held out {row[4]:.6f} {row[5]:.3f} dB^2" + (f", entries used {used} of {ENTRIES}" if used else ""),
            done=epoch == settings["epochs"],
        )
        if epoch % _CHECKPOINT_EVERY == 0 and epoch < settings["epochs"]:
            run = {"identity": identity, "curve": curve, "seconds": time.monotonic() - started}
            save_checkpoint(folder / CHECKPOINT, run, network, optimiser, trained_codebooks)
    # One metadata entry: with several their order in the file is not defined.
    weights = safetensors.torch.save(network.cpu().state_dict(), {"settings": json.dumps(settings, sort_keys=True)})
    report = {"failed": None, "seconds": round(time.monotonic() - started, 3), "device": device.type}
    _write(folder, settings, curve, weights, report)


def device_of(settings: dict) -> torch.device:
    """Return the device to train on: the first CUDA device if it works, unless the settings say otherwise.

    Torch finds devices that it cannot compute on: too old for it, or taken by others, with all their memory. So a small
    product is tried. Where it fails, `auto` takes the CPU and a line says why; `cuda` ends in InputError.
    """
    if settings["device"] == "cpu":
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no product is deterministic there
    reasons: list[Exception | Warning | str] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            if torch.cuda.is_available():
                torch.ones(2, 2, device="cuda").mm(torch.ones(2, 2, device="cuda")).cpu()
                return torch.device("cuda")
        except (RuntimeError, AssertionError) as error:
            reasons.append(error)
    reasons += [warning.message for warning in warned]
    reason = f"that of this machine cannot be used: {one_line(str(reasons[0]).splitlines()[0])}" if reasons else ""
    if settings["device"] == "cuda":
        raise InputError(f"device: found cuda, but {reason or 'torch finds none here'}, expected auto or cpu")
    if reason:
        log(f"device: cpu in place of cuda, as {reason}")
    return torch.device("cpu")


def state_of(settings: dict, state: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return the tensors of the network of these settings; RuntimeError for those of another network."""
    network = Network(settings)
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return network.state_dict()


def _check_initial(settings: dict, initial: tuple | None, latents: tuple | None, codebooks: list | None) -> None:
    name, row = f"{settings['family']} nn {settings['nn']}", row_of(settings)
    if initial is None and (latents is not None or codebooks):
        raise InputError(f"initial: none, expected weights with {'latents' if codebooks is None else 'codebooks'}")
    for key in SHAPING:
        if initial is not None and initial[1][key] != settings[key]:
            raise InputError(f"{key}: found {settings[key]}, expected {initial[1][key]} as of the initial weights")
    if codebooks and latents is not None:
        raise InputError("codebooks: found with latents, expected one of both")
    if codebooks and (not row.encoder or row.quantised or settings["symbols"]):
        reason = "has no bottleneck" if not row.encoder else "quantises" if row.quantised else "makes symbols"
        raise InputError(f"codebooks: {name} {reason}, expected a network with a bottleneck and nothing in it")
    for codebook in codebooks or ():
        if codebook.shape[1] != latent_width(settings):
            raise InputError(f"codebook: {codebook.shape[1]} elements an entry, expected {latent_width(settings)}")


@torch.no_grad()
def searched(latents: torch.Tensor, codebooks: Sequence[torch.Tensor], mbest: int) -> torch.Tensor:
    """Return latents [F, d] quantised by M-best search through the codebooks [M, d] of all stages, as by `vq.search`.

    It runs on the device of the latents and is made for a batch. For 512 latents, two stages of 4096 entries and 5
    survivors one core takes 20 ms; with faiss, whose fast kernel is for far more vectors at once, it takes 55 ms.
    """
    largest = max(map(len, codebooks))
    block = max(1, _ERRORS // (largest * (min(mbest, largest) if len(codebooks) > 1 else 1)))
    if len(latents) > block:
        return torch.cat([searched(part, codebooks, mbest) for part in latents.split(block)])
    residuals = latents[:, None]  # [F, paths, d]
    rows = torch.arange(len(latents), device=latents.device)[:, None]
    for stage, codebook in enumerate(codebooks):
        # Half of the squared error of each entry, less what is the same for all the entries of a path.
        errors = torch.addmm(codebook.square().sum(dim=1) / 2, residuals.flatten(0, 1), codebook.T, alpha=-1)
        errors, offset = errors.unflatten(0, residuals.shape[:2]), residuals.square().sum(dim=2) / 2
        if stage < len(codebooks) - 1:
            least, entries = errors.topk(min(mbest, len(codebook)), largest=False)
            least = (least + offset[:, :, None]).flatten(1)
            chosen = least.topk(min(mbest, least.shape[1]), largest=False)[1]
            paths, entries = chosen // entries.shape[2], entries.flatten(1).gather(1, chosen)
        else:
            paths = (errors.amin(dim=2) + offset).min(dim=1, keepdim=True)[1]
            entries = errors[rows, paths].min(dim=2)[1]
        residuals = residuals[rows, paths] - codebook[entries]
    return latents - residuals[:, 0]


@torch.no_grad()
def _refresh(
    settings: dict, network: Network, x: torch.Tensor, codebooks: list[torch.Tensor], refined: Callable
) -> None:
    """Refine the codebooks, in place, on the latents of the whole training set."""
    latents = torch.cat([network.encode(block) for block in x.split(8192)]).cpu().numpy()
    arrays = [codebook.cpu().numpy() for codebook in codebooks]
    arrays = refined(latents, arrays, iterations=_REFINEMENTS, threads=settings["threads"])
    for codebook, moved in zip(codebooks, arrays, strict=True):
        codebook.copy_(torch.from_numpy(moved))


def write_failure(settings: dict, reason: str, folder: Path) -> None:
    """Write the files of a network whose training failed; its use ends in an error that gives the reason."""
    weights = safetensors.torch.save({}, {"failed": reason})
    _write(folder, settings, [], weights, {"failed": reason, "seconds": None, "device": None})


def _write(folder: Path, settings: dict, curve: list[tuple], weights: bytes, report: dict) -> None:
    columns = ["epoch", "lr", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"]
    if curve:
        columns += [f"entries_used_{stage}" for stage in range(1, len(curve[0]) - len(columns) + 1)]
    write_text(folder / "losses.csv", pd.DataFrame(curve, columns=columns).to_csv(index=False, float_format="%.9g"))
    write_json(folder / "settings.json", settings)
    write_json(folder / "training.json", report)
    write_bytes(folder / "weights.safetensors", weights)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def learning_rate(settings: dict, done: float) -> float:
    """Learning rate after a share `done` (0..1) of training: constant, or falling to 0 as half a cosine."""
    if settings["schedule"] == "constant":
        return settings["lr"]
    return settings["lr"] * 0.5 * (1 + math.cos(math.pi * done))


def _optimiser(settings: dict, trained: torch.nn.Module) -> torch.optim.Optimizer:
    if settings["optimiser"] == "sgd":
        return torch.optim.SGD(trained.parameters(), lr=settings["lr"])
    return torch.optim.Adam(trained.parameters(), lr=settings["lr"], fused=True)


def _loss(settings: dict, estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if settings["loss"] == "wloss":
        return losses.wloss(estimate, target, settings["gamma"])
    return losses.sd(estimate, target)


def sd_dB2(settings: dict, estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Spectral distortion [] in dB^2, 200 to 3700 Hz, of outputs against targets [F, outputs]."""
    points = _SD_OF_Y if row_of(settings).target == "y" else slice(None)
    return losses.DB2 * losses.sd(estimate[:, points], target[:, points])


def _of_a_constant(settings: dict, target: torch.Tensor) -> tuple[float, float]:
    """Least loss, and least SD in dB^2, that constant outputs have for targets [n, outputs]."""

    def least(values: torch.Tensor, weigh: Callable) -> float:
        # The mean of w (v - c)^2 for the best c, by sums over parts: all targets as float64 would take much memory.
        sums = torch.zeros(3, values.shape[1], dtype=torch.float64, device=values.device)
        for part in values.split(1 << 14):
            weights, numbers = (array.double() for array in weigh(part))
            sums += torch.stack([weights, weights * numbers, weights * numbers**2]).sum(dim=1)
        return float((sums[2] - sums[1] ** 2 / sums[0]).sum() / values.numel())

    def in_dB(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones_like(part), part

    def in_amplitude(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return losses.target_weight(part, settings["gamma"]) ** 2, 10.0 ** part.double()

    points = _SD_OF_Y if row_of(settings).target == "y" else slice(None)
    loss = least(target, in_amplitude if settings["loss"] == "wloss" else in_dB)
    return loss, losses.DB2 * least(target[:, points], in_dB)


def _patience(settings: dict, steps_per_epoch: int) -> int:
    """Return for how many epochs in a row a training may be lost before it is stopped.

    They have 200 steps, because some trainings find back, but they are no more than a quarter of all epochs, and five
    at least. A short training may be lost in all of its epochs, if these are three or more.
    """
    most = round(_SHARE_LOST * settings["epochs"])
    patience = max(_EPOCHS_LOST, min(most, math.ceil(_STEPS_LOST / steps_per_epoch)))
    return min(patience, max(settings["epochs"], 3))


def _is_lost(settings: dict, rows: list[tuple], constant: tuple[float, float]) -> bool:
    """Whether the loss of each of some epochs is worse than that of a constant output, by far or without getting less.

    The SD is asked too, as `wloss` tells by little that all outputs are far too low. A network that is not trained yet
    has six to nine times the SD of a constant; one that learns slowly gets away from there, if only by a little each
    epoch. With a noise that drowns everything it may stay at four times, which is what a study of noise asks for; the
    held-out SD is without that noise.
    """
    if not all(row[2] > constant[0] and row[3] > constant[1] for row in rows):
        return False
    if all(min(row[3], row[5]) > _LOST * constant[1] for row in rows):
        return True
    earlier, later = ([row[2] for row in part] for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]))
    stays = len(rows) >= _EPOCHS_LOST and min(later) > _NO_LESS * min(earlier)
    return stays and not settings["noise_var"]


@torch.no_grad()
def _evaluate(settings: dict, outputs: Callable, x: torch.Tensor, t: torch.Tensor) -> tuple[float, float]:
    """Loss and SD in dB^2 without noise."""
    estimate = outputs(x)
    return _loss(settings, estimate, t).item(), sd_dB2(settings, estimate, t).item()


def identity_of(settings: dict, *data: torch.Tensor) -> str:
    """Digest of all that a checkpoint's run depends on."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in data:
        digest.update(array.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path,
    run: dict,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    codebooks: Sequence[torch.Tensor] = (),
) -> None:
    """Write the tensors of network, optimiser and codebooks, and the state of the run, with a checksum of all.

    Without it a damaged tensor would be loaded unnoticed. The optimiser's settings are those of the run, and
    its rate is set at every step.
    """
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"codebook.{stage}": codebook for stage, codebook in enumerate(codebooks)}
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    text = json.dumps(run)
    metadata = {"checkpoint": json.dumps({"run": text, "sha256": _checksum(text, tensors)})}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {tensors[name].dtype} {list(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def resume(
    path: Path,
    identity: str,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    codebooks: Sequence[torch.Tensor] = (),
) -> tuple[list[tuple], float]:
    """Load a checkpoint of this very run into all of these; returns loss curve and seconds so far."""
    if not path.exists():
        return [], 0.0
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            entry = json.loads((file.metadata() or {})["checkpoint"])
        if entry["sha256"] != _checksum(entry["run"], tensors):
            raise ValueError("its checksum does not match")
        run = json.loads(entry["run"])
        curve, seconds = [tuple(row) for row in run["curve"]], float(run["seconds"])
        if run["identity"] != identity:
            log(f"{path}: a checkpoint of other settings or data, starting anew")
            return [], 0.0
        # All is checked before any of it is loaded, so that no network is half loaded.
        if {name: tensor.shape for name, tensor in tensors.items()} != _shapes(network, optimiser, codebooks):
            raise ValueError("its tensors are those of another network")
    except Exception as error:  # safetensors and JSON raise many kinds on a file that is no checkpoint
        log(f"{path}: not a checkpoint that can be continued ({one_line(str(error))[:200]}), starting anew")
        return [], 0.0
    weights: dict[str, torch.Tensor] = {}
    momentum: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        if part == "network":
            weights[rest] = tensor
        elif part == "codebook":
            codebooks[int(rest)].copy_(tensor)
        else:
            i, rest = rest.split(".")
            momentum.setdefault(int(i), {})[rest] = tensor
    network.load_state_dict(weights)
    optimiser.load_state_dict({"state": momentum, "param_groups": optimiser.state_dict()["param_groups"]})
    return curve, seconds


def _shapes(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, codebooks: Sequence[torch.Tensor]
) -> dict[str, torch.Size]:
    """Return the shapes of the tensors of a checkpoint, by name; SGD, as used here, has none."""
    shapes = {f"network.{name}": tensor.shape for name, tensor in network.state_dict().items()}
    shapes |= {f"codebook.{stage}": codebook.shape for stage, codebook in enumerate(codebooks)}
    if isinstance(optimiser, torch.optim.Adam):
        for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
            sizes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            shapes |= {f"optimiser.{i}.{name}": size for name, size in sizes.items()}
    return shapes
