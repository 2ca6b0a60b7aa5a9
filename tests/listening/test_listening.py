"""The page of a listening test: what it holds, and how a rater goes through it in a real browser."""

import base64
import csv
import json
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from support.commands import run, succeeds
from support.pages import check_accessibility, opened, state, wait_for
from support.raters import saved, scored
from support.workflow import configuration

from mlquant.core import disk, keys, records
from mlquant.core.errors import InputError
from mlquant.listening import ratings
from mlquant.plan import config, listening
from mlquant.plan.plan import Plan

OUTPUTS = {1: "out", 3: "secret_y_hat", 6: "secret_vq24"}
DELAY, ANCHOR_DELAY = 209, 289


@pytest.fixture(scope="module")
def tables(tmp_path_factory, voice):
    """Tables as of `mlquant tabulate`, as far as a listening test takes them, of three samples of 0.6 s."""
    folder = tmp_path_factory.mktemp("listening")
    samples, measures, anchors = {}, ["sample,index,tag,delay_samples"], ["sample,tag,delay_samples"]
    for i, name in enumerate(("one", "two", "three")):
        speech = voice[1500 * i : 1500 * i + 5000].astype(float)
        records.write_speech(folder / f"{name}.wav", speech.astype(np.int16))
        records.write_speech(folder / f"{name}_700C.wav", delayed(coarse(speech, 2000), ANCHOR_DELAY))
        anchors.append(f"{name},700C,{ANCHOR_DELAY}")
        rows = []
        for index, tag in OUTPUTS.items():
            path = folder / f"{name}_{index}.wav"
            records.write_speech(path, delayed(coarse(speech, 100 * index) * 0.2 * index, DELAY))
            measures.append(f"{name},{index},{tag},{DELAY}")
            rows.append({"index": index, "tag": tag, "files": {"wav": str(path)}})
        samples[name] = {"source": f"{folder / name}.wav", "rows": rows}
    experiment = {"name": "exp", "title": "secret title", "samples": [*samples]}
    disk.write_json(folder / "tables/provenance.json", {"experiment": experiment, "key": "1" * 8, "samples": samples})
    disk.write_text(folder / "tables/measures.csv", "\n".join(measures) + "\n")
    disk.write_text(folder / "tables/anchors.csv", "\n".join(anchors) + "\n")
    return folder / "tables"


def coarse(speech, step):
    return np.rint(speech / step) * step


def delayed(speech, samples):
    return np.pad(np.clip(speech, -32768, 32767).astype(np.int16), (samples, 0))


def settings(tables, kind="mushra", **changes):
    anchors = {name: str(tables.parent / f"{name}_700C.wav") for name in ("one", "two", "three")}
    own = {"anchor": "700C", "anchors": anchors} if kind == "mushra" else {"pairs": []}
    about = {"name": "mine", "kind": kind, "title": "Which is best?", "samples": [*anchors], "outputs": []}
    return about | {"trials": None, "seed": 1} | own | changes


def made(tables, out, **changes):
    """The folder of a listening test, made by the command."""
    disk.write_json(out.with_suffix(".json"), settings(tables, **changes))
    succeeds("listening", out.with_suffix(".json"), tables, "-o", out)
    return out


@pytest.fixture(scope="module")
def html(tables):
    return made(tables, tables.parent / "mushra") / "index.html"


@pytest.fixture(scope="module")
def pairs_html(tables):
    return made(tables, tables.parent / "pairs", kind="preference", trials=4) / "index.html"


def sounds(html):
    """The stimuli of a page, each with its sound, by sample."""
    text = html.read_text(encoding="utf-8")
    data, blob = (base64.b64decode(re.search(rf'id="{name}">([^<]*)<', text)[1]) for name in ("data", "blob"))
    at, found = 0, {}
    for sample in json.loads(data)["samples"]:
        for one in sample["stimuli"]:
            found.setdefault(sample["name"], {})[one["stimulus"], one["tag"]] = np.frombuffer(
                blob, "<i2", sample["length"], at
            )
            at += 2 * sample["length"]
    assert at == len(blob)
    return found


