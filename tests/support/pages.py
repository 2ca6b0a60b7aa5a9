"""What a browser checks of an open page: the page of made-up tables and that of a real run go through the same."""

import contextlib
import csv
import importlib.resources
import time
from pathlib import Path

import numpy as np
import pytest

from mlquant.core import records
from mlquant.networks import inference
from mlquant.quantisers import vq
from mlquant.vocoder.features import energy_dB


@contextlib.contextmanager
def opened(browser, html, **options):
    """A page opened from disk; fails for what it logs as an error, and for anything it asks for beyond itself."""
    wrong = []
    tab = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
    tab.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: request.url != html.resolve().as_uri() and wrong.append(request.url))
    try:
        tab.goto(html.resolve().as_uri())
        wait_for(tab, "Boolean(window.mlquant)")
        yield tab
        assert not wrong
    finally:
        tab.close()


def wait_for(tab, expression, seconds=5):
    """Wait until an expression is true. Playwright's own way to wait is refused by the page's security policy."""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.01)


def state(tab):
    return tab.evaluate("mlquant.state()")


def check_accessibility(tab):
    """axe-core finds nothing serious or critical on an open page, whose folded parts are unfolded first."""
    package = pytest.importorskip("axe_playwright_python", reason="needs the package axe-playwright-python")
    axe = (importlib.resources.files(package) / "axe.min.js").read_text(encoding="utf-8")
    tab.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    tab.evaluate(f"() => {{ {axe}\n}}")
    found = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "axe-core looked at nothing"
    wrong = [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
    assert not wrong, "\n".join(wrong)


def check_listening(tab):
    """Plays by keyboard, switches without a stop of the clock, seeks, repeats a stretch, matches levels."""
    tracks = tab.evaluate("mlquant.audio.sample.tracks.map(({ kind, index }) => ({ kind, index }))")
    indices = [track["index"] for track in tracks if track["kind"] == "output" and track["index"] < 10]
    tab.keyboard.press("r")
    tab.keyboard.press("Space")
    wait_for(tab, "mlquant.state().playing && mlquant.state().clock > mlquant.state().started + 0.05")
    before = state(tab)
    tab.evaluate("window.nodes = mlquant.audio.nodes")
    for index in [0, *indices]:
        tab.keyboard.press(str(index))
        now = state(tab)
        assert tracks[now["track"]]["index"] == index
        assert now["started"] == before["started"]  # nothing was started again
        assert now["clock"] >= before["clock"]
        wait_for(tab, "mlquant.state().gains[mlquant.state().track] > 0.99")
        gains = state(tab)["gains"]
        assert sum(gain > 0.01 for gain in gains) == 1
    after = state(tab)
    assert tab.evaluate("window.nodes === mlquant.audio.nodes")
    assert after["playing"]
    # Safari takes no sound below 22,050 Hz.
    assert tab.evaluate("mlquant.audio.buffers.map((one) => one.sampleRate)") == [48000] * len(tracks)
    sound = tab.evaluate("""mlquant.audio.sample.tracks.map((track, i) => {
        const { length } = mlquant.audio.buffers[i], high = mlquant.audio.buffers[i].getChannelData(0);
        const away = (v, n) => Math.abs(v / 32768 - high[6 * n]);
        const wrong = mlquant.array(track.audio).reduce((most, v, n) => Math.max(most, away(v, n)), 0);
        return [length / 6, wrong]; })""")
    assert all(length == tab.evaluate("mlquant.audio.length") and wrong < 1e-4 for length, wrong in sound)
    assert after["clock"] > before["clock"]
    duration = tab.evaluate("mlquant.audio.length / 8000")
    passed = (after["time"] - before["time"] - (after["clock"] - before["clock"])) / duration
    assert passed == pytest.approx(round(passed), abs=1e-6)
    published = [i for i, track in enumerate(tracks) if track["kind"] == "published"]
    if published:
        tab.keyboard.press(f"Shift+{tracks[published[0]]['index']}")
        assert state(tab)["track"] == published[0]
    tab.keyboard.press("Space")
    assert not state(tab)["playing"]
    tab.keyboard.press("r")

    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("[")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("]")
    assert state(tab)["loop"] == pytest.approx([0.1, 0.2])
    tab.keyboard.press("Space")
    wait_for(tab, "mlquant.state().clock > mlquant.state().started + 0.3")
    assert 0.1 <= state(tab)["time"] < 0.2
    tab.keyboard.press("Space")
    tab.keyboard.press("\\")
    assert state(tab)["loop"] is None

    box = tab.locator("#timeline").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 30)
    assert state(tab)["time"] == pytest.approx(duration / 2, abs=0.02)
    tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30, steps=3)
    tab.mouse.up()
    assert state(tab)["loop"] == pytest.approx([duration / 4, duration / 2], abs=0.02)
    tab.keyboard.press("\\")

    tab.keyboard.press("m")
    powers = tab.evaluate("""mlquant.audio.sample.tracks.map((track) => {
        mlquant.audio.track = mlquant.audio.sample.tracks.indexOf(track); return mlquant.level(track); })""")
    assert powers == pytest.approx([powers[0]] * len(powers))
    tab.keyboard.press("m")


