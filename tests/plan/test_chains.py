"""What a configuration with quantisers of b, at intervals, with prediction, and with networks trained on stands for."""

import re

import numpy as np
import pytest
import yaml
from support.configs import CONFIG, planned, redone, rows_of

from mlquant.core.errors import InputError
from mlquant.plan import config
from mlquant.plan.plan import Plan
from mlquant.quantisers import gain
from mlquant.vocoder import chosen

CHAINS = (
    CONFIG.replace("  vq: {network", "  vq: &vq {network")
    + """
      9: {tag: b18, process: vocoder, networks: [manifold_b], quantiser: b18, mbest: 5}
      10: {tag: decoder, process: vocoder, networks: [nn4_decoder, manifold], quantiser: vq, stages: 2}
      11: {tag: loop, process: vocoder, networks: [nn4_loop, manifold], quantiser: loop_vq}
      12: {tag: slow, process: vocoder, networks: [nn4, manifold], quantiser: slow}
"""
).replace(
    "quantisers:\n",
    """
  manifold_l: {finetune: manifold, quantiser: late_vq, lr: 1.0e-4, epochs: 2}
  manifold_b: {finetune: manifold, quantiser: b18, lr: 1.0e-4, epochs: 2}
  nn4_decoder: {finetune: nn4, quantiser: vq, stages: 2, epochs: 4}
  nn4_loop: {vq_in_loop: nn4, quantiser: vq, stages: 2, refresh: 3}
  late: {corpus: voices, family: autoencoder1, nn: 4, d: 6, lr: 1.0e-3, epochs: 3}
  y: {corpus: voices, family: autoencoder2, nn: 1, d: 10, lr: 1.0e-3, epochs: 3}
  y_decoder: {finetune: "y", quantiser: y_vq}
quantisers:
  b18: {corpus: voices, kind: predictive, predict: fit, mbest: 3, interval_ms: 20, reset_every: 100, thresh: 30,
        stages: [{size: 16}, {size: 16}]}
  late_vq: {network: late, stages: [{size: 16}]}
  y_vq: {network: "y", stages: [{size: 16}]}
  loop_vq: {network: nn4_loop, stages: [{size: 16}]}
  slow: {network: nn4, interval_ms: 40, kind: predictive, predict: 0.5, mbest: 2, stages: [{size: 16}]}
""",
)


VQS = {"corpus": "voices", "family": "autoencoder1", "nn": 7, "lr": 1e-3, "epochs": 1}
FSQ = {"finetune": "late", "quantiser": "late_vq"}
TWICE = {"process": "vocoder", "networks": ["nn4", "nn4_decoder", "manifold"], "quantiser": "vq"}
TWICE = ("experiments.240118.outputs", {1: {"tag": "a", **TWICE}})
BITS = {"kind": "bits", "samples": ["ann"], "corpus": "voices", "network": "nn4", "manifold": "manifold", "sizes": [16]}
BITS |= {"kinds": {"lbg": {}}, "interval_ms": [10]}
BACKWARDS = {"x": {"networks": ["manifold", "nn4"], "quantiser": "vq", "stages": [1]}}
REPEATED = {"x": {"networks": ["nn4", "manifold"], "quantiser": "vq", "stages": [1, 1]}}
LOOP = "networks.nn4_loop."
NN4 = yaml.safe_load(CONFIG)["networks"]["nn4"]


def chains(*edits):
    raw = yaml.safe_load(CHAINS)
    for path, value in edits:
        *parents, last = path.split(".")
        block = raw
        for part in parents:
            block = block[part]
        block[last] = value
    return Plan(config.load(raw))


def stages_of(plan, kind):
    return {stage.name: stage for stage in plan.nodes.values() if stage.kind == kind}


def made_by(plan, files):
    """Kind and settings of the stages that files are made by."""
    return [(plan[path.rpartition("/")[0]].kind, plan[path.rpartition("/")[0]].settings) for path in files]