# what it holds


def test_all_sounds_of_a_sample_begin_together_and_are_equally_loud(html):
    for stimuli in sounds(html).values():
        assert set(stimuli) == {("reference", ""), ("anchor", "700C"), *(("output", tag) for tag in OUTPUTS.values())}
        reference = stimuli["reference", ""].astype(float)
        frames = reference[: len(reference) // 160 * 160].reshape(-1, 160)
        active = (frames**2).mean(axis=1) >= (frames**2).mean(axis=1).max() / 1000
        assert 0 < active.sum() < len(active)
        for sound in stimuli.values():
            lags = [
                np.dot(reference[400:-400], np.roll(sound.astype(float), lag)[400:-400]) for lag in range(-300, 301)
            ]
            assert np.argmax(lags) == 300
            own = sound[: len(frames) * 160].reshape(-1, 160)[active] / 32768
            assert 20 * np.log10(np.sqrt((own**2).mean())) == pytest.approx(-26, abs=0.02)


def test_a_sound_with_high_peaks_lowers_the_level_of_all_and_none_is_clipped(tables, tmp_path):
    spiky = np.zeros(5000)
    spiky[500::400] = 30000
    records.write_speech(tmp_path / "spiky.wav", spiky.astype(np.int16))
    anchors = dict.fromkeys(("one",), str(tmp_path / "spiky.wav"))
    found = sounds(made(tables, tmp_path / "test", samples=["one"], anchors=anchors) / "index.html")["one"]
    assert 29000 < max(np.abs(sound.astype(int)).max() for sound in found.values()) < 32767
    levels = [np.sqrt((sound.astype(float) ** 2).mean()) for sound in found.values()]
    assert max(levels) / min(levels) < 1.3
    table = (tmp_path / "test/stimuli.csv").read_text(encoding="utf-8").splitlines()
    column = table[0].split(",").index("level_dB")
    (level,) = {line.split(",")[column] for line in table[1:]}
    assert float(level) < -27


def test_the_page_holds_no_name_that_can_be_read(html, browser):
    secret = re.compile(r"secret|700C|exp\b|anchor|y_hat|vq24", re.IGNORECASE)
    text = html.read_text(encoding="utf-8")
    for tag in OUTPUTS.values():
        assert tag == "out" or tag not in text
    with opened(browser, html) as tab:
        for name in ("", "R 1"):
            if name:
                tab.locator("#rater").fill(name)
                tab.locator("#begin").click()
                tab.get_by_role("button", name="start the test").click()
            shown = tab.evaluate("""[document.title, document.body.innerText,
                ...[...document.querySelectorAll('body *')].flatMap((e) => [...e.attributes].map((a) => a.value))]""")
            assert not [one for one in shown if secret.search(one)]
        assert tab.evaluate("document.getElementById('data')") is None


def test_a_test_has_another_key_once_its_sounds_or_settings_change(tables, tmp_path):
    def key(**changes):
        made(tables, tmp_path / "test", **changes)
        return re.search(r"`mine\.([0-9a-f]{8})`", (tmp_path / "test/README.md").read_text(encoding="utf-8"))[1]

    first = key()
    assert key() == first
    assert len({first, key(seed=2), key(samples=["one", "two"]), key(outputs=[1, 3]), key(anchor=None)}) == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outputs": [1, 9]}, "has no output 9 of one, expected one of 1, 3, 6"),
        ({"samples": ["four"]}, "has none of the samples four, expected one or more"),
        ({"anchors": {}}, "settings: anchors has no 'one', expected the path of its speech in mode 700C"),
        ({"anchors": {"one": "no.wav"}, "samples": ["one"]}, "no.wav: no such file"),
    ],
)
def test_settings_that_do_not_fit_the_experiment_are_told_in_one_line(tables, tmp_path, changes, told):
    disk.write_json(tmp_path / "test.json", settings(tables, **changes))
    ended = run("listening", tmp_path / "test.json", tables, "-o", tmp_path / "test")
    assert ended.status == 1 and len(ended.err) == 1 and told in ended.err[0]
    assert not (tmp_path / "test").exists()


