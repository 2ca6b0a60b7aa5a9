"""From which files a configuration is read, what lies over what, and what entries take from each other."""

import contextlib
import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml

from mlquant.core.errors import InputError
from mlquant.plan import config, reading
from mlquant.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
MBEST = {"library": 2, "config": 3, "file": 4, "entries": 5}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """The working directory is an empty folder, apart from the checkout."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def checkout(folder, **files):
    """A folder with a library, each file a mapping or a text, and a config.yaml."""
    (folder / "workflow/config").mkdir(parents=True)
    for name, content in files.items():
        path = folder / ("config.yaml" if name == "config" else f"workflow/config/{name}.yaml")
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return folder


def outputs(name, index, **settings):
    return {"experiments": {name: {"outputs": {index: settings}}}}


# --- layers ----------------------------------------------------------------------------------------------


def test_the_library_is_read_first_then_config_yaml_then_files_in_order_then_single_entries(tmp_path):
    layers = [{"networks": {"a": dict.fromkeys("vwxyz"[i:], i)}} for i in range(5)]
    root = checkout(tmp_path / "checkout", networks=layers[0], config=layers[1])
    for i in (2, 3):
        Path(f"{i}.yaml").write_text(yaml.safe_dump(layers[i]))
    found = config.read(root, ["2.yaml", "3.yaml"], layers[4])
    assert found == {"networks": {"a": {"v": 0, "w": 1, "x": 2, "y": 3, "z": 4}}}


def test_a_config_yaml_in_the_working_directory_comes_in_place_of_that_of_the_checkout(tmp_path):
    root = checkout(tmp_path / "checkout", networks={"networks": {"a": {"lr": 1}}}, config={"max_epochs": 3, "x": 1})
    assert config.read(root) == {"networks": {"a": {"lr": 1}}, "max_epochs": 3, "x": 1}
    Path("config.yaml").write_text("max_epochs: 4")
    assert config.read(root) == {"networks": {"a": {"lr": 1}}, "max_epochs": 4}


@pytest.mark.parametrize("numbers", list(product([True, False], repeat=4)))
@pytest.mark.parametrize("without", [(), ("library",), ("config",), ("file",), ("entries",), ("file", "entries")])
def test_a_name_is_one_whether_yaml_reads_it_as_a_number_or_as_text_in_whatever_file(tmp_path, numbers, without):
    layers = {
        layer: outputs(*((240118, 6) if number else ("240118", "6")), **{"mbest": mbest, layer: 1})
        for (layer, mbest), number in zip(MBEST.items(), numbers, strict=True)
        if layer not in without
    }
    root = checkout(tmp_path / "checkout", experiments=layers.get("library", {}), config=layers.get("config", {}))
    Path("over.yaml").write_text(yaml.safe_dump(layers["file"]) if "file" in layers else "{}")
    found = config.read(root, ["over.yaml"], layers.get("entries"))
    last = max(layers, key=MBEST.get)
    assert found == outputs("240118", "6", **{"mbest": MBEST[last], **dict.fromkeys(layers, 1)})


REPEATS = {
    "240118 and '240118'": ('{experiments: {"240118": {title: a},\n 240118: {title: b}}}', 2, "experiments.240118", 1),
    "a section": ("networks: {}\nmax_epochs: 1\nnetworks: {}", 3, "networks", 1),
    "an output": ("experiments:\n  x:\n    outputs:\n      6: {}\n      '6': {}", 5, "experiments.x.outputs.6", 4),
    "like": ("networks:\n  a:\n    like: b\n    like: c", 4, "networks.a.like", 3),
    "in a list": ("quantisers: {q: {stages: [{size: 2},\n{size: 2,\nsize: 4}]}}", 3, "quantisers.q.stages.1.size", 2),
    "in JSON": ('{"networks": {\n\t"a": {},\n\t"a": {}}}', 3, "networks.a", 2),
    "below an anchor": ("networks:\n  a: &a {lr: 1}\n  b:\n    <<: *a\n    d: 1\n    d: 2", 6, "networks.b.d", 5),
}


@pytest.mark.parametrize("layer", ["library", "config", "file"])
@pytest.mark.parametrize("repeat", REPEATS)
def test_a_key_that_is_twice_in_a_file_is_one_line_with_both_lines(tmp_path, repeat, layer):
    text, second, place, first = REPEATS[repeat]
    root = checkout(tmp_path / "checkout", **{"networks": "{}", "config": "{}"} | {_FILES.get(layer, "x"): text})
    Path("over.yaml").write_text(text)
    path = {"library": root / "workflow/config/networks.yaml", "config": root / "config.yaml"}.get(layer, "over.yaml")
    with pytest.raises(InputError) as error:
        config.read(root, ["over.yaml"] if layer == "file" else [])
    assert str(error.value) == f"{path}, line {second}: {place} is there already in line {first}, expected once"


_FILES = {"library": "networks", "config": "config"}


def test_all_repeats_of_all_files_are_told_at_once(tmp_path):
    Path("a.yaml").write_text("x: 1\nx: 2\ny: {z: 1,\n z: 2}")
    Path("b.yaml").write_text("[")
    with pytest.raises(InputError) as error:
        config.read(checkout(tmp_path / "checkout", config="{}"), ["a.yaml", "b.yaml"])
    assert [line.partition(" ")[2][:7] for line in str(error.value).split("\n")] == ["line 2:", "line 4:", "line 1,"]


def test_anchors_and_merge_keys_work_within_a_file_and_a_merged_key_may_be_set_again(tmp_path):
    text = "networks:\n  a: &a {lr: 1, d: 2}\n  b: {<<: *a, lr: 3}\n  c: {lr: 4, <<: [*a, {nn: 5}]}"
    found = config.read(checkout(tmp_path / "checkout", config=text))["networks"]
    assert found["b"] == {"lr": 3, "d": 2} and found["c"] == {"lr": 4, "d": 2, "nn": 5}


@pytest.mark.parametrize(
    ("entries", "places"),
    [
        (["max_epochs=1", "max_epochs=2"], ["max_epochs"]),
        (["experiments={240118: {title: a, title: b}}"], ["experiments.240118.title"]),
        (["networks={a: {lr: 1}}", "networks={a: {lr: 2, d: 1}}"], ["networks.a.lr"]),
        (["networks={a: {lr: 1}}", "networks={a: {d: 2}}", "max_epochs=2"], []),
    ],
)
def test_a_setting_that_is_twice_in_entries_of_the_command_line_is_refused(entries, places):
    with pytest.raises(InputError) if places else contextlib.nullcontext() as error:
        reading.refuse_repeats(entries)
    found = str(error.value).split("\n") if error else []
    assert found == [f"--config: {place} is there twice, expected once" for place in places]


def test_null_in_an_entry_of_the_command_line_is_null_though_snakemake_reads_it_as_text(tmp_path):
    root = checkout(tmp_path / "checkout", config=outputs("240118", 6, mbest=3, stages=2))
    entries = {"experiments": {"240118": {"outputs": {"6": {"stages": "null"}, "7": "null"}}}}
    assert config.read(root, (), entries)["experiments"]["240118"]["outputs"] == {
        "6": {"mbest": 3, "stages": None},
        "7": None,
    }


def test_entries_of_a_complete_file_take_the_place_of_those_before_and_leave_the_others(tmp_path):
    before = {"a": {"lr": 1, "d": 2}, "b": {"lr": 1}, "c": {"like": "a"}}
    root = checkout(tmp_path / "checkout", networks={"networks": before}, config={"max_epochs": 3})
    Path("whole.yaml").write_text(json.dumps({"complete": True, "networks": {"a": {"lr": 5}}}))
    Path("over.yaml").write_text("networks: {a: {nn: 1}}")
    found = config.read(root, ["whole.yaml", "over.yaml"])
    assert found == {"networks": {"a": {"lr": 5, "nn": 1}, "b": {"lr": 1}, "c": before["a"]}, "max_epochs": 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("networks: [", r"over\.yaml, line 1, column 12: .*expected"),
        ("- a\n- b", r"over\.yaml: found \['a', 'b'\], expected keys at its top level"),
        ("a: 1\n\tb: 2", r"over\.yaml, line 2, column 1: found a tab, expected spaces"),
        ("a: b\nc: \x00", r"over\.yaml, line 2, column 4: .*expected YAML"),
        ("a: 1\nb: 2026-13-01", r"over\.yaml, line 2, column 4: month must be in 1..12, expected YAML"),
        ("a: 1\n---\nb: 2", r"over\.yaml, line 2, column 1: .*another document, expected YAML"),
        ("a:\n  b: *five", r"over\.yaml, line 2, column 6: found the alias \*five, expected an anchor &five above it"),
        (b"a: b\nb: caf\xe9", r"over\.yaml, line 2, column 7: found the byte 0xe9, expected UTF-8"),
        ("", r"over\.yaml: is empty, expected keys at its top level"),
        ("- " * 20000, r"over\.yaml: .*expected"),
        ("[" * 20000, r"over\.yaml: .*expected"),
        ("a: &a {b: *a}", r"config: is nested too deeply, or in itself"),
    ],
)
def test_a_file_that_holds_no_configuration_is_one_line_that_names_it(tmp_path, text, says):
    Path("over.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says) as error:
        config.read(checkout(tmp_path / "checkout", config="{}"), ["over.yaml"])
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such file$"):
        config.read(checkout(tmp_path / "checkout", config="{}"), ["none.yaml"])
    with pytest.raises(InputError, match=r"config\.yaml: no such file$"):
        config.read(checkout(tmp_path / "other"))


# --- one setting of one output ---------------------------------------------------------------------------

OVERLAY = """experiments:
  240118:
    outputs:
      6: {mbest: 3}