def check_frames(tab):
    """Steps frame by frame, jumps by distortion, shows the loss weighting, leaves."""
    index = tab.evaluate("mlquant.audio.sample.tracks.find((track) => track.sd_dB2).index")
    tab.keyboard.press(str(index))
    tab.keyboard.press("v")
    tab.keyboard.press("Home")
    first = state(tab)["frame"]
    tab.keyboard.press("n")
    tab.keyboard.press("n")
    tab.keyboard.press("b")
    assert state(tab)["frame"] == first + 1
    assert state(tab)["time"] == pytest.approx((80 * (first + 1) + 79) / 8000)
    names = [curve["id"] for curve in state(tab)["curves"]]
    assert {"A", "y", "b", "mine"} <= set(names)
    shown = tab.locator("#frame").inner_text()
    for word in ("F0", "Wo", "voiced", "energy", "SD dB²"):
        assert word in shown
    tab.keyboard.press("j")
    distortions = tab.evaluate("""(() => { const s = mlquant.state(), track = mlquant.audio.sample.tracks[s.track];
        return Array.from(mlquant.array(track.sd_dB2)); })()""")
    assert state(tab)["frame"] == int(np.argmax(distortions))
    tab.keyboard.press("j")
    second = state(tab)["frame"]
    assert abs(second - int(np.argmax(distortions))) >= 5
    tab.keyboard.press("Shift+J")
    assert state(tab)["frame"] == int(np.argmax(distortions))
    tab.keyboard.press("w")
    curves = {(curve["id"], curve["name"].split(",")[0]): np.array(curve["y"]) for curve in state(tab)["curves"]}
    weights = [value for (kind, name), value in curves.items() if kind == "weight" and name.endswith("of y")]
    if weights:
        y = curves["y", "y"]
        normalised = (y - energy_dB(y[None])) / 20
        gamma = float(next(c["name"] for c in state(tab)["curves"] if c["id"] == "weight").rpartition(" ")[2])
        expected = 20 * np.log10(np.minimum(10 ** (-(1 - gamma) * normalised), 30))
        assert weights[0] == pytest.approx(expected, abs=0.01)
    tab.keyboard.press("w")
    assert not any(curve["id"] == "weight" for curve in state(tab)["curves"])
    tab.keyboard.press("q")
    assert tab.evaluate("document.activeElement.id") == "player"


def listen(tab, key):
    """Press a key of A/B/X and listen for long enough that it counts."""
    tab.keyboard.press(key)
    clock = state(tab)["clock"]
    wait_for(tab, f"mlquant.state().clock > {clock} + 0.31")