def test_a_sample_that_the_experiment_left_out_is_left_out(tables, tmp_path):
    disk.write_json(
        tmp_path / "test.json",
        settings(tables, samples=["late", "one"], anchors={"one": str(tables.parent / "one_700C.wav")}),
    )
    ended = succeeds("listening", tmp_path / "test.json", tables, "-o", tmp_path / "test")
    assert ended.err == ["late: is left out, as the experiment has left it out"]
    assert set(sounds(tmp_path / "test/index.html")) == {"one"}


# in the browser


def begin(tab, rater="Ann", practise=True):
    tab.locator("#rater").fill(rater)
    tab.keyboard.press("Enter")
    if practise:
        tab.get_by_role("button", name="start the test").click()


def hear_all(tab):
    """As if all sounds had been listened to."""
    tab.evaluate("mlquant.player.tracks.forEach((track) => Object.assign(track, { seconds: 2, listens: 1 }))")


def rows_of(download):
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return text, list(csv.DictReader(text.splitlines()))


def test_the_order_follows_from_the_name_of_the_rater(html, pairs_html, browser):
    order = """(name) => mlquant.trialsOf(name).trials.map(({ sample, stimuli }) =>
        [sample.name, stimuli.map((one) => `${one.stimulus} ${one.index} ${one.tag}`)])"""
    for path in (html, pairs_html):
        with opened(browser, path) as tab:
            found = {name: tab.evaluate(order, name) for name in (f"rater {i}" for i in range(40))}
        with opened(browser, path) as tab:
            assert tab.evaluate(order, "rater 7") == found["rater 7"]
        assert len({json.dumps(one) for one in found.values()}) > 35
        first = [trials[0] for trials in found.values()]
        assert {sample for sample, _ in first} == {"one", "two", "three"}
        heard = [one for trials in found.values() for _, stimuli in trials for one in stimuli]
        places = [
            stimuli.index("output 1 out") for t in found.values() for _, stimuli in t if "output 1 out" in stimuli
        ]
        most = 5 if path is html else 2
        counts = np.bincount(places, minlength=most)
        assert counts.min() > 0.6 * len(places) / most  # each letter as often
        if path is html:
            assert len(heard) == 40 * 3 * 5
            assert all(len({*stimuli}) == 5 for trials in found.values() for _, stimuli in trials)
        else:
            assert all(
                len(trials) == 4 and len({json.dumps([s, sorted(p)]) for s, p in trials}) == 4
                for trials in found.values()
            )


