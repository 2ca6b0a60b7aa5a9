"""The real workflow, end to end on a few seconds of speech, and what it runs again after each change."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import soundfile
from support.pages import check_all
from support.readmes import unexplained
from support.workflow import TABLES, Done, synthetic_speech

PUBLISHED = ("1_out", "3_k80_y_hat", "5_k80_b_hat_nn4", "6_k80_b_hat_vq24", "7_k80_b_hat_vq12", "8_3200")


@pytest.fixture(scope="module")
def finished(cold, tmp_path_factory):
    """A copy of the checkout in which everything has run, for the tests of this module one after the other."""
    checkout, done = cold
    assert done.status == 0, done.text
    return checkout.copy(tmp_path_factory.mktemp("workflow") / "whole")


# --- a run from nothing ----------------------------------------------------------------------------------


def test_jobs_run_in_the_environment_of_snakemake_whatever_is_on_the_path(cold):
    checkout, done = cold
    assert done.status == 0, done.text
    assert (checkout.folder.parent / "not_activated/mlquant").exists()


def test_a_run_outside_of_git_says_once_that_there_is_no_revision(cold):
    checkout, done = cold
    told = "provenance.json has no git revision: "
    assert done.text.count(told) == 1
    for kind in ("networks", "codebooks", "experiments"):
        logs = [path.read_text(encoding="utf-8") for path in checkout.folder.glob(f"results/logs/{kind}/*.log")]
        assert len(logs) == 2 and all(log.count(told) == 1 for log in logs), kind


def test_a_cold_run_makes_each_stage_once(cold):
    _, done = cold
    assert done.status == 0, done.text
    assert done.rules == {
        "fetch_optional": 1,
        "prepare_sample": 2,
        "prepare_corpus": 1,
        "analyse": 3,
        "features": 3,
        "train": 2,
        "plot_losses": 2,
        "encode": 2,
        "vq_train": 2,
        "vq_search": 2,
        "decode": 2,
        "infer": 5,
        "synth": 6,
        "resynth": 2,
        "anchor": 2,
        "measure": 5,
        "tabulate": 2,
        "page": 2,
    }


def test_the_published_names_and_nothing_else_are_in_the_folder(finished):
    assert finished.files("results/240118_wav/*") == {
        f"results/240118_wav/{name}"
        for name in [
            *(f"ann_{output}.wav" for output in PUBLISHED),
            *TABLES,
            "index.html",
            "manifold_losses.png",
            "nn4_cat1_losses.png",
        ]
    }


def test_every_wav_is_16_bit_mono_8_khz_as_long_as_its_speech(finished):
    wavs = finished.files("results/*_wav/*.wav")
    assert len(wavs) == 6 + 4
    for name in wavs:
        info = soundfile.info(finished.folder / name)
        assert (info.format, info.subtype, info.channels, info.samplerate) == ("WAV", "PCM_16", 1, 8000), name
        assert 8000 - 320 <= info.frames <= 8000, name
        speech, _ = soundfile.read(finished.folder / name)
        assert 0.001 < np.sqrt(np.mean(speech**2)) < 0.5, name


def test_measures_hold_a_row_for_each_sample_and_output(finished):
    frame = pd.read_csv(finished.folder / "results/240118_wav/measures.csv").set_index("index")
    assert list(frame.index) == [1, 3, 5, 6, 7, 8]
    assert set(frame["sample"]) == {"ann"}
    assert [f"{index}_{tag}" for index, tag in frame["tag"].items()] == list(PUBLISHED)
    assert (frame.loc[[3, 5, 6, 7], ["sd_dB2", "sd_voiced_dB2"]] > 0).all(axis=None)
    assert frame.loc[[1, 8], ["sd_dB2", "sd_voiced_dB2", "latent_mse"]].isna().all(axis=None)
    assert frame.loc[[1, 3], "sd_b_dB2"].isna().all() and (frame.loc[[5, 6, 7], "sd_b_dB2"] > 0).all()
    assert frame.loc[6, "latent_mse"] < frame.loc[7, "latent_mse"], "two stages quantise finer than one"
    assert frame.loc[[6, 7, 8], "bits_per_frame"].to_list() == [9, 5, 64], "32 and 16 entries; 3200 bit/s"
    assert frame.loc[[6, 7, 8], "bit_per_s"].to_list() == [900, 500, 3200]
    assert frame.loc[[1, 3, 5], "bits_per_frame"].isna().all()


def test_the_readme_holds_the_legend_and_the_distortions(finished):
    text = (finished.folder / "results/240118_wav/README.md").read_text(encoding="utf-8")
    frame = pd.read_csv(finished.folder / "results/240118_wav/measures.csv")
    assert text.startswith("# 240118\n\nExperiment 1: ")
    quantised = "as 5, latents quantised with 24 bits (two stages), smoothed over three frames"
    assert f"| 6 | k80_b_hat_vq24 | {quantised} | the loss of quantisation |" in text
    assert "| the loss of quantisation | 9 in 10 ms | 900 |" in text
    assert "| 1 | out | original amplitudes and phases | what the sinusoidal model can do | - | - |" in text
    distortions = " | ".join(f"{value:.2f}" for value in frame["sd_dB2"].dropna())
    assert f"| ann | {distortions} |\n| mean | {distortions} |" in text
    assert "Warning" not in text


def test_the_provenance_names_what_is_behind_every_wav(finished):
    folder = finished.folder / "results/240118_wav"
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["wavs"].keys() == {path.name for path in folder.glob("*.wav")}
    for name, wav in provenance["wavs"].items():
        assert re.fullmatch(
            r"results/(re)?synthesised/ann\.[0-9a-f]{8}/speech\.wav|"
            r"results/anchors/ann\.[0-9a-f]{8}/3200\.wav",
            wav["from"],
        )
        assert wav["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        made, told = (soundfile.read(path, dtype="int16")[0] for path in (finished.folder / wav["from"], folder / name))
        assert np.array_equal(made, told)
        with soundfile.SoundFile(folder / name) as file:
            assert (file.title, file.album, file.tracknumber) == (name, "240118", str(wav["index"]))
            key = re.search(r"\.([0-9a-f]{8})/", wav["from"])[1]
            assert file.comment == (f"mlquant: experiment 240118, index {wav['index']}, key {key}, from {wav['from']}")
        assert (folder / name).read_bytes()[36:44] == b"data" + (2 * len(made)).to_bytes(4, "little")
        assert wav["from"].rsplit("/", 1)[0] in provenance["stages"]
    for path, stage in provenance["stages"].items():
        assert (finished.folder / path).is_dir() and path.endswith(f".{stage['key']}")
    kinds = {path.split("/")[1] for path in provenance["stages"]}
    assert {"samples", "corpora", "models", "features", "networks", "codebooks", "quantised", "decoded"} <= kinds
    network = next(stage for path, stage in provenance["stages"].items() if path.startswith("results/networks/nn4"))
    assert (network["settings"]["d"], network["settings"]["epochs"]) == (10, 30)
    assert provenance["versions"]["torch"] and provenance["versions"]["python"] and provenance["versions"]["cpu"]
    assert provenance["experiment"]["name"] == "240118" and provenance["left_out"] == []


def test_the_provenance_holds_the_checksum_of_every_file_behind_the_wavs(finished):
    provenance = json.loads((finished.folder / "results/240118_wav/provenance.json").read_text(encoding="utf-8"))
    for base, listed in ((finished.folder, "files"), (finished.folder / "results/240118_wav", "folder")):
        for name, sha256 in provenance[listed].items():
            assert hashlib.sha256((base / name).read_bytes()).hexdigest() == sha256, name
    there = {path.rsplit("/", 1)[1] for path in finished.files("results/240118_wav/*")}
    assert provenance["folder"].keys() == there - {"provenance.json"}
    behind = {name.rsplit("/", 1)[0] for name in provenance["files"]}
    # Of a corpus its features and the list of what was taken; of a sample all but what is on its way to them.
    unlisted = {folder.split("/")[1] for folder in provenance["stages"].keys() - behind}
    assert unlisted <= {"models"}
    assert "speech/ann.raw" in provenance["files"]
    assert provenance["trained"].keys() == {
        folder for folder in provenance["stages"] if folder.startswith(("results/networks", "results/codebooks"))
    }


def test_networks_and_codebooks_tell_what_made_them(finished):
    sidecars = [
        name for kind in ("networks", "codebooks") for name in finished.files(f"results/{kind}/*/provenance.json")
    ]
    commands = []
    assert len(sidecars) == 4
    for name in sidecars:
        folder = (finished.folder / name).parent
        sidecar = json.loads((finished.folder / name).read_text(encoding="utf-8"))
        assert folder.name.endswith(f".{sidecar['key']}")
        assert sidecar["stages"][f"results/{folder.parent.name}/{folder.name}"]["key"] == sidecar["key"]
        assert sidecar["command"].startswith(f"snakemake results/{folder.parent.name}/{folder.name}/")
        commands.append(sidecar["command"].split()[1])
        assert sidecar["seed"] == 1 and sidecar["seconds"] > 0 and sidecar["settings"] and sidecar["definitions"]
        for path, sha256 in sidecar["files"].items():
            assert hashlib.sha256((finished.folder / path).read_bytes()).hexdigest() == sha256
        names = {path.name for path in folder.iterdir()} - {"provenance.json"}
        assert sidecar["folder"].keys() == names
        for path, sha256 in sidecar["folder"].items():
            assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256
    assert finished.run("-n", *commands).rules == {}


@pytest.mark.slow
def test_the_command_of_a_provenance_makes_the_same_again_under_another_configuration(finished):
    provenance = json.loads((finished.folder / "results/240118_wav/provenance.json").read_text(encoding="utf-8"))
    config = finished.folder / "config.yaml"
    before = config.read_text(encoding="utf-8")
    config.write_text(before.replace("epochs: 30", "epochs: 1").replace("size: 32", "size: 8"), encoding="utf-8")
    other, same = finished.run("-n", "results/240118_wav"), finished.run("-n", *provenance["command"].split()[1:])
    config.write_text(before, encoding="utf-8")
    assert other.rules["train"] == 2
    assert same.rules == {}


def test_an_optional_sample_that_cannot_be_had_is_left_out_with_a_warning(cold):
    checkout, done = cold
    assert done.status == 0
    assert done.text.count("warning: source late: file:///no/such/folder/late.raw: No such file or directory") == 1
    folder = checkout.folder / "results/pair_wav"
    names = {f"{sample}_{output}.wav" for sample in ("ann", "bob") for output in ("1_out", "8_1300")}
    names |= {*TABLES, "index.html"}
    assert checkout.files("results/pair_wav/*") == {f"results/pair_wav/{name}" for name in names}
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Warning: the optional sample late could not be obtained and is left out" in text
    assert json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["left_out"] == ["late"]


def test_experiments_share_the_stages_of_a_sample(finished):
    ours, theirs = (
        json.loads((finished.folder / f"results/{name}_wav/provenance.json").read_text(encoding="utf-8"))
        for name in ("240118", "pair")
    )
    assert ours["wavs"]["ann_1_out.wav"]["from"] == theirs["wavs"]["ann_1_out.wav"]["from"]


@pytest.mark.slow
def test_the_page_of_a_run_plays_shows_and_decodes(finished, browser):
    folder = finished.folder / "results/240118_wav"
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    check_all(browser, folder / "index.html", provenance, finished.folder)
    assert (folder / "index.html").stat().st_size < 3e6


# --- what runs again -------------------------------------------------------------------------------------

SEARCHED = {"vq_search": 1, "decode": 1, "infer": 1, "synth": 1, "measure": 1}
SEARCHED |= {"tabulate": 1, "page": 1}
ADDED = {"prepare_sample": 1, "analyse": 1, "features": 1, "resynth": 1, "synth": 1}
ADDED |= {"anchor": 1, "measure": 2, "tabulate": 1, "page": 1}
NEW = {
    name: {name, f"{name}_ideal_y", f"{name}_anchors", f"pair_{name}", "pair", "pair_wav"} for name in ("bob", "cat")
}
RERUNS = {
    "nothing changed": {},
    "comments and docstrings edited": {},
    "mbest": SEARCHED,
    "a third stage": {"vq_train": 1, **SEARCHED},
    "a beam quantiser": {"vq_train_beam": 1, **SEARCHED},
    "d": {
        "train": 1,
        "plot_losses": 1,
        "encode": 2,
        "vq_train": 2,
        "vq_search": 2,
        "decode": 2,
        "infer": 4,
        "synth": 3,
        "measure": 1,
        "tabulate": 1,
        "page": 1,
    },
    "a sample more": ADDED,
    "a function added to the search's module": {},
    "the search edited": {
        "vq_search": 2,
        "decode": 2,
        "infer": 2,
        "synth": 2,
        "measure": 1,
        "tabulate": 1,
        "page": 1,
    },
    "the page's template edited": {"page": 2},
}


def edited_search(text):
    """The module of the search when its M-best search begins with another statement."""
    return re.sub(r'(\ndef search\(.*?""".*?"""\n)', r"\1    edited = 1\n", text, count=1, flags=re.DOTALL)


@pytest.fixture(scope="module")
def reruns(finished):
    """Dry runs of each change on the finished run, two at a time, when all of its files have been touched."""
    folder = finished.folder
    (folder / "speech/cat.raw").write_bytes((folder / "speech/ann.raw").read_bytes()[::-1])
    for name, path, edit in (
        (
            "comments",
            "mlquant/**/*.py",
            lambda text: "# edited\n" + text.replace('"""', '"""Edited: ', 1) + "\n# end\n",
        ),
        ("added", "mlquant/quantisers/vq.py", lambda text: text + "\n\ndef another() -> int:\n    return 1\n"),
        ("search", "mlquant/quantisers/vq.py", edited_search),
        ("page", "mlquant/experiments/page/page.html", lambda text: text.replace("</body>", "<p>Edited</p></body>")),
    ):
        shutil.copytree(folder / "src", folder / name)
        for module in (folder / name).glob(path):
            module.write_text(edit(module.read_text(encoding="utf-8")), encoding="utf-8")
    for path in folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    changes = {
        "nothing changed": {},
        "comments and docstrings edited": {"source": "comments"},
        "mbest": {"overlay": finished.outputs(6, mbest=3)},
        "a third stage": {"overlay": finished.outputs(6, stages=3)},
        "a beam quantiser": {"overlay": {"quantisers": {"nn4_vq": {"kind": "beam", "mbest": 3}}}},
        "d": {"overlay": {"networks": {"nn4_cat1": {"d": 8}}}},
        "a sample more": {"overlay": {"experiments": {"pair": {"samples": ["bob", "ann", "late", "cat"]}}}},
        "a function added to the search's module": {"source": "added"},
        "the search edited": {"source": "search"},
        "the page's template edited": {"source": "page"},
        "a mistake": {"overlay": {"experiments": {"pair": {"sample": ["bob"]}}}},
    }
    with ThreadPoolExecutor(2) as pool:
        return dict(
            zip(changes, pool.map(lambda options: finished.run("-n", **options), changes.values()), strict=True)
        )


@pytest.mark.parametrize("change", RERUNS)
def test_a_change_runs_what_depends_on_it_and_nothing_else(reruns, change):
    done = reruns[change]
    assert done.status == 0, done.text
    assert done.rules == RERUNS[change]


def test_a_third_stage_trains_the_third_codebook(reruns):
    assert {name for name in reruns["a third stage"].stages if "vq_" in name} == {"nn4_vq_3"}


@pytest.mark.slow
def test_a_beam_quantiser_trains_its_later_codebooks_on_the_latents(finished, reruns):
    overlay = {"quantisers": {"nn4_vq": {"kind": "beam", "mbest": 3}}}
    (name,) = set(re.findall(r"nn4_vq_2\.\w+", reruns["a beam quantiser"].text))
    codebook = f"results/codebooks/{name}/vq.f32"
    done = finished.run("--cores", 2, codebook, overlay=overlay)
    assert done.status == 0 and done.rules == {"vq_train_beam": 1}, done.text
    folder = (finished.folder / codebook).parent
    sidecar = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert (sidecar["settings"]["m"], sidecar["settings"]["mbest"]) == (16, 3)
    assert sorted(path.split("/")[1] for path in sidecar["files"]) == ["codebooks", "latents"]
    assert pd.read_csv(folder / "trace.csv")["entries"].tolist() == [16]
    (latents,) = (name for name in sidecar["files"] if "latents" in name)
    assert (folder / "residual.f32").stat().st_size == (finished.folder / latents).stat().st_size


def test_the_width_of_the_bottleneck_trains_its_network_and_not_the_manifold(reruns):
    stages = reruns["d"].stages
    assert "nn4_cat1" in stages and "nn4_vq_1" in stages
    assert "manifold" not in stages


def test_a_new_sample_runs_only_for_itself(reruns):
    assert reruns["a sample more"].stages == NEW["cat"]


def test_a_mistake_in_the_configuration_is_one_line(reruns):
    done = reruns["a mistake"]
    assert done.status == 1
    line = "config: experiments.pair: unknown key 'sample', the nearest valid one is 'samples'"
    assert sum(line in text for text in done.text.splitlines()) == 1
    assert "Traceback" not in done.text
    assert len(done.text[done.text.index(line) :].splitlines()) <= 3, done.text


@dataclass
class Return:
    """A setting that was changed and changed back: the runs, what was there in between, and the key it had."""

    there: Done
    back: Done
    between: dict
    key: str


def but_the_page(files):
    """Files of an experiment's folder without the page, which tells of the runs before, and its checksum."""
    page = hashlib.sha256(next(data for name, data in files.items() if name.endswith("index.html"))).hexdigest()
    return {name: data.replace(page.encode(), b"") for name, data in files.items() if not name.endswith("index.html")}


