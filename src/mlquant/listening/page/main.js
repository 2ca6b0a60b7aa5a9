// From the start to the end: who rates, practice, trials, and the file with the answers.

const COLUMNS = ["test", "kind", "experiment", "rater", "seed", "time", "trial", "sample", "position", "stimulus", "index", "tag", "score", "listens", "seconds"];
const rating = { rater: null, trials: [], practice: null, answers: [], screen: "start" };

// What the browser keeps, so that a closed page goes on; in a browser that keeps nothing, as long as the page is open.
const kept = {
  works: true,
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`mlquant ${page.test} ${name}`));
    } catch {
      this.works = false;
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`mlquant ${page.test} ${name}`, JSON.stringify(value));
    } catch {
      this.works = false;
    }
  },
};

// Keep the answers, and what was done of the present trial.
function keep() {
  if (rating.screen !== "trial") return;
  const listening = player.tracks.map(({ listens, seconds }) => ({ listens, seconds }));
  kept.set(`rater ${rating.rater}`, { answers: rating.answers, scores: trial.scores, listening });
}

function minutes() {
  const seconds = allTrials.reduce((sum, { sample, stimuli }) => sum + 2 * (stimuli.length + 1) * (sample.length / 8000) + 5 * stimuli.length, 0);
  return Math.max(1, Math.round((seconds / allTrials.length) * (numberOfTrials + 1) / 60));
}

const numbered = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function showStart() {
  rating.screen = "start";
  const last = kept.get("last rater") ?? "", mine = last ? kept.get(`rater ${last}`)?.answers.length ?? 0 : 0;
  const name = el("input", { id: "rater", name: "rater", autocomplete: "off", required: true, maxlength: 64, value: last, "aria-describedby": "refused" });
  const refused = el("p", { id: "refused", class: "warning", role: "alert" });
  const enter = (event) => {
    event.preventDefault();
    const rater = name.value.normalize("NFC").trim().replace(/\s+/g, " ");
    if (!/^[\p{L}\p{N}][\p{L}\p{N} ._-]*$/u.test(rater)) {
      refused.textContent = "Type a name or code of letters, digits, spaces, dots, dashes and underscores.";
      name.focus();
      return;
    }
    begin(rater);
  };
  const what = mushra
    ? "In each trial you compare several versions of one recording with the original, the reference, and give each a score from 0 (bad) to 100 (excellent). One of them is the reference itself, which should get 100."
    : "In each trial you hear two versions of one recording, A and B, and say which of them sounds better. The original, the reference, is there to compare with.";
  byId("main").replaceChildren(
    el("section", { id: "start" }, el("h2", { tabindex: "-1" }, "Before you start"),
      el("p", {}, `You will hear speech that was coded in several ways. ${what}`),
      el("ul", {},
        el("li", {}, `${numbered(numberOfTrials, "trial")} after one to practise with: about ${numbered(minutes(), "minute")}.`),
        el("li", {}, "Wear headphones if you can, in a quiet room."),
        el("li", {}, kept.works ? "You can close the page at any time and go on later, with the same name in the same browser." : "This browser keeps nothing: leave the page open until you have saved your answers."),
        el("li", {}, "Nothing is sent anywhere. At the end the page saves a file with your answers, which you give to whoever gave you this page.")),
      el("form", { onsubmit: enter },
        el("label", { for: "rater" }, "Your name or code"), name,
        el("button", { class: "main", type: "submit", id: "begin" }, "start")),
      refused,
      mine ? el("p", {}, mine < numberOfTrials ? `${last} goes on with trial ${mine + 1} of ${numberOfTrials}.` : `${last} has answered all trials.`) : null));
  showProgress();
}

// Take up where this rater has stopped; who is new gets a trial to practise with.
function begin(rater) {
  const before = kept.get(`rater ${rater}`);
  Object.assign(rating, { rater, ...trialsOf(rater), answers: before?.answers ?? [] });
  kept.set("last rater", rater);
  if (before) showNext(before);
  else showPractice();
}

function showPractice() {
  rating.screen = "practice";
  const task = mushra
    ? "Listen to the reference and to each sound, and move the sliders: these are the best and the worst that you will hear."
    : "Listen to A and B, and to the reference, and choose an answer.";
  showTrial(rating.practice, {
    heading: "Practice", practice: true, next: "start the test",
    intro: el("p", {}, `${task} Set the volume so that it is comfortable, and leave it so. What you answer here does not count.`),
    done: () => {
      kept.set(`rater ${rating.rater}`, { answers: [] });
      showNext();
    },
  });
  showProgress();
}