def test_a_rater_scores_all_sounds_by_keyboard_and_the_answers_are_saved(html, browser, tmp_path):
    with opened(browser, html) as tab:
        assert "One of them is the reference itself" in tab.locator("main").inner_text()
        begin(tab, " Ann  B. ")
        assert state(tab)["screen"] == "trial" and tab.locator("h2").inner_text() == "Trial 1 of 3"
        assert tab.locator("#next").is_disabled()
        tab.keyboard.press("r")
        wait_for(tab, "mlquant.state().clock > mlquant.state().started + 0.05")
        before = state(tab)
        assert before["playing"] and before["track"] == 0
        for place, letter in enumerate("abcde", 1):
            tab.keyboard.press(letter)
            now = state(tab)
            assert now["track"] == place and now["started"] == before["started"]  # no sound was started again
            wait_for(tab, "mlquant.state().gains[mlquant.state().track] > 0.99")
            assert sum(gain > 0.01 for gain in state(tab)["gains"]) == 1
            assert tab.evaluate("document.activeElement.ariaLabel") == f"score of {letter.upper()}"
            tab.keyboard.press("PageUp")
            if letter == "b":
                tab.keyboard.press("Home")
            assert tab.locator("#next").is_disabled()
            wait_for(tab, f"mlquant.state().heard[{place}].seconds >= mlquant.player.duration", 20)
        now, duration = state(tab), tab.evaluate("mlquant.player.duration")
        rounds = (now["time"] - before["time"] - (now["clock"] - before["clock"])) / duration
        assert rounds == pytest.approx(round(rounds), abs=1e-6)  # one clock, through all switches
        assert state(tab)["todo"] == ""
        assert state(tab)["scores"][:2] == [60, 0]
        assert "excellent" in tab.locator("#scales").inner_text()
        tab.keyboard.press("Enter")
        assert tab.locator("h2").inner_text() == "Trial 2 of 3"
        assert not state(tab)["playing"] and state(tab)["scores"] == [None] * 5
        with tab.expect_download() as so_far:
            tab.get_by_role("button", name="save answers so far").click()
        assert {row["trial"] for row in rows_of(so_far)[1]} == {"1"}
        for number in (2, 3):
            hear_all(tab)
            for slider in tab.locator("input[type=range]").all():
                slider.press("End" if slider.get_attribute("aria-label")[-1] == "A" else "ArrowLeft")
            if number == 3:
                with tab.expect_download() as download:
                    tab.locator("#next").click()
            else:
                tab.locator("#next").click()
        assert state(tab)["screen"] == "end" and "Thank you" in tab.locator("main").inner_text()
        assert download.value.suggested_filename.endswith("_Ann_B_.csv")
        assert re.fullmatch(r"mine\.[0-9a-f]{8}_Ann_B_\.csv", download.value.suggested_filename)
        text, rows = rows_of(download)
        order = tab.evaluate("""mlquant.rating.trials.map(({ sample, stimuli }) =>
            stimuli.map((one) => [sample.name, one.stimulus, one.index === null ? '' : String(one.index), one.tag]))""")
    assert tuple(rows[0]) == ratings.COLUMNS
    assert [[row[name] for name in ("sample", "stimulus", "index", "tag")] for row in rows] == [*chain(*order)]
    assert {row["rater"] for row in rows} == {"Ann B."} and {row["experiment"] for row in rows} == {"exp." + "1" * 8}
    assert [row["score"] for row in rows[:2]] == ["60", "0"] and {row["position"] for row in rows} == set("ABCDE")
    assert [row["score"] for row in rows if row["trial"] == "3"] == ["100", "49", "49", "49", "49"]
    assert all(int(row["listens"]) == 1 and float(row["seconds"]) > 0.5 for row in rows[:5])
    (tmp_path / "ann.csv").write_text(text, encoding="utf-8")
    assert len(ratings.read([tmp_path / "ann.csv"])) == 15


def test_a_rater_chooses_between_two_and_the_answers_are_saved(pairs_html, browser, tmp_path):
    with opened(browser, pairs_html) as tab:
        begin(tab)
        assert tab.locator("#question").inner_text() == "Which of the two sounds better?"
        for number, answer in enumerate("1233", 1):
            assert tab.locator("h2").inner_text() == f"Trial {number} of 4"
            if number == 1:
                tab.keyboard.press("a")
                wait_for(tab, "mlquant.state().heard[1].seconds >= mlquant.player.duration", 20)
                tab.keyboard.press("3")
                assert tab.locator("#todo").inner_text() == "Still to do: listen to B."
                tab.keyboard.press("Enter")
                assert tab.locator("h2").inner_text() == "Trial 1 of 4"
            hear_all(tab)
            tab.keyboard.press(answer)
            pressed = tab.locator("#choices [aria-pressed=true]").all_inner_texts()
            assert any(text.startswith(("A is", "no pref", "B is")[int(answer) - 1]) for text in pressed)
            if number == 4:
                with tab.expect_download() as download:
                    tab.keyboard.press("Enter")
            else:
                tab.keyboard.press("Enter")
        text, rows = rows_of(download)
    assert [row["score"] for row in rows] == ["1", "0", "0.5", "0.5", "0", "1", "0", "1"]
    (tmp_path / "ann.csv").write_text(text, encoding="utf-8")
    assert len(ratings.read([tmp_path / "ann.csv"])) == 8