"""


def test_four_lines_change_one_setting_of_one_output(tmp_path):
    (tmp_path / "mine.yaml").write_text(OVERLAY)
    before, after = (config.load(config.read(ROOT, files)) for files in ((), [tmp_path / "mine.yaml"]))
    changed = {6: before.experiments["240118"].outputs[6].model_copy(update={"mbest": 3})}
    assert after.experiments["240118"].outputs == before.experiments["240118"].outputs | changed
    assert after.model_copy(update={"experiments": {}}) == before.model_copy(update={"experiments": {}})


@pytest.mark.slow
def test_both_ways_of_config_yaml_reach_the_command_through_snakemake(tmp_path):
    """As its comment says: by a file, by --config, and by both, of which --config is last."""
    Path("mine.yaml").write_text(OVERLAY)
    entry = "experiments={240118: {outputs: {6: {mbest: %s}, 7: null}}}"
    for arguments, expected in (
        (["--configfile", "mine.yaml"], {"3", "1"}),
        (["--config", entry % 4], {"4"}),
        (["--configfile", "mine.yaml", "--config", entry % 7], {"7"}),
    ):
        command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-n", "-p", "--cores", "1"]
        done = subprocess.run(
            [*command, "results/240118_wav", *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        searches = [line for line in (done.stdout + done.stderr).splitlines() if "mlquant vq-search" in line]
        assert searches and {re.search(r"--mbest[ =](\d+)", line)[1] for line in searches} == expected


def test_the_configuration_of_a_results_folder_makes_the_same_whatever_was_changed_since(tmp_path):
    before = Plan(config.load(config.read(ROOT)))
    tables = before.experiments["240118"].tables
    samples = {name: before.config.samples[name].model_dump(mode="json") for name in tables.settings["samples"]}
    Path("record.yaml").write_text(json.dumps(tables.settings["config"] | {"samples": samples}))
    changed = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    experiment = changed["experiments"]["240118"]
    experiment["outputs"] |= {9: {"tag": "more", "process": "original"}, 3: {"tag": "y", "process": "original"}}
    experiment["outputs"][5] |= {"postfilter": 1.1, "quantiser": "nn4_vq", "mbest": 2}
    changed["quantisers"]["nn4_vq"]["stages"][0]["size"] = 64
    changed["networks"]["nn4_cat1"] |= {"voiced_only": True, "epochs": 3}
    changed["corpora"] = {"tracts": {"parts": {"more": {"source": "codec2"}}}}
    Path("config.yaml").write_text(yaml.safe_dump(changed))
    drifted = Plan(config.load(config.read(ROOT))).experiments["240118"].tables
    again = Plan(config.load(config.read(ROOT, ["record.yaml"]))).experiments["240118"].tables
    assert drifted.folder != tables.folder and again.folder == tables.folder


# --- like ------------------------------------------------------------------------------------------------


def loaded(**sections):
    """The configuration of the repository with entries over it."""
    return config.load(config.merged(config.read(ROOT), sections))


def test_an_entry_takes_settings_of_another_and_its_own_lie_over_them_deeply():
    networks = {"a": {"like": "nn4_cat1", "lr": 1}, "b": {"like": "a", "epochs": 2}}
    experiments = {
        "x": {"like": "240118", "samples": ["big_dog"], "outputs": {"6": {"stages": 3}, "7": None, "9": None}},
        "y": {"like": "x", "title": "why", "outputs": {"6": {"mbest": 1}}},
    }
    quantisers = {"q": {"like": "best24", "interval_ms": 40}}
    found = loaded(networks=networks, experiments=experiments, quantisers=quantisers)
    base = found.networks["nn4_cat1"]
    assert found.networks["b"] == base.model_copy(update={"lr": 1, "epochs": 2})
    x, y, main = (found.experiments[name] for name in ("x", "y", "240118"))
    assert [*x.outputs] == [*y.outputs] == [1, 3, 5, 6, 8] and x.title == main.title and y.title == "why"
    assert (y.outputs[6].stages, y.outputs[6].mbest, y.samples) == (3, 1, ["big_dog"])
    assert found.quantisers["q"] == found.quantisers["best24"].model_copy(update={"interval_ms": 40})


def test_a_base_of_a_sweep_or_study_takes_the_settings_of_a_network():
    found = loaded(
        sweeps={"s": {"base": {"like": "nn4_plain", "lr": 1}, "rows": {"a": {}, "b": {"d": 7}}}},
        studies={"again": {"like": "analog", "base": {"epochs": 3}, "d": [4]}},
    )
    base = found.networks["nn4_plain"]
    assert found.networks["sweeps.s.rows.b"] == base.model_copy(update={"lr": 1, "d": 7})
    assert found.networks["studies.again.base.d4"].epochs == 3
    assert found.networks["studies.again.base.d4"].batch == base.batch


def test_what_is_like_an_entry_follows_it():
    found = loaded(networks={"nn4_cat1": {"epochs": 3}})
    assert found.networks["nn4_plain"].epochs == found.networks["sweeps.bottleneck.rows.d5"].epochs == 3


def test_like_null_takes_nothing():
    own = {"like": None, "corpus": "prompts", "family": "manifold", "nn": 1, "lr": 1, "epochs": 1}
    assert loaded(networks={"manifold_voices": own}).networks["manifold_voices"].batch == 256


def test_entries_that_are_like_each_other_are_one_line():
    circle = {"a": {"like": "c"}, "b": {"like": "a"}, "c": {"like": "b"}}
    with pytest.raises(InputError, match=r"config: networks\.\w\.like: found '\w', which takes its settings from '\w'"):
        loaded(networks=circle)


def test_outputs_come_by_their_index_in_whatever_order_they_are_written():
    output = {"tag": "x", "process": "original"}
    found = loaded(experiments={"x": {"samples": ["big_dog"], "outputs": {"10": output, "9": output, "1": output}}})
    assert [*found.experiments["x"].outputs] == [1, 9, 10]


def test_parts_of_a_corpus_have_in_common_what_they_say_nothing_else_of():
    common = {"minutes": 2, "resample": [1.0, 1.1]}
    parts = {"a": {"source": "codec2"}, "b": {"source": "codec2", "minutes": 3, "held_out": True}, "c": {"b": "c.f32"}}
    again = {"low": {"resample": [0.9]}, "wet": {"equalise": 3, "minutes": 1}}
    found = loaded(corpora={"x": {"parts_with": common, "parts": parts, "parts_again": again}}).corpora["x"].parts
    assert [*found] == ["a", "a_low", "a_wet", "b", "c", "c_low", "c_wet"], "what is held out is there once"
    assert [part.minutes for part in found.values()] == [2, 2, 1, 3, 2, 2, 1]
    assert (found["a_low"].resample, found["a_wet"].resample, found["a_wet"].equalise) == ([0.9], [1.0, 1.1], 3)
    assert found["c_low"].b == "c.f32"


def excluded(*, speech=(), samples=("big_dog",), **part):
    """What a part of a corpus leaves out by its settings and the program, where the speech folder has some files."""
    Path("speech").mkdir(exist_ok=True)
    for name in speech:
        Path("speech", name).touch()
    own = {"samples": [*samples], "outputs": {"1": {"tag": "out", "process": "original"}}}
    found = loaded(experiments={"own": own}, corpora={"x": {"parts": {"p": part}}})
    voices = {one for voice in found.held_out_voices.values() for files in voice.files().values() for one in files}
    return [one for one in found.corpora["x"].parts["p"].exclude if one not in voices]


def test_a_test_sample_is_left_out_of_a_part_that_would_take_its_file():
    files = {f"raw/{name}.raw" for name in ("big_dog", "hts1a", "kristoff", "mmt1")}
    assert {*excluded(source="codec2")} == {*excluded(source="codec2", include=["raw/*"])} == files
    assert excluded(source="codec2", exclude=["raw/[bhm]*"]) == ["raw/[bhm]*", "raw/kristoff.raw"]
    assert excluded(source="codec2", include=["raw/mm*", "raw/ve9qrp.raw"]) == ["raw/mmt1.raw"]
    assert excluded(source="codec2", include=["raw/ve9qrp.raw"]) == excluded(source="asterisk_en") == []


def test_a_test_sample_of_ones_own_is_left_out_of_a_part_that_would_take_its_file():
    speech = ("me[1].wav", "me.wav", "you.flac")
    assert excluded(speech=speech, files="speech", samples=["me"]) == ["speech/me.wav"]
    assert excluded(speech=speech, files="speech", samples=["big_dog"]) == []
    Path("all").mkdir()
    Path("all/link").symlink_to("../speech")
    assert excluded(files="all/link/*", samples=["you", "me"], exclude=["*u.flac"]) == ["*u.flac", "all/link/me.wav"]


def test_a_new_sample_redoes_no_corpus_that_it_is_not_in():
    sample = {"source": "codec2", "file": "raw/vk5qi.raw"}
    before, after = loaded(), loaded(samples={"new": sample})
    changed = {
        f"{name}_{part}"
        for name, corpus in before.corpora.items()
        for part, settings in corpus.parts.items()
        if settings != after.corpora[name].parts[part]
    }
    assert {name.replace("radio_longer", "radio").split("_", 1)[0] for name in changed if "radio" in name} == {
        "prompts",
        "tracts",
        "everyone",
        "many",
    }
    assert {name for name in changed if "radio" not in name} == {"voices_vk5qi", "voices_y_vk5qi"}
    unheard = {"source": "codec2", "file": "raw/unheard.raw"}
    assert loaded(samples={"new": unheard}).corpora == before.corpora


def test_a_corpus_like_another_changes_what_its_parts_have_in_common():
    changes = {"parts_with": {"gain": [0, 6]}, "parts": {"radio": {"minutes": 1}}}
    found = loaded(corpora={"loud": {"like": "prompts", **changes}})
    prompts, loud = found.corpora["prompts"].parts, found.corpora["loud"].parts
    assert [*prompts] == [*loud] and all(part.gain == [0, 6] for part in loud.values())
    assert loud["radio"] == prompts["radio"].model_copy(update={"gain": [0, 6], "minutes": 1})


@pytest.mark.parametrize(
    ("section", "name"), [("networks", "nn4_cat1"), ("networks", "manifold"), ("quantisers", "nn4_vq")]
)
def test_a_mistake_in_an_entry_that_others_take_settings_from_is_told_where_it_stands(section, name):
    raw = config.read(ROOT, (), {section: {name: {"epoch": 3}}})
    with pytest.raises(InputError, match=rf"^config: {section}\.{name}(\.lbg)?: unknown key 'epoch'"):
        config.load(raw)


def behind_240118(plan, kind):
    made = [node.file("measured.json") for nodes in plan.experiments["240118"].measured.values() for node in nodes]
    return [node for node in plan.graph.behind(made).values() if node.kind == kind]


def test_few_voices_trains_on_the_prompts_alone_and_a_file_of_ones_own_lies_over_that(tmp_path):
    # Snakemake gives true of --config as text.
    new = {"stamps", "klettres", "ktuberling"}
    (own := tmp_path / "own.yaml").write_text("networks: {manifold: {epochs: 3}}\n")
    large, small, mine = (
        Plan(config.load(config.read(ROOT, files, entries)))
        for files, entries in (((), {}), ((), {"few_voices": "true"}), ([own], {"few_voices": True}))
    )
    assert new <= {node.name for node in behind_240118(large, "sources")}
    assert not new & {node.name for node in behind_240118(small, "sources")}
    assert {node.name.split("_")[0] for node in behind_240118(small, "corpora")} == {"prompts", "tracts"}
    epochs = [plan.config.networks["manifold"].epochs for plan in (small, mine)]
    assert epochs == [20, 3] and mine.config.networks["manifold"].corpus == "prompts"
    ci = yaml.safe_load((ROOT / "profiles/ci/config.yaml").read_text(encoding="utf-8"))
    assert "few_voices=true" in ci["config"]


def test_six_men_and_six_women_are_in_no_corpus_that_anything_is_trained_on():
    found = config.load(config.read(ROOT))
    voices = found.held_out_voices
    assert sorted(voice.sex for voice in voices.values()) == 6 * ["f"] + 6 * ["m"]
    assert "codec2" in {voice.source for voice in voices.values()}, "one of the radio amateurs"
    for corpus in found.corpora.values():
        for part in corpus.parts.values():
            patterns = {one for voice in voices.values() for one in voice.files().get(part.source, ())}
            assert patterns <= {*part.exclude} if not part.held_out else not patterns & {*part.exclude}
    assert found.corpora["voices_y"].parts["qrp"].include == ["raw/ve9qrp.raw"], "measured on, and so not left out"


def test_the_main_experiments_are_measured_on_clips_of_the_held_out_voices_in_few_jobs():
    plan = Plan(config.load(config.read(ROOT)))
    voices, shards = plan.config.held_out_voices, plan.graph.test_set("unseen")
    parts = plan.config.test_sets["unseen"].parts
    assert {name: (part.sex, part.source, part.include) for name, part in parts.items()} == {
        name: (voice.sex, voice.source, voice.include) for name, voice in voices.items()
    }
    assert len({part.utterances for part in parts.values()}) == 1 and 2 <= len(shards) <= 4
    for name in ("240118", "240125"):
        experiment = plan.config.experiments[name]
        of_set = plan.experiments[name].tables.inputs["of_set"]
        assert experiment.test_set == "unseen" and len(of_set) == len(shards) * (1 + len(experiment.outputs))
    small = Plan(config.load(config.read(ROOT, (), {"few_voices": True})))
    assert not any("of_set" in one.tables.inputs for one in small.experiments.values())


def test_what_is_measured_on_a_test_set_has_a_folder_that_rules_know_whatever_its_tag_and_its_numbers():
    tags = {"experiments": {"240118": {"outputs": {6: {"tag": "v1.5+x"}}}}, "studies": {"measures": {"noises": [2.5]}}}
    plan = Plan(config.load(config.read(ROOT, (), tags)))
    named = [node.folder for node in plan.nodes.values() if node.kind == "set_measures"]
    assert any("v1_5_x" in name for name in named) and any("noise_2_5dB" in name for name in named)
    assert [name for name in named if not re.fullmatch(r"results/set_measures/[A-Za-z0-9_-]+\.[0-9a-f]{8}", name)] == []