@pytest.fixture(scope="module")
def there_and_back(finished):
    before = but_the_page(finished.bytes("results/240118_wav/*"))
    there = finished.run("--cores", 2, overlay=finished.outputs(6, mbest=1))
    assert there.status == 0, there.text
    between = but_the_page(finished.bytes("results/240118_wav/*"))
    back = finished.run("--cores", 2)
    assert back.status == 0, back.text
    return before, Return(there, back, between, json.loads(between["results/240118_wav/provenance.json"])["key"])


@pytest.mark.slow
def test_mbest_changed_runs_the_search_and_changed_back_only_gathers(finished, there_and_back):
    before, done = there_and_back
    assert done.there.rules == SEARCHED
    differ = {name.rsplit("/", 1)[1] for name, data in done.between.items() if data != before[name]}
    same = {"anchors.csv", "columns.csv", "set_means.csv", "set_pairs.csv", "utterances.csv"}
    assert differ - {"ann_6_k80_b_hat_vq24.wav"} == set(TABLES) - same
    assert done.back.rules == {"page": 1}
    assert but_the_page(finished.bytes("results/240118_wav/*")) == before


@pytest.mark.slow
def test_the_history_has_a_row_an_output_for_each_run_of_another_variant(finished, there_and_back):
    _, done = there_and_back
    history = pd.read_csv(finished.folder / "results/history.csv", dtype={"key": str}).query("experiment == '240118'")
    assert len(history) == 3 * len(PUBLISHED)
    first, there, back = history["key"][:: len(PUBLISHED)]
    assert there == done.key and first == back != there
    page = (finished.folder / "results/240118_wav/index.html").read_text(encoding="utf-8")
    assert page.count(f'"key":"{done.key}"') == len(PUBLISHED)