def test_b_is_quantised_every_20_ms_before_its_network_and_costs_bits_accordingly():
    plan = chains()
    row = rows_of(plan, "ann")[6]
    assert (row["bits_per_frame"], row["frame_ms"], row["interval_ms"]) == (8, 20, 20)
    files = row["files"]
    ((_, settings),) = made_by(plan, [files["l_hat"]])
    assert settings == {
        **{"k": 20, "mbest": 5, "send_every": 2, "predict": None, "reset_every": 100},
        **{"smooth": 0.0, "st": 0, "en": None},
    }
    (restored,) = (plan[files["b_hat"].rpartition("/")[0]],)
    assert restored.kind == "gain_restored"
    assert restored.inputs == {"shapes": [files["l_hat"]], "features": [files["b"]]}
    inferred = plan[files["y_hat"].rpartition("/")[0]]
    assert inferred.inputs["features"] == [files["b_hat"]]
    assert inferred.inputs["weights"] == [plan.graph.networks["manifold_b"].file("weights.safetensors")]
    slow = rows_of(plan, "ann")[9]
    assert (slow["bits_per_frame"], slow["frame_ms"]) == (4, 40)
    ((_, settings),) = made_by(plan, [slow["files"]["l_hat"]])
    whole = {"smooth": 0.0, "st": 0, "en": None}
    assert settings == {"k": 10, "mbest": 5, "send_every": 4, "predict": "0.5", "reset_every": None, **whole}


def test_predictive_codebooks_are_trained_on_pairs_an_interval_apart_and_share_their_coefficient():
    plan = chains()
    books = stages_of(plan, "codebooks")
    (pairs,) = books["b18_1"].inputs["train"]
    ((kind, settings),) = made_by(plan, [pairs])
    assert (kind, settings) == ("gain_removed", {"thresh": 30, "pairs": 2, "held_out": 0.05})
    (predictor,) = books["b18_1"].inputs["predictor"]
    assert plan[predictor.rpartition("/")[0]].inputs == {"pairs": [pairs]}
    assert books["b18_2"].inputs == {
        "train": [pairs],
        "after": [books["b18_1"].file("vq.f32")],
        "predictor": [predictor],
    }
    assert stages_of(plan, "quantised")["ann_b18"].inputs["predictor"] == [predictor]
    ((kind, settings),) = made_by(plan, books["slow_1"].inputs["train"])
    assert (kind, settings) == ("latents", {"thresh": None, "pairs": 4, "training_share": True})
    assert books["slow_1"].settings["predict"] == "0.5" and "predictor" not in books["slow_1"].inputs


def test_an_interval_leaves_the_codebooks_of_a_quantiser_without_prediction():
    before = planned()
    after = planned(("quantisers.vq.interval_ms", 20))
    assert {name.split("/")[0] for name in redone(before, after)} & {"codebooks", "latents", "networks"} == set()
    assert [rows_of(after, "ann")[i]["frame_ms"] for i in (3, 4)] == [20, 20]


def test_a_manifold_is_trained_on_with_what_the_quantiser_makes_of_its_corpus():
    plan = chains()
    trained, start = plan.graph.networks["manifold_b"], plan.graph.networks["manifold"]
    assert trained.inputs["initial"] == [start.file("weights.safetensors")]
    assert trained.inputs["targets"] == start.inputs["targets"]
    for hat, b in zip(trained.inputs["features"], start.inputs["features"], strict=True):
        restored = plan[hat.rpartition("/")[0]]
        assert restored.kind == "gain_restored" and restored.inputs["features"] == [b]
        quantised = plan[restored.inputs["shapes"][0].rpartition("/")[0]]
        assert quantised.settings["send_every"] == 2 and len(quantised.inputs["codebooks"]) == 2
    changed = {"lr": 1e-4, "epochs": 2}
    assert trained.settings == start.settings | changed


def test_a_decoder_is_trained_on_with_quantised_latents_and_used_behind_the_encoder_it_has():
    plan = chains()
    trained, start = plan.graph.networks["nn4_decoder"], plan.graph.networks["nn4"]
    assert trained.inputs["features"] == start.inputs["features"] and trained.settings["noise_var"] == 0
    assert [kind for kind, _ in made_by(plan, trained.inputs["latents"])] == ["quantised"] * 2
    files = rows_of(plan, "ann")[7]["files"]
    decoded = plan[files["b_hat"].rpartition("/")[0]]
    assert decoded.inputs["weights"] == [trained.file("weights.safetensors")]
    assert decoded.inputs["latents"] == [files["l_hat"]] == [rows_of(plan, "ann")[3]["files"]["l_hat"]]


