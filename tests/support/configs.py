"""Small configurations, their edits, and what an edit would run again."""

import yaml

from mlquant.plan import config
from mlquant.plan.plan import Plan

CONFIG = """
sources:
  prompts: {package: some-prompts, urls: [{url: "https://example.org/prompts.tar", sha256: "ONES"}]}
samples:
  ann: {sex: f, source: prompts, file: raw/ann.raw}
  bob: {sex: m, source: prompts, file: raw/bob.raw}
  may: {sex: f, url: "https://example.org/may.raw", sha256: "ONES", optional: true}
corpora:
  voices:
    parts:
      women: {source: prompts, include: [f/*], minutes: 2}
      men: {source: prompts, include: [m/*], minutes: 2}
networks:
  manifold: {corpus: voices, family: manifold, nn: 1, lr: 1.0e-3, epochs: 3, voiced_only: true}
  nn4: {corpus: voices, family: autoencoder1, nn: 4, d: 10, noise_var: 1.0e-3, lr: 1.0e-3, epochs: 3}
quantisers:
  vq: {network: nn4, stages: [{size: 16}, {size: 32}, {size: 64}]}
experiments:
  "240118":
    samples: [ann, bob, may]
    outputs:
      1: {tag: out, process: original}
      3: {tag: y_hat, process: vocoder, networks: [manifold]}
      5: {tag: nn4, process: vocoder, networks: [nn4, manifold]}
      6: {tag: vq2, process: vocoder, networks: [nn4, manifold], quantiser: vq, stages: 2, mbest: 5}
      7: {tag: vq1, process: vocoder, networks: [nn4, manifold], quantiser: vq, stages: 1, mbest: 1}
      8: {tag: 3200, process: codec2, mode: 3200}
""".replace("ONES", "1" * 64)
COMPARED = (
    CONFIG
    + """
sweeps:
  rates:
    base: {corpus: voices, family: autoencoder4, nn: 1, d: 6, norm: false, loss: sd, lr: 1.0e-2, epochs: 3}
    rows:
      plain: {}
      slow: {lr: 1.0e-3}
    repeats: 2
studies:
  noise: {kind: noise, quantiser: vq, noise_vars: [0, 0.01]}
  against: {kind: uniform_vq, quantiser: vq}
  latents: {kind: latents, network: nn4}
  survivors: {kind: mbest, quantiser: vq, stages: [2, 3], mbest: [1, 5]}
  channel:
    kind: analog
    base: {corpus: voices, family: autoencoder1, nn: 4, lr: 1.0e-3, epochs: 2}
    d: [4, 6]
    snr_dB: [0, 2.5]
    quantiser: vq
    sample: ann
    manifold: manifold
    wav_snr_dB: [0]
  demo: {kind: demo, network: nn4, sample: bob}
"""
)
SAMPLES = ("ann", "bob", "may")
OUTPUTS = "experiments.240118.outputs"
ABSENT = object()


def edited(*edits, base=CONFIG):
    """The configuration with edits (dotted path, value); a value ABSENT removes the key."""
    raw = yaml.safe_load(base)
    for path, value in edits:
        *parents, last = [int(part) if part.isdigit() and len(part) < 4 else part for part in path.split(".")]
        block = raw
        for part in parents:
            block = block[part]
        if value is ABSENT:
            del block[last]
        else:
            block[last] = value
    return raw


def planned(*edits):
    return Plan(config.load(edited(*edits)))


def gathering(plan, experiment="240118"):
    """What the folder of an experiment depends on beside files that are keyed themselves."""
    return plan.experiments[experiment].tables.folder, plan.params(("mlquant.experiments.stages:page",), {})


def rows_of(plan, sample, experiment="240118"):
    """What is measured of a sample's outputs."""
    return plan.experiments[experiment].measured[sample][0].settings["rows"]


def redone(before, after):
    """Stages of a plan that another one does not have: what would run, as kind/name."""
    return {f"{stage.kind}/{stage.name}" for folder, stage in after.nodes.items() if folder not in before.nodes}


def each_sample(*stages):
    """Names of stages with every sample in the place of the asterisk."""
    return {stage.replace("*", sample) for stage in stages for sample in SAMPLES}