@pytest.mark.slow
def test_a_variant_is_compared_with_what_came_after(finished, there_and_back):
    _, done = there_and_back
    target = f"results/compare/240118.{done.key}_vs_240118"
    compared = finished.run("--cores", 2, target)
    assert compared.status == 0, compared.text
    assert compared.rules == {"compare": 1}
    told = "output 6 k80_b_hat_vq24: mbest (survivors of the search after each stage)"
    assert f"What differs: {told} 1 in 240118.{done.key}, 5 in 240118." in compared.text
    differences = pd.read_csv(finished.folder / target / "differences.csv", dtype=str)
    assert differences[["kind", "where", "a", "b"]].values.tolist() == [
        ["experiment", "output 6 k80_b_hat_vq24: mbest", "1", "5"],
        ["settings", "quantised nn4_vq: mbest", "-", "5"],  # output 7 is searched with 1 in both
    ]
    measures = pd.read_csv(finished.folder / target / "measures.csv")
    assert set(measures.loc[measures["difference"] != 0, "index"]) <= {6}
    assert (finished.folder / target / "index.html").stat().st_size > 100_000
    assert finished.run("-n", target).rules == {}


def test_what_cannot_be_compared_is_named(finished):
    done = finished.run("-n", "results/compare/240118_vs_nothing")
    assert done.status == 1
    assert "nothing: neither an experiment of the configuration nor a folder in results/experiments" in done.text