def test_a_manifold_can_be_trained_on_with_the_b_hat_of_a_network_that_comes_later():
    trained = chains().graph.networks["manifold_l"]
    assert [kind for kind, _ in made_by(chains(), trained.inputs["features"])] == ["decoded"] * 2


def test_the_decoder_of_a_network_that_takes_y_is_trained_on_with_the_latents_of_y():
    plan = chains()
    trained = plan.graph.networks["y_decoder"]
    assert trained.inputs["targets"] == plan.graph.networks["y"].inputs["targets"]
    for quantised, y in zip(trained.inputs["latents"], trained.inputs["targets"], strict=True):
        latents = plan[plan[quantised.rpartition("/")[0]].inputs["latents"][0].rpartition("/")[0]]
        assert latents.inputs["features"] == [y]


def test_ready_made_features_of_any_name_can_be_quantised():
    parts = {"own": {"b": "my é {features}".replace("{", "(").replace("}", ")") + "/b.f32", "y": "y.f32"}}
    for folder, stage in chains(("corpora.voices.parts", parts)).nodes.items():
        assert re.fullmatch(r"results/\w+/[A-Za-z0-9_-]+\.[0-9a-f]{8}", folder), stage


def test_a_network_with_the_quantiser_in_its_loop_takes_its_codebooks_and_gets_its_own():
    plan = chains()
    loop, books = plan.graph.networks["nn4_loop"], stages_of(plan, "codebooks")
    assert loop.inputs["codebooks"] == [books[f"vq_{i}"].file("vq.f32") for i in (1, 2)]
    assert loop.settings["refresh"] == 3 and loop.settings["noise_var"] == 0
    ((_, _),) = made_by(plan, books["loop_vq_1"].inputs["train"])
    latents = plan[books["loop_vq_1"].inputs["train"][0].rpartition("/")[0]]
    assert latents.inputs["weights"] == [loop.file("weights.safetensors")]


def test_held_out_voices_are_quantised_for_the_networks_that_are_measured_on_them():
    plan = chains(("corpora.voices.parts.men.held_out", True))
    trained = plan.graph.networks["manifold_b"]
    assert [kind for kind, _ in made_by(plan, trained.inputs["held_out_features"])] == ["gain_restored"]
    latents = plan.graph.networks["nn4_decoder"].inputs["held_out_latents"]
    assert [kind for kind, _ in made_by(plan, latents)] == ["quantised"]
    assert len(trained.inputs["features"]) == len(trained.inputs["held_out_targets"]) == 1


def test_what_is_trained_on_follows_its_start_and_leaves_it():
    before = chains()
    after = chains(("networks.manifold_b.epochs", 3))
    assert {name for name in redone(before, after) if name.startswith(("networks", "codebooks"))} == {
        "networks/manifold_b"
    }
    after = chains(("networks.manifold.epochs", 4))
    assert {name for name in redone(before, after) if name.startswith(("networks", "codebooks"))} == {
        "networks/manifold",
        "networks/manifold_b",
        "networks/manifold_l",
    }
    settings = chains(("networks.manifold.batch", 64)).graph.networks["manifold_b"].settings
    assert settings["batch"] == 64 and settings["lr"] == 1e-4, "what it does not set itself is its start's"


def test_the_configuration_in_an_experiments_folder_makes_the_same_again():
    plan = chains()
    tables = plan.experiments["240118"].tables
    again = Plan(config.load({**tables.settings["config"], "samples": yaml.safe_load(CHAINS)["samples"]}))
    assert {*tables.settings["config"]["networks"]} == {"manifold", "manifold_b", "nn4", "nn4_decoder", "nn4_loop"}
    before, after = (stages_of(one, "codebooks") for one in (plan, again))
    assert after and {name: before[name] for name in after} == after
    assert again.graph.networks.keys() == {*tables.settings["config"]["networks"]}
    for name, stage in again.graph.networks.items():
        assert stage.folder == plan.graph.networks[name].folder