def test_a_closed_page_goes_on_where_the_rater_stopped(html, browser):
    context = browser.new_context()
    try:
        tab = context.new_page()
        tab.goto(html.resolve().as_uri())
        begin(tab)
        for score in ("PageUp", "PageDown"):
            hear_all(tab)
            for slider in tab.locator("input[type=range]").all()[: 5 if score == "PageUp" else 2]:
                slider.press(score)
            if score == "PageUp":
                tab.locator("#next").click()
        tab.close()
        tab = context.new_page()
        tab.goto(html.resolve().as_uri())
        assert "Ann goes on with trial 2 of 3" in tab.locator("main").inner_text()
        assert tab.locator("#rater").input_value() == "Ann"
        tab.locator("#begin").click()
        assert tab.locator("h2").inner_text() == "Trial 2 of 3"
        assert state(tab)["scores"] == [40, 40, None, None, None]
        assert "listen to" not in state(tab)["todo"]
        assert tab.evaluate("mlquant.answersAsCsv().split('\\n').length") == 1 + 5 + 1
        tab.reload()
        begin(tab, "Bob", practise=False)
        assert tab.locator("h2").inner_text() == "Practice" and state(tab)["scores"] == [None] * 5
    finally:
        context.close()


def test_where_the_browser_keeps_nothing_the_page_works_and_says_so(html, browser):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })")
    try:
        tab = context.new_page()
        tab.goto(html.resolve().as_uri())
        assert "keeps nothing" in tab.locator("main").inner_text()
        begin(tab)
        assert tab.locator("h2").inner_text() == "Trial 1 of 3"
    finally:
        context.close()


def test_a_name_that_is_none_is_refused(html, browser):
    with opened(browser, html) as tab:
        begin(tab, "=1+1", practise=False)
        assert tab.locator("[role=alert]").inner_text().startswith("Type a name or code")
        assert state(tab)["screen"] == "start"


def test_a_stretch_is_repeated_and_a_click_seeks(html, browser):
    with opened(browser, html) as tab:
        begin(tab)
        box = tab.locator("#timeline").bounding_box()
        duration = tab.evaluate("mlquant.player.duration")
        assert duration == pytest.approx(tab.evaluate("mlquant.player.tracks[0].pcm.length") / 8000)
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
        assert state(tab)["time"] == pytest.approx(duration / 2, abs=0.02)
        tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=3)
        tab.mouse.up()
        low, high = state(tab)["loop"]
        assert [low, high] == pytest.approx([duration / 4, duration / 2], abs=0.02)
        tab.keyboard.press("Space")
        wait_for(tab, "mlquant.state().clock > mlquant.state().started + 0.5")
        assert low <= state(tab)["time"] < high
        tab.keyboard.press("\\")
        assert state(tab)["loop"] is None and state(tab)["playing"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (1280, "dark"), (390, "light")])
def test_nothing_serious_is_found_by_axe_and_nothing_is_too_wide(html, pairs_html, browser, width, scheme):
    # The pages of both kinds have one style: pairs are looked at in two of the four.
    for path in (html, pairs_html)[: 2 if (width, scheme) in ((1280, "light"), (390, "dark")) else 1]:
        with opened(browser, path, viewport={"width": width, "height": 844}, color_scheme=scheme) as tab:

            def look(screen, tab=tab):
                assert state(tab)["screen"] == screen
                check_accessibility(tab)
                assert tab.evaluate("document.documentElement.scrollWidth") <= width

            look("start")
            begin(tab, practise=False)
            assert state(tab)["screen"] == "practice"
            tab.keyboard.press("b")
            tab.locator("#next").click()
            hear_all(tab)
            tab.keyboard.press("a")
            look("trial")
            tab.evaluate("mlquant.rating.answers = mlquant.rating.trials.slice(1).map(() => ({ rows: [] }))")
            for control in tab.locator("#scales input, #choices .row:last-child button").all():
                control.press("End") if path is html else control.click()
            with tab.expect_download():
                tab.locator("#next").click()
            look("end")