def check_abx(tab):
    """A blind test by keyboard: nothing shows what X is; no answer without listening; score, p-value and CSV."""
    tab.keyboard.press("r")
    tab.keyboard.press("x")
    tab.locator("#abx-a").select_option(index=1)
    tab.locator("#abx-b").select_option(index=2)
    start, status = tab.locator("#abx-start"), tab.locator("#abx-status")
    answers = [tab.get_by_role("button", name=f"X is {letter}") for letter in "AB"]
    # In one go, before anything can be heard.
    said = tab.evaluate(
        "(all) => { all.forEach((e) => e.click()); return document.querySelector('#abx-status').textContent; }",
        [button.element_handle() for button in (start, *answers)],
    )
    assert said == "Listen to X, A and B first: the answer does not count yet."
    assert tab.evaluate("mlquant.abx.answers") == []
    # What the page answers stands beside the buttons that it is about.
    beside, box = answers[1].bounding_box(), status.bounding_box()
    assert box["x"] >= beside["x"] + beside["width"]
    assert abs(box["y"] + box["height"] / 2 - beside["y"] - beside["height"] / 2) < 10
    tab.keyboard.press("Escape")
    start.focus()
    tab.keyboard.press("Enter")
    assert state(tab)["playing"]
    assert tab.locator("#tracks [aria-pressed=true]").count() == 0
    kept = state(tab)["track"]
    tab.keyboard.press("0")  # would tell by the ear what X is not
    assert state(tab)["track"] == kept
    listen(tab, "x")
    tab.keyboard.press("Shift+A")
    assert status.inner_text() == "Listen to A and B first: the answer does not count yet."
    right = 0
    for trial in range(4):
        listen(tab, "a")
        assert state(tab)["track"] == 1
        listen(tab, "b")
        assert state(tab)["track"] == 2
        listen(tab, "x")
        answer = "A" if trial != 3 else "B"
        right += ("A" if state(tab)["track"] == 1 else "B") == answer
        if trial != 1:
            tab.keyboard.press(f"Shift+{answer}")
        else:  # twice in one go: the second time X is another one, which was not heard yet
            answers[0].evaluate("(button) => { button.click(); button.click(); }")
            assert status.inner_text() == "Listen to X first: the answer does not count yet."
    p = sum([1, 4, 6, 4, 1][right:]) / 16
    told, _, told_p = status.inner_text().partition(", p = ")
    assert told.endswith(f" {right} of 4 right")
    assert float(told_p.rstrip(".")) == pytest.approx(p, abs=0.0006)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="answers as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 4
    assert sum(int(row["right"]) for row in rows) == right
    assert [row["answer"] for row in rows] == ["A", "A", "A", "B"]
    assert all((row["X"] == row["answer"]) == bool(int(row["right"])) for row in rows)
    tab.keyboard.press("Escape")
    assert tab.locator("#tracks [aria-pressed=true]").count() == 1
    tab.keyboard.press("Space")
    assert not state(tab)["playing"]
    tab.keyboard.press("r")