def test_the_page_runs_only_what_is_quantised_vector_by_vector_behind_a_networks_own_decoder():
    (bottleneck,) = (chains().experiments["240118"].tables.settings["bottleneck"],)
    assert [choice["index"] for choice in bottleneck["choices"]] == [6, 7]
    of_b = yaml.safe_load(CHAINS)["experiments"]["240118"]["outputs"][9]
    of_b = chains(("experiments.240118.outputs", {9: of_b}))
    assert of_b.experiments["240118"].tables.settings["bottleneck"] is None


@pytest.mark.parametrize(
    ("edits", "says", "expected"),
    [
        ([("networks.manifold_b.finetune", "manifld")], "networks.manifold_b.finetune: 'manifld'", "'manifold'"),
        ([("networks.manifold_b.quantiser", "b81")], "networks.manifold_b.quantiser: 'b81'", "'b18'"),
        ([("networks.manifold_b.finetune", "manifold_b")], "finetune: found 'manifold_b'", "itself"),
        ([("networks.manifold.finetune", "manifold_b")], "finetune: found", "itself"),
        ([("networks.manifold_b.nn", 3)], "networks.manifold_b.nn: found 3", "expected 1 as of 'manifold'"),
        ([("networks.nn4_decoder.d", 12)], "networks.nn4_decoder.d: found 12", "expected 10"),
        ([("networks.nn4_decoder.stages", 4)], "networks.nn4_decoder.stages: found 4", "3 stages"),
        ([("networks.nn4_decoder.quantiser", "b18")], "networks.nn4_decoder.quantiser: 'b18'", "latents of 'nn4'"),
        ([(LOOP + "quantiser", "slow"), (LOOP + "stages", 1)], "loop.quantiser: found kind predictive", "lbg"),
        ([(LOOP + "finetune", "nn4")], "networks.nn4_loop: has finetune and vq_in_loop", "at most one"),
        ([("networks.nn4.quantiser", "vq")], "networks.nn4: quantiser goes with finetune or vq_in_loop", "only"),
        ([("networks.manifold_b.vq_in_loop", "manifold"), ("networks.manifold_b.finetune", None)], "manifold", "no b"),
        ([(LOOP + "quantiser", "loop_vq"), (LOOP + "stages", 1)], "'loop_vq'", "latents of 'nn4'"),
        ([("networks.nn4.mbest", 4)], "networks.nn4: mbest goes with quantiser", "only"),
        ([("networks.manifold_b.refresh", 3)], "networks.manifold_b: refresh goes with vq_in_loop", "only"),
        ([("networks.nn4_decoder.noise_var", 0.1)], "networks.nn4_decoder.noise_var: found 0.1", "expected 0"),
        ([("networks.manifold_b.finetune", 7)], "networks.manifold_b.finetune: '7'", "names no network"),
        ([("networks.manifold_b.finetune", ["nn4"])], "manifold_b.finetune: found ['nn4']", "name of a network"),
        ([("networks.vqs", VQS), ("networks.nn4_decoder.finetune", "vqs")], "nn4_decoder", "makes b_hat instead"),
        ([("networks.late.nn", 5), ("networks.ls", FSQ)], "networks.ls.finetune: 'late' quantises itself", "plain"),
        ([TWICE], "outputs.1.networks: 'vq' is of the latents of several of them", "of one"),
        ([("studies", {"s": {**BITS, "bits": 3}})], "bits: found 3", "at least 4"),
        ([("studies", {"s": {**BITS, "sizes": [16, 16]}})], "sizes: found 16, 16", "once"),
        ([("studies", {"s": {**BITS, "chains": REPEATED}})], "chains.x.stages: found [1, 1]", "once"),
        ([("studies", {"s": {**BITS, "network": "nn5"}})], "studies.s.network: 'nn5'", "'nn4'"),
        ([("studies", {"s": {**BITS, "manifold": "nn4"}})], "studies.s.network: networks: found nn4, nn4", "once"),
        ([("studies", {"s": {**BITS, "chains": BACKWARDS}})], "studies.s.chains.x.networks.0: 'manifold'", "b_hat"),
        ([("quantisers.b18.network", "nn4")], "quantisers.b18: has network and corpus", "exactly one"),
        ([("quantisers.b18.corpus", "voice")], "quantisers.b18.corpus: 'voice'", "'voices'"),
        ([("quantisers.b18.predict", 1)], "quantisers.b18.predict: found 1", "0 to 0.95"),
        ([("quantisers.b18.kind", "beam")], "b18: predict goes with kind predictive or superframe only", "beam"),
        ([("quantisers.vq.stretch", 5)], "quantisers.vq: stretch is now called", "reset_every"),
        ([("quantisers.vq.reset_every", 5)], "quantisers.vq: reset_every goes with kind predictive only", "lbg"),
        ([("quantisers.b18.interval_ms", 30)], "quantisers.b18.interval_ms: found 30", "10, 20 or 40"),
        (
            [("networks.wide", NN4 | {"ncat": 8}), ("quantisers.slow.network", "wide")],
            "quantisers.slow.interval_ms: found 40",
            "multiple of 80",
        ),
        ([("studies", {"s": {"kind": "noise", "quantiser": "slow", "noise_vars": [0]}})], "s.quantiser: found", "lbg"),
        ([("studies", {"s": {"kind": "uniform_vq", "quantiser": "b18"}})], "s.quantiser: found 'b18'", "every vector"),
    ],
)  # fmt: skip
def test_a_chain_that_cannot_be_is_one_line_that_names_the_key(edits, says, expected):
    with pytest.raises(InputError) as error:
        chains(*edits)
    assert says in str(error.value) and expected in str(error.value).split("\n")[0]