# the filter


def test_speech_is_brought_to_48_khz_flat_and_without_images(html, browser):
    n = np.arange(2000)
    window = np.hanning(6 * 1600) / (6 * 1600 / 4)  # of a sine of amplitude 1, the peak of its spectrum is 1
    with opened(browser, html) as tab:
        for hertz in (50, 1000, 2500, 3400, 3700, 3800):
            low = np.cos(2 * np.pi * hertz * n / 8000 + 1)
            high = np.array(tab.evaluate("(pcm) => mlquant.upsampled(pcm)", low.tolist()))
            assert len(high) == 6 * len(low)
            assert high[::6] == pytest.approx(low, abs=1e-6)  # what was there stays
            middle = high[1200:-1200] * window
            t = np.arange(1200, len(high) - 1200) / 48000
            levels = {
                f: np.abs(np.dot(middle, np.exp(-2j * np.pi * f * t)))
                for f in (hertz, 8000 - hertz, 8000 + hertz, 16000 - hertz)
            }
            assert 20 * np.log10(levels.pop(hertz)) == pytest.approx(0, abs=0.1)
            assert 20 * np.log10(max(levels.values())) < -60
        impulse = np.zeros(400)
        impulse[200] = 1
        response = np.array(tab.evaluate("(pcm) => mlquant.upsampled(pcm)", impulse.tolist()))
        assert np.argmax(response) == 1200
        assert response[1200 - 280 : 1200] == pytest.approx(response[1201 : 1201 + 280][::-1], abs=1e-7)


# the configuration


def configured(**entry):
    """The checked configuration of the repository, with a listening test `mine`."""
    return config.load(configuration() | {"listening": {"mine": entry}})


OF_240118 = {"experiment": "240118"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"kind": "mushra", "experiment": "24018"}, "experiment: '24018' names no experiment, the nearest"),
        ({"kind": "mushra", **OF_240118, "samples": ["bigdog"]}, "samples.0: 'bigdog' names no sample of 240118, the"),
        ({"kind": "mushra", **OF_240118, "samples": ["mmt1"] * 2}, "samples: 'mmt1' is there twice, expected once"),
        ({"kind": "mushra", **OF_240118, "samples": 3}, "samples: found 3, expected a list"),
        ({"kind": "mushra", **OF_240118, "outputs": [5, 9]}, "outputs.1: '9' names no output of 240118, the nearest"),
        ({"kind": "mushra", **OF_240118, "outputs": [6, 6]}, "outputs: 6 is there twice, expected once"),
        ({"kind": "mushra", **OF_240118, "anchor": "700"}, "anchor: found '700', expected one of 3200, "),
        ({"kind": "mushra", **OF_240118, "trials": 0}, "trials: found 0, expected more than 0"),
        ({"kind": "mushra", **OF_240118, "pairs": [[5, 6]]}, "pairs goes with kind preference only, found kind mushra"),
        ({"kind": "preference", **OF_240118, "pairs": [[5, 2]]}, "pairs.0.1: '2' names no output of 240118, the"),
        ({"kind": "preference", **OF_240118, "pairs": [[5, 5]]}, "pairs.0: 5 is there twice, expected once"),
        ({"kind": "preference", **OF_240118, "pairs": [[5, 6], [6, 5]]}, "pairs: [5, 6] is there twice, expected once"),
        ({"kind": "preference", **OF_240118, "pairs": [[5, 6, 7]]}, "pairs.0: found [5, 6, 7], expected at most 2"),
        ({"kind": "preference", **OF_240118, "pairs": [[5, 6]], "outputs": [5, 6]}, "has outputs and pairs, expected"),
        (OF_240118, "kind: is missing, expected one of 'mushra', 'preference'"),
    ],
)
def test_a_mistake_in_an_entry_is_one_line(entry, told):
    with pytest.raises(InputError) as error:
        configured(**entry)
    assert len(error.value.lines) == 1
    assert error.value.lines[0].removeprefix("config: listening.mine").lstrip(".: ").startswith(told)