def check_bottleneck(tab, provenance, root=Path()):
    """The drawn curve is what `inference.decode` makes of the same latents, and the search that of `vq.search`.

    `provenance` is the experiment's, its paths relative to `root`.
    """
    known = provenance["bottleneck"]
    network, settings = inference.load(root / known["weights"])
    codebooks = [records.read_f32(root / path, settings["d"]) for path in known["codebooks"]]
    name = state(tab)["sample"]
    sample = provenance["samples"][name]
    latents = records.read_f32(root / known["latents"][name], settings["d"])
    y = records.read_f32(root / sample["y"], 79)
    given = y if settings["family"] == "autoencoder2" else records.read_features(root / sample["features"])

    def compare(expected_latents=None):
        now = state(tab)
        held = np.array(tab.evaluate("mlquant.latents(mlquant.state().frame)"), np.float32)
        vectors = latents.copy()
        vectors[now["frame"] // settings["ncat"]] = held
        if expected_latents is not None:
            assert np.abs(held - expected_latents[now["frame"] // settings["ncat"]]).max() < 1e-6
        made = inference.decode(network, settings, vectors, given, y)[now["frame"]]
        drawn = next(curve["y"] for curve in now["curves"] if curve["id"] == "live")
        assert np.abs(made[: len(drawn)] - drawn).max() < 1e-4
        return np.array(drawn)

    tab.keyboard.press("j")
    clean = compare(latents)
    tab.locator("#noise").focus()
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    noisy = compare()
    assert np.abs(noisy - clean).max() > 1e-3
    tab.keyboard.press("Space")  # a new vector, not a start of the sound
    assert not state(tab)["playing"]
    assert np.abs(compare() - noisy).max() > 1e-3
    tab.keyboard.press("Home")
    compare(latents)
    tab.locator("#latent-0").focus()
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    moved = latents.copy()
    moved[:, 0] += np.float32(0.05)
    compare(moved)
    for i, choice in enumerate(known["choices"]):
        stages = codebooks[: choice["stages"]]
        tab.locator("#vq").select_option(str(i))
        if share := choice.get("smooth"):
            # The run's neighbours stay, and the moved vector is searched for the least error of all three.
            frame = state(tab)["frame"] // settings["ncat"]
            sent, vectors = vq.decode(np.load(root / choice["sent"][name]), stages), latents.copy()
            vectors[frame] = moved[frame]
            missing = np.pad(vectors - vq.smoothed(sent, share), ((1, 1), (0, 0)))[frame : frame + 3]
            step = share * (missing[0] + missing[2]) + (1 - 2 * share) * missing[1]
            wanted = sent[frame] + step / (2 * share**2 + (1 - 2 * share) ** 2)
            sent[frame] = vq.decode(vq.search(wanted[None].astype(np.float32), stages, choice["mbest"]), stages)
            compare(vq.smoothed(sent, share))
        else:
            compare(vq.decode(vq.search(moved, stages, choice["mbest"]), stages))
        rows = latents[:: max(1, len(latents) // 20)]
        found = [tab.evaluate(f"(vector) => mlquant.searchVq(vector, {i})", row.tolist()) for row in rows]
        assert (np.array(found) == vq.search(rows, stages, choice["mbest"])).all()
    tab.get_by_role("button", name="reset").click()
    for i, choice in enumerate(known["choices"]):
        if "smooth" in choice:  # with nothing moved the decoder gets what it got in the run
            tab.locator("#vq").select_option(str(i))
            sent = vq.decode(np.load(root / choice["sent"][name]), codebooks[: choice["stages"]])
            files = next((row["files"] for row in sample["rows"] if row["index"] == choice["index"]), {})
            l_hat = records.read_f32(root / files["l_hat"], settings["d"]) if "l_hat" in files else None
            compare(vq.smoothed(sent, choice["smooth"]) if l_hat is None else l_hat)
            assert "of each neighbour" in tab.locator("#bottleneck").inner_text()
    tab.get_by_role("button", name="reset").click()
    assert np.abs(compare(latents) - clean).max() < 1e-9
    frame = state(tab)["frame"]
    tab.keyboard.press("n")
    assert state(tab)["frame"] == frame + 1
    compare(latents)


def check_numbers(tab):
    """The measures sort by a click on a head, and show each sample and all columns on demand."""
    numbers = tab.locator("#numbers")
    rows = numbers.locator("table").nth(1).locator("tbody tr")
    assert rows.first.inner_text().split()[0] == "all"
    head = numbers.get_by_role("button", name="SD dB²", exact=True).first
    head.press("Enter")
    column = tab.evaluate("(h) => h.cellIndex", head.locator("..").element_handle())
    shown = [text for text in rows.locator(f":nth-child({column + 1})").all_inner_texts() if text[0].isdigit()]
    assert [float(text) for text in shown] == sorted(float(text) for text in shown)
    columns = numbers.locator("table").nth(1).locator("th[scope=col]").count()
    numbers.get_by_role("button", name="all columns").press("Enter")
    assert numbers.locator("table").nth(1).locator("th[scope=col]").count() > columns
    numbers.get_by_role("button", name="each sample").press("Enter")
    assert rows.first.inner_text().split()[0] == state(tab)["sample"]
    assert "209 samples (26.1 ms)" in numbers.inner_text()


def check_keyboard(tab):
    """Every control is reached by tab, shows that it is, and has a name."""
    assert tab.evaluate("""[...document.querySelectorAll('button, input, select, [tabindex="0"]')].every((e) =>
        (e.ariaLabel || e.labels?.[0]?.innerText || e.textContent).trim())""")
    controls = tab.evaluate("""[...document.querySelectorAll(
        'a[href], button:enabled, input, select, summary, [tabindex="0"]')]
        .filter((e) => e.checkVisibility()).length""")
    tab.evaluate("document.querySelector('a[href]').focus()")
    tab.keyboard.press("Shift")  # from here on by keyboard
    seen = set()
    for i in range(controls):
        if i:
            tab.keyboard.press("Tab")
        seen.add(
            tab.evaluate("""(() => { const e = document.activeElement; e.dataset.seen ??= Math.random();
            return getComputedStyle(e).outlineStyle === "none" ? "bare" : e.dataset.seen; })()""")
        )
    assert "bare" not in seen
    assert len(seen) >= controls - 1


def check_first_screen(browser, html, width=1280, height=800, outputs=None):
    """Without scrolling there are title, what was done, the outputs with PESQ, and the player: 1280 by 800 pixels."""
    with opened(browser, html, viewport={"width": width, "height": height}) as tab:
        experiment = tab.evaluate("mlquant.page.experiments[0]")
        title = tab.locator("h1").inner_text()
        assert title == " ".join(filter(None, dict.fromkeys([experiment["title"], experiment["name"]])))
        assert tab.title().startswith(experiment["title"] or experiment["name"])
        (sentence,) = tab.locator("#about .done").all_inner_texts()
        assert sentence.count(".") - sentence.count(" 0.") - sentence.count(" 1.") == 1, "one sentence"
        table = tab.locator("#outputs table")
        assert {"index", "what it is", "bits", "bit/s", "PESQ"} <= set(table.locator("th[scope=col]").all_inner_texts())
        rows = table.locator("tbody tr")
        assert rows.count() == 1 + len(experiment["outputs"])
        places = ["h1", "#about .done", "#play", "#timeline", "#samples button", "#tracks button", "#bits-chart"]
        places += [f"#outputs tbody tr:nth-child({2 + i}) .pesq" for i in range(outputs or len(experiment["outputs"]))]
        for place in places:
            box = tab.locator(place).first.bounding_box()
            assert box["width"] > 5, place
            assert box["x"] >= 0, place
            assert box["x"] + box["width"] <= width, place
            assert box["y"] >= 0, place
            assert box["y"] + box["height"] <= height, place
            middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
            seen = "([x, y, place]) => document.querySelector(place).contains(document.elementFromPoint(x, y))"
            assert tab.evaluate(seen, [*middle, place]) or place == "#bits-chart", f"{place} is covered"
        check_rows(tab)


def check_rows(tab):
    """Rows of the table of outputs say what their tables hold, and play on a click; the text below says what plays."""
    experiment = tab.evaluate("mlquant.page.experiments[0]")
    tracks = tab.evaluate(
        "mlquant.audio.sample.tracks.map(({ kind, index, tag, label }) => ({ kind, index, tag, label }))"
    )
    sample = state(tab)["sample"]
    tab.keyboard.press("r")  # a short sample would have ended
    for i, (output, words) in enumerate(zip(experiment["outputs"][:9], experiment["words"], strict=False)):
        same = {name: output[name] for name in ("index", "tag")}
        mean = next(row for row in experiment["means"] if row["group"] == "all" and same.items() <= row.items())
        own = next(row for row in experiment["measures"] if row["sample"] == sample and same.items() <= row.items())
        row = tab.locator("#outputs tbody tr").nth(1 + i)
        told = row.inner_text()
        assert words["what"] in told
        if mean["pesq"] is not None:
            assert f"{mean['pesq']:.2f}" in told
            interval = words["pesq"]
            assert interval is None or f"{interval[0]:.2f} to {interval[1]:.2f}" in told
            assert (interval is None) == (len([r for r in experiment["measures"] if same.items() <= r.items()]) < 3)
        row.locator("td").first.click()
        now = state(tab)
        assert now["playing"]
        assert tracks[now["track"]] == {"kind": "output", "label": str(output["index"])} | same
        assert row.get_attribute("aria-current") == "true"
        below, button = tab.locator("#playing").inner_text(), tab.locator("#tracks button").nth(now["track"])
        expected = [f"{mean['pesq']:.2f}", f"of this sample {own['pesq']:.2f}"] if mean["pesq"] else []
        expected += [f"{mean['bit_per_s']:.0f} bit/s"] if mean.get("bit_per_s") else []
        for text in (below, button.get_attribute("title")):
            assert output["tag"] in text
            assert all(part in text for part in expected), text
        assert words["short"] in button.inner_text()
    tab.keyboard.press("Space")
    tab.keyboard.press("r")
    tab.keyboard.press("0")
    assert "source speech" in tab.locator("#playing").inner_text()
    for i, track in enumerate(tracks):
        assert ("published" in tab.locator("#tracks button").nth(i).get_attribute("title")) == (
            track["kind"] == "published"
        )


def check_keys_help(tab):
    """The keys are behind a question mark, for the mouse and for the keyboard, and closed at first."""
    keys = tab.locator("#keys")
    assert not keys.is_visible()
    tab.keyboard.press("?")
    assert "play or pause" in keys.inner_text()
    wait_for(tab, "document.getElementById('help').getAttribute('aria-expanded') === 'true'")
    tab.keyboard.press("?")
    assert not keys.is_visible()
    tab.locator("#help").click()
    assert keys.is_visible()
    tab.keyboard.press("Escape")
    assert not keys.is_visible()


def check_phone(browser, html):
    """On a phone: no keys, PESQ of each output in sight, and a player for the finger."""
    screen = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, html, **screen) as tab:
        tab.keyboard.press("?")
        for hidden in ("#help", "#keys", "#play kbd"):
            assert not tab.locator(hidden).is_visible(), hidden
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        box = "document.querySelector('#outputs .scroll')"
        assert tab.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
        found = [
            *tab.locator("#outputs .pesq").all(),
            tab.locator("#numbers").get_by_role("button", name="PESQ", exact=True).first,
        ]
        assert len(found) > 2
        for cell in found:
            box = cell.bounding_box()
            assert 0 <= box["x"] < box["x"] + box["width"] <= 390
        tab.get_by_role("button", name="repeat").tap()  # samples may be shorter than the taps on a busy machine
        tab.locator("#play").tap()
        wait_for(tab, "mlquant.state().playing && mlquant.state().clock > mlquant.state().started + 0.05")
        tab.locator("#tracks button").nth(2).tap()
        assert state(tab)["track"] == 2
        assert state(tab)["playing"]
        tab.locator("#play").tap()
        assert not state(tab)["playing"]


def check_small_player(tab):
    """A small player is there while the other one is out of sight, and covers nothing that has the focus."""
    small = tab.locator("#mini")
    tab.keyboard.press("Home")
    tab.evaluate("scrollTo(0, 0)")
    wait_for(tab, "document.querySelector('#mini').hidden")
    tab.evaluate("document.querySelector('#numbers').scrollIntoView()")
    wait_for(tab, "!document.querySelector('#mini').hidden")
    now = state(tab)
    assert now["sample"] in small.inner_text()
    assert now["label"] in small.inner_text()
    small.get_by_role("button").click()
    assert state(tab)["playing"]
    small.get_by_role("button").click()
    assert not state(tab)["playing"]
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    end, bar = tab.locator("main").bounding_box(), small.bounding_box()
    assert end["y"] + end["height"] <= bar["y"], "the end of the page is covered"
    tab.evaluate("document.querySelector('#numbers').scrollIntoView()")
    for _ in range(25):
        tab.keyboard.press("Tab")
        box = tab.evaluate("""(() => { const { bottom, top } = document.activeElement.getBoundingClientRect();
            const small = document.activeElement.matches("button, a, select, input, summary");
            return small ? { bottom, top } : null; })()""")
        assert (
            not box or box["bottom"] <= bar["y"] + 1 or tab.evaluate("document.activeElement.closest('#mini') !== null")
        )
    tab.evaluate("scrollTo(0, 0)")


def check_signs(tab):
    """Every box that scrolls says so, and no other."""
    wait_for(
        tab,
        """[...document.querySelectorAll(".scrolling")].filter((e) => e.checkVisibility()).every((whole) => {
        const box = whole.querySelector(".edge > *"), sign = whole.querySelector(".sign");
        const wide = box.scrollWidth > box.clientWidth + 1, high = box.scrollHeight > box.clientHeight + 1;
        return sign.hidden === !(wide || high) && sign.textContent.includes("sideways") === wide; })""",
    )
    boxes = """[...document.querySelectorAll(".scroll, .limited")].filter((e) => e.scrollWidth > e.clientWidth + 1)"""
    assert tab.evaluate(f"{boxes}.every((e) => e.closest('.scrolling'))")
    # Those without buttons are reached by keyboard, so that they can be scrolled.
    assert tab.evaluate("[...document.querySelectorAll('.scroll')].every((e) => e.tabIndex === 0 && e.ariaLabel)")
    return tab.evaluate(f"{boxes}.length")


def check_opening_frame(tab):
    """The frames open on the loudest voiced one, of each sample, until somebody goes elsewhere."""
    loudest = """(() => { const { energy, voiced } = mlquant.audio.sample;
        const e = mlquant.array(energy), v = mlquant.array(voiced);
        return e.reduce((best, x, i) => (v[i] && (best < 0 || x > e[best]) ? i : best), -1); })()"""
    found = tab.evaluate(loudest)
    assert found > 0
    assert state(tab)["frame"] == found
    assert state(tab)["time"] == 0
    tab.keyboard.press("s")
    assert state(tab)["frame"] == tab.evaluate(loudest)
    tab.keyboard.press("n")
    assert state(tab)["frame"] == tab.evaluate(loudest) + 1
    tab.keyboard.press("Home")
    assert state(tab)["frame"] == 0
    tab.keyboard.press("Shift+S")
    assert state(tab)["frame"] == found


def check_widths(browser, html):
    """Nothing is wider than the window, on a desk or a phone, in light or dark."""
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            with opened(browser, html, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
                tab.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
                assert check_signs(tab) or width == 1280
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert ("252" in background) == (scheme == "light")


def check_all(browser, html, provenance, root=Path()):
    """All of the above and the size of the file, for a page whose first sample has features, latents and codebooks."""
    assert html.stat().st_size < 12e6
    check_first_screen(browser, html)
    check_phone(browser, html)
    with opened(browser, html) as tab:
        check_opening_frame(tab)
        check_keys_help(tab)
        check_listening(tab)
        check_frames(tab)
        check_abx(tab)
        check_bottleneck(tab, provenance, root)
        check_numbers(tab)
        check_small_player(tab)
        check_keyboard(tab)
        check_accessibility(tab)
    check_widths(browser, html)