@pytest.mark.slow
def test_the_report_is_of_what_has_results(finished):
    done = finished.run("--cores", 2, "report")
    assert done.status == 0, done.text
    assert {"report": 1}.items() <= done.rules.items()
    text = (finished.folder / "results/report.html").read_text(encoding="utf-8")
    means = pd.read_csv(finished.folder / "results/240118_wav/means.csv").set_index(["group", "index"])
    assert "Experiment 1" in text and "Analog transmission" not in text
    assert f"{means.loc[('all', 7), 'sd_dB2']:.2f}" in text
    assert finished.run("-n", "report").rules == {}


QUICK = "This is a quick look, made with less than the configuration asks for: "
QUICK += "epochs 2 instead of 30 (networks manifold nn4_cat1); size 16 instead of 32 (quantisers nn4_vq)."


@pytest.mark.slow
def test_a_quick_look_says_so_and_the_full_run_comes_back_without_training(finished):
    target, limits = "results/240118_wav", ("--config", "max_epochs=2", "max_entries=16")
    before = but_the_page(finished.bytes(f"{target}/*"))
    quick = finished.run("--cores", 2, target, *limits)
    assert quick.status == 0 and quick.rules["train"] == 2, quick.text
    assert f"**{QUICK}**" in (finished.folder / target / "README.md").read_text(encoding="utf-8").splitlines()
    assert f'"quick_look":"{QUICK}"' in (finished.folder / target / "index.html").read_text(encoding="utf-8")
    config = f"{target}/config.yaml"
    assert finished.run("-n", target, "--configfile", config).rules == {}  # the command that its provenance names
    assert finished.run("--cores", 2, "report").rules == {"report": 1}
    report = (finished.folder / "results/report.html").read_text(encoding="utf-8")
    assert QUICK in report and "It was made with other settings" in report
    full = finished.run("--cores", 2, target)
    assert full.rules == {"page": 1}, full.text
    assert but_the_page(finished.bytes(f"{target}/*")) == before
    history = pd.read_csv(finished.folder / "results/history.csv", dtype=str).query("experiment == '240118'")
    *_, quick, full = (rows for _, rows in history.groupby("time", sort=False))
    assert [*quick["quick_look"]] == [QUICK] * len(PUBLISHED) and full["quick_look"].isna().all()
    assert finished.run("--cores", 2, "report").rules == {"report": 1}
    report = (finished.folder / "results/report.html").read_text(encoding="utf-8")
    assert (
        QUICK not in report and 'href="#experiment-240118">results/240118_wav<' not in report
    )  # in a list of the stale