function showNext(before = null) {
  const number = rating.answers.length;
  if (number >= rating.trials.length) return showEnd();
  rating.screen = "trial";
  showTrial(rating.trials[number], {
    heading: `Trial ${number + 1} of ${rating.trials.length}`, practice: false, next: number + 1 < rating.trials.length ? "next trial" : "finish",
    intro: el("p", {}, mushra ? "How good is each sound, compared with the reference? One of them is the reference." : "Listen to A and to B, then choose."),
    kept: before?.scores?.length === rating.trials[number].stimuli.length ? before : null,
    done: (rows) => {
      rating.answers.push({ time: new Date().toISOString(), sample: rating.trials[number].sample.name, rows });
      kept.set(`rater ${rating.rater}`, { answers: rating.answers });
      showNext();
      if (rating.screen === "end") saveAnswers();
    },
  });
  showProgress();
}

function showEnd() {
  rating.screen = "end";
  const heading = el("h2", { tabindex: "-1" }, "Thank you");
  byId("main").replaceChildren(el("section", { id: "end" }, heading,
    el("p", {}, "All trials are answered. Send the file that this page saves to whoever gave you this page: ", el("code", {}, fileName()), ", in the folder of your downloads."),
    el("div", { class: "row" }, button("save answers as CSV", saveAnswers, { class: "main", id: "save-all" }), button("another rater", another))));
  heading.focus({ preventScroll: true });
  showProgress();
}

// Let somebody else rate on this computer.
function another() {
  kept.set("last rater", "");
  Object.assign(rating, { rater: null, answers: [], trials: [] });
  showStart();
}

function showProgress() {
  const done = rating.answers.length, all = rating.trials.length;
  byId("progress").hidden = rating.screen === "start";
  byId("done").max = all || 1;
  byId("done").value = done;
  byId("where").textContent = `${rating.rater ?? ""}: ${done} of ${all} done`;
  byId("save").disabled = !done;
  byId("told").textContent = rating.screen === "trial" ? `${done} of ${all} done` : "";
}

const fileName = () => `${page.test}_${rating.rater.replace(/[^\p{L}\p{N}_-]+/gu, "_")}.csv`;

// The answers as CSV, a row for each sound of each trial; every text is quoted.
function answersAsCsv() {
  const about = { test: page.test, kind: page.kind, experiment: page.experiment, rater: rating.rater, seed: seedOf(rating.rater) };
  const cell = (value) => (typeof value === "number" ? value : value === null ? "" : `"${String(value).replaceAll('"', '""')}"`);
  const rows = rating.answers.flatMap(({ time, sample, rows: stimuli }, i) => stimuli.map((one) => ({ ...about, time, trial: i + 1, sample, ...one })));
  return [COLUMNS, ...rows.map((row) => COLUMNS.map((name) => cell(row[name])))].map((cells) => `${cells.join(",")}\n`).join("");
}

function saveAnswers() {
  const url = URL.createObjectURL(new Blob([answersAsCsv()], { type: "text/csv" }));
  el("a", { href: url, download: fileName() }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

document.addEventListener("keydown", (event) => {
  const altGr = event.getModifierState("AltGraph"); // it types brackets on many keyboards, and comes as ctrl and alt
  if (event.defaultPrevented || ((event.ctrlKey || event.altKey || event.metaKey) && !altGr)) return;
  if (!["trial", "practice"].includes(rating.screen) || event.target.matches("input:not([type=range])")) return;
  if (pressed(event)) event.preventDefault();
});

function tick() {
  if (["trial", "practice"].includes(rating.screen)) {
    if (playing()) {
      const before = toDo();
      count();
      if (toDo() === before) follow();
      else {
        keep();
        draw();
      }
    } else follow();
  }
  requestAnimationFrame(tick);
}

player.listeners.push(draw, keep);
byId("save").addEventListener("click", saveAnswers);
addEventListener("pagehide", () => {
  count();
  keep();
});
showStart();
requestAnimationFrame(tick);

// The state, to look at in the browser's console and for tests.
window.mlquant = {
  page, player, rating, trial, trialsOf, answersAsCsv, upsampled: (pcm) => Array.from(upsampled(pcm)),
  state: () => ({
    screen: rating.screen, track: player.track, playing: playing(), time: position(), clock: player.context?.currentTime ?? 0,
    started: player.started, loop: player.loop, gains: player.nodes.map(({ volume }) => volume.gain.value), todo: trial.todo ? toDo() : "",
    heard: player.tracks.map(({ listens, seconds }) => ({ listens, seconds })), scores: trial.scores,
  }),
};