def test_shapes_are_b_without_its_mean_and_pairs_leave_out_what_is_quiet():
    records = np.random.default_rng(1).normal(30, 10, (12, 22)).astype(np.float32)
    shapes = gain.without_gain(records)
    np.testing.assert_allclose(shapes.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(gain.with_gain(shapes, records), records, atol=1e-5)
    loud = np.arange(12) != 5
    pairs = chosen.to_train_on(shapes, loud, 2)
    kept = [i for i in range(2, 12) if i not in (5, 7)]
    np.testing.assert_array_equal(pairs, np.concatenate([shapes[[i - 2 for i in kept]], shapes[kept]], axis=1))


def test_a_study_of_bits_rates_every_combination_and_needs_its_anchors():
    study = BITS | {"kinds": {"lbg": {}, "predictive": {"mbest": 2, "predict": 0.5}}, "sizes": [16, 64], "bits": 12}
    chain = {"networks": ["manifold_b"], "quantiser": "b18", "stages": [2]}
    plan = chains(("studies", {"s": study | {"interval_ms": [10, 20], "chains": {"ours": chain}}}))
    rows = plan.studies["s"].settings["rows"]
    assert len(rows) == 2 * 2 * 2 * 2 + 1 and len({row["file"] for row in rows}) == len(rows)
    rated = [plan[row["file"].rpartition("/")[0]] for row in rows]
    assert [stage.settings["stages"] for stage in rated[:4]] == [[1, 2, 3], [1, 2, 3], [1, 2], [1, 2]]
    listed = rated[-1].settings["steps"]
    names = ["remove_gain", "quantise", "restore_gain", "infer", "synthesise"]
    assert [step["step"] for step in listed] == names and listed[1]["send_every"] == 2
    needed = plan.needed_for(["results/studies/s"])
    assert {path.rpartition("/")[0] for path in plan.studies["s"].anchors.values()} <= needed
    assert "ann" in plan.studies["s"].anchors and rated[0].folder in needed


def test_a_study_of_bits_tells_the_entries_that_a_limit_leaves():
    study = BITS | {"sizes": [16, 64]}
    rows = chains(("studies", {"s": study}), ("max_entries", 8)).studies["s"].settings["rows"]
    assert [row["sizes"] for row in rows] == ["8", "8"] and {row["source"] for row in rows} == {"latents", "b"}