def test_the_seed_chooses_samples_and_their_order_stays():
    def samples(**entry):
        checked = configured(kind="mushra", **OF_240118, **entry)
        return tuple(listening.heard(checked, listening.tests_of(checked)["mine"]))

    every = ("big_dog", "two_lines", "hts1a", "kristoff", "mmt1")
    assert samples() == samples(at_most=9) == every
    assert samples(samples=["mmt1", "hts1a"]) == ("hts1a", "mmt1")
    assert samples(at_most=2) == samples(at_most=2)
    drawn = {samples(at_most=2, seed=seed) for seed in range(8)}
    assert len(drawn) > 2 and all(one == tuple(s for s in every if s in one) and len(one) == 2 for one in drawn)


def test_more_sounds_than_a_trial_can_have_are_told_when_the_page_is_asked_for():
    raw = configuration()
    outputs = {str(100 + i): {"tag": f"x{i}", "process": "original"} for i in range(5)}
    entry = raw["experiments"]["240118"] | {"outputs": raw["experiments"]["240118"]["outputs"] | outputs}
    plan = Plan(config.load(raw | {"experiments": {"240118": entry}, "listening": {}}))
    told = "listening.240118.outputs: found 11, expected at most 10 beside the hidden reference and the anchor"
    with pytest.raises(InputError, match=told):
        plan.of_listening("240118")


# in the workflow


@pytest.mark.slow
def test_the_workflow_makes_the_page_of_each_experiment_and_of_each_entry(copied):
    done = copied.run("results/listening/240118", "results/listening/240118_pairs", "results/listening/pair")
    assert done.status == 0, done.text
    assert done.rules == {"listening": 3}
    folder = copied.folder / "results/listening"
    assert set(sounds(folder / "240118/index.html")) == {"ann"}
    stimuli = sounds(folder / "pair/index.html")  # without the sample that could not be obtained
    assert set(stimuli) == {"ann", "bob"}
    assert set(stimuli["bob"]) == {("reference", ""), ("anchor", "700C"), ("output", "out"), ("output", "1300")}
    assert ("reference", "") in sounds(folder / "240118_pairs/index.html")["ann"]
    assert copied.run("-n", "results/listening/240118").rules == {}
    overlay = {"listening": {"few": {"kind": "preference", "experiment": "pair", "outputs": [8]}}}
    done = copied.run("results/listening/few", overlay=overlay)
    assert done.status == 1 and "listening.few.outputs: found 1, expected two or more to compare" in done.text
    done = copied.run("results/listening/240118_pair")
    assert done.status == 1 and "the nearest target is results/listening/240118_pairs" in done.text
    # What raters say goes onto the page of the experiment, and into the report.
    files = [saved(copied.folder / f"answers/{i}.csv", scored(f"r{i}", ["ann", "bob"], i)) for i in range(4)]
    succeeds("ratings", *files, "-o", copied.folder / "results/ratings/240118")
    done = copied.run("results/240118_wav", "report")
    assert done.status == 0, done.text
    assert done.rules == {"page": 1, "report": 1}
    table = "results/ratings/240118/ratings.csv"
    (copy,) = copied.bytes("results/240118_wav/*_ratings.csv").items()
    assert copy == ("results/240118_wav/240118_ratings.csv", (copied.folder / table).read_bytes())
    for path in ("results/240118_wav/index.html", "results/report.html"):
        text = (copied.folder / path).read_text(encoding="utf-8")
        assert (
            "Listening test t.12345678, of the variant 240118.3f9a1c2e" in text and "low anchor, Codec 2 700C" in text
        )
    assert copied.run("-n", "results/240118_wav").rules == {}


def test_the_code_that_makes_the_page_is_in_its_key():
    reached = keys.reached("mlquant.listening.stages:listening")
    assert {"listening/page/trials.js", "listening/page/style.css", "core/page/upsample.js"} <= {*reached}