@pytest.mark.slow
def test_snakemakes_own_report_has_figures_tables_and_pages(finished):
    done = finished.run("--report", "report.zip")
    assert done.status == 0, done.text
    with zipfile.ZipFile(finished.folder / "report.zip") as archive:
        text = archive.read("report/report.html").decode()
    for label in ("Experiments", "Measures", "Networks", "240118", "manifold", "noise is added to the latents"):
        assert label in text


@pytest.mark.slow
def test_a_changed_speech_file_redoes_its_sample_only(finished):
    path = finished.folder / "speech/bob.wav"
    before, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(before[:-2000] + before[-1000:] + before[-1000:])
    done = finished.run("-n")
    path.write_bytes(before)
    os.utime(path, ns=times)
    assert done.rules == ADDED
    assert done.stages == NEW["bob"]


@pytest.mark.parametrize(
    "patterns",
    [["speech/bob.wav"], pytest.param(["voices/a tone.wav", "results/*/bob.*/*"], marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_file_dated_ahead_of_now_is_named_with_what_corrects_it(finished, patterns):
    files = sorted({name for pattern in patterns for name in finished.files(pattern)})
    for name in files:
        os.utime(finished.folder / name, (1893456000, 1893456000))
    done = finished.run("--cores", 2, env={"TZ": "UTC"})
    assert done.status == 1
    more = f" and {len(files) - 1} more" if files[1:] else ""
    (line,) = (line for line in done.text.splitlines() if f"{files[0]}{more}: dated 2030-01-01 00:00:00, " in line)
    subprocess.run(["bash", "-c", line.rpartition(": ")[2]], cwd=finished.folder, check=True)
    done = finished.run("--cores", 2)
    assert done.status == 0 and done.rules == {}, done.text


@pytest.mark.slow
def test_a_deleted_folder_and_wav_are_made_again(finished):
    (wav,) = finished.files("results/anchors/bob.*/1300.wav")
    places = [finished.folder / wav, finished.folder / "results/pair_wav"]
    for place in places:
        place.rename(place.with_name("away"))
    done = finished.run("-n")
    for place in places:
        place.with_name("away").rename(place)
    assert done.rules == {"anchor": 1, "measure": 2, "tabulate": 1, "page": 1}
    assert done.stages == {"bob", "bob_anchors", "pair_bob", "pair", "pair_wav"}


# --- speech that comes late, or cannot be used -----------------------------------------------------------


@pytest.mark.slow
def test_an_optional_sample_is_there_once_its_file_is(finished):
    shutil.copy(finished.folder / "speech/bob.wav", finished.folder / "speech/late.wav")
    done = finished.run("--cores", 2)
    assert done.status == 0, done.text
    assert done.rules == RERUNS["a sample more"]
    assert done.stages >= {"late", "pair_late", "pair_wav"}
    late, bob = (finished.bytes(f"results/pair_wav/{name}_*.wav") for name in ("late", "bob"))
    late, bob = (
        [soundfile.read(finished.folder / name, dtype="int16")[0] for name in sorted(names)] for names in (late, bob)
    )
    assert len(late) == 2 and all(map(np.array_equal, late, bob)), "it is the same speech here"
    text = (finished.folder / "results/pair_wav/README.md").read_text(encoding="utf-8")
    assert "Warning" not in text and "late" not in text.split("| index |")[0]


@pytest.mark.slow
def test_what_cannot_be_used_ends_in_a_line_each_and_the_rest_is_made(finished):
    soundfile.write(finished.folder / "speech/zeros.wav", np.zeros(8000, np.int16), 8000, "PCM_16")
    output = {"tag": "1300", "process": "codec2", "mode": 1300}
    overlay = {"experiments": {"bad": {"samples": ["zeros", "gone", "bob"], "outputs": {8: output}}}}
    done = finished.run("--cores", 2, "results/bad_wav", overlay=overlay)
    assert done.status == 1
    lines = done.text.splitlines()
    for line in (
        "mlquant prepare-sample: speech/zeros.wav: all 8000 samples are zero, expected speech",
        "mlquant fetch: source gone: file:///no/such/folder/gone.raw: No such file or directory",
    ):
        assert sum(text.strip() == line for text in lines) == 1, done.text
    assert "Traceback" not in done.text
    assert len(finished.files("results/measures/bad_bob.*/measured.json")) == 1
    assert not (finished.folder / "results/bad_wav").exists()


@pytest.mark.slow
def test_an_experiment_is_measured_on_a_test_set_in_shards(copied):
    own = copied.folder / "utterances"
    own.mkdir()
    speech = {f"{speaker}_{i}": synthetic_speech(1.2, 100 + 30 * i, i) for speaker in "abc" for i in range(2)}
    for name, samples in speech.items():
        soundfile.write(own / f"{name}.wav", samples, 8000, "PCM_16")
    shutil.copy(copied.folder / "speech/ann.raw", own / "a_2.raw")
    test_set = "test_sets={mine: {files: utterances, shards: 2, speakers: '([a-z])_[0-9]', sex: {c: m, a: f, b: m}}}"
    words = ["--config", test_set, "experiments={240118: {test_set: mine}}"]
    done = copied.run("--cores", 2, "results/240118_wav", *words)
    outputs = len(PUBLISHED)
    in_set = {"prepare_set": 2, "analyse_set": 2, "measure_set": 2 * outputs}
    assert done.rules == in_set | {"tabulate": 1, "page": 1}, done.text
    means = pd.read_csv(copied.folder / "results/240118_wav/set_means.csv").query(
        "measure == 'stoi' and group == 'all'"
    )
    assert len(means) == outputs and (means["utterances"] == 7).all() and (means["speakers"] == 3).all()
    assert (means["low"] <= means["mean"]).all() and (means["mean"] <= means["high"]).all()
    # As a sample the same file gives the same wavs and measures, of every output.
    results = copied.folder / "results"
    sample = pd.read_csv(results / "240118_wav/measures.csv").query("sample == 'ann'").set_index("index")
    of_set = pd.read_csv(results / "240118_wav/utterances.csv").query("utterance == 'a_2'").set_index("index")
    shared = [name for name in of_set.columns if name in sample.columns and name not in ("sex", "tag")]
    assert {"pesq", "stoi", "lsd_dB", "sd_dB2", "latent_mse"} <= {*shared}
    pd.testing.assert_frame_equal(of_set[shared], sample[shared], check_dtype=False, check_exact=True)
    (table,) = [path for path in results.glob("sets/*/utterances.csv") if "a_2," in path.read_text()]
    places = pd.read_csv(table).set_index("utterance")
    for published in PUBLISHED:
        shard = table.parent.name.partition(".")[0]
        (coded,) = results.glob(f"set_measures/{shard}_{published.partition('_')[2]}.*/speech.raw")
        frames = -(-places["samples"] // 80)
        start = 80 * frames[: places.index.get_loc("a_2")].sum()
        wav = soundfile.read(results / f"240118_wav/ann_{published}.wav", dtype="int16")[0]
        np.testing.assert_array_equal(np.fromfile(coded, "<i2")[start : start + len(wav)], wav)
    assert copied.run("--cores", 2, "results/240118_wav", *words).rules == {}
    folder = copied.folder / "results/240118_wav"
    assert "7 utterances of 3 speakers" in (folder / "README.md").read_text(encoding="utf-8")
    for table in ("utterances", "set_means", "set_pairs"):
        assert unexplained((folder / "README.md").read_text(), {table: pd.read_csv(folder / f"{table}.csv")}) == []
    assert '"which":"worst"' in (folder / "index.html").read_text(encoding="utf-8")
    entries = json.loads((folder / "config.yaml").read_text(encoding="utf-8"))
    assert [*entries["test_sets"]["mine"]["parts"]["all"]["sex"]] == ["c", "a", "b"], (
        "in the order of the configuration"
    )
    shutil.copy(folder / "config.yaml", copied.folder / "again.yaml")
    assert copied.run("-n", "results/240118_wav", "--configfile", "again.yaml").rules == {}
    soundfile.write(own / "c_9.wav", synthetic_speech(1.2, 140, 9), 8000, "PCM_16")
    one_shard = {name: count // 2 for name, count in in_set.items()}
    assert copied.run("--cores", 2, "results/240118_wav", *words).rules == one_shard | {"tabulate": 1, "page": 1}


@pytest.mark.slow
def test_a_study_of_measures_takes_what_the_experiment_measures_on_its_test_set(copied):
    own = copied.folder / "utterances"
    own.mkdir()
    for i, speaker in enumerate("abcd"):
        soundfile.write(own / f"{speaker}.wav", synthetic_speech(1.5, 100 + 30 * i, i), 8000, "PCM_16")
    overlay = {
        "test_sets": {"mine": {"files": "utterances", "shards": 1, "speakers": "([a-z])[.]wav"}},
        "experiments": {"240118": {"test_set": "mine"}},
        "studies": {
            "measures": {
                "test_set": "mine",
                "indices": [1, 5, 6],
                "modes": [3200, 1200],
                "noises": [0, 40],
                "postfilters": [1.0, 1.3],
                "claims": [
                    {"says": "Less noise is better", "better": "noise 40 dB", "than": "noise 0 dB"},
                    {"says": "More noise is better", "better": "noise 0 dB", "than": "noise 40 dB"},
                ],
            }
        },
    }
    (copied.folder / "mine.yaml").write_text(json.dumps(overlay), encoding="utf-8")
    words = ["--cores", 2, "--configfile", "mine.yaml"]
    done = copied.run("results/240118_wav", *words)
    assert done.rules["measure_set"] == len(PUBLISHED), done.text
    done = copied.run("results/studies/measures", *words)
    # Indices 1, 5, 6 and Codec 2 at 3200 bit/s are there; index 6 has the postfilter 1. Two variants are not smoothed.
    assert done.rules == {"measure_set": 6, "study": 1}, done.text
    folder = copied.folder / "results/studies/measures"
    tables = {path.stem: pd.read_csv(path, na_filter=False) for path in folder.glob("*.csv")}
    means = tables["conditions"].set_index(["condition", "measure"])["mean"]
    assert means["noise 0 dB", "stoi"] < means["noise 40 dB", "stoi"] <= 1
    assert means["postfilter 1", "stoi"] == means["index 6", "stoi"] != means["postfilter 1.3", "stoi"]
    in_set = pd.read_csv(copied.folder / "results/240118_wav/set_means.csv").query("group == 'all'")
    of_set = in_set.set_index(["index", "measure"])["mean"]
    assert of_set[5, "lsd_dB"] == means["index 5", "lsd_dB"] and of_set[8, "estoi"] == means["Codec 2 3200", "estoi"]
    first, second = tables["claims"].to_dict("records")
    assert {"stoi", "lsd_dB"} <= {*first["confirmed_by"].split()} == {*second["contradicted_by"].split()}
    assert second["holds"] == "in no measure"
    assert (folder / "measures.png").stat().st_size > 10000
    assert copied.run("results/report.html", *words).status == 0
    page = (copied.folder / "results/report.html").read_text(encoding="utf-8")
    assert "What each measure says" in page and "Less noise is better: in " in page
    assert copied.run("results/studies/measures", *words).rules == {}


@pytest.mark.slow
def test_a_test_set_of_speech_that_a_network_is_trained_on_is_refused_in_one_line(copied):
    own = copied.folder / "utterances"
    own.mkdir()
    voice = sorted((copied.folder / "voices").glob("*.wav"))[0]
    soundfile.write(own / "other_name.flac", soundfile.read(voice, dtype="int16")[0], 8000, "PCM_16")
    overlay = {
        "test_sets": {"mine": {"files": "utterances", "seconds": [0.5, 2], "shards": 1}},
        "experiments": {"240118": {"test_set": "mine"}},
    }
    done = copied.run("--cores", 2, "results/240118_wav", overlay=overlay)
    assert done.status == 1 and "Traceback" not in done.text
    refusals = {line.strip() for line in done.text.splitlines() if "is the test sample all_001 (1)" in line}
    assert len(refusals) == 1 and voice.name in refusals.pop()
