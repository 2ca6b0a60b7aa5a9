// One trial on the screen: the reference, the sounds under letters, and what is asked of them.

const WORDS = ["bad", "poor", "fair", "good", "excellent"];
const ANSWERS = [
  { key: "1", text: "A is better", scores: [1, 0] },
  { key: "2", text: "no preference", scores: [0.5, 0.5] },
  { key: "3", text: "B is better", scores: [0, 1] },
];
const mushra = page.kind === "mushra";
const wordOf = (score) => WORDS[Math.min(Math.floor(score / 20), 4)];

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// An element with attributes, "on..." listeners, and children that are elements or text.
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const key = (name) => el("kbd", {}, name);
const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, text);
const press = (element, pressed) => element.setAttribute("aria-pressed", String(pressed));

// The trial that is shown: its stimuli, their scores (null before they are given), and its controls.
const trial = { stimuli: [], scores: [], hear: [], rate: [], told: [], practice: false, box: null };

// Show a trial; `kept` are scores and listening of a rater who comes back to it, `done` is called when it is answered.
function showTrial({ sample, stimuli }, { heading, intro, practice, next, kept, done }) {
  const source = sample.stimuli.find((one) => one.stimulus === "reference");
  load([source.pcm, ...stimuli.map((one) => one.pcm)]);
  Object.assign(trial, { stimuli, practice, done, scores: stimuli.map((_, i) => kept?.scores[i] ?? null) });
  player.tracks.forEach((track, i) => Object.assign(track, kept?.listening[i]));
  trial.hear = ["reference", ...stimuli.map((_, i) => LETTERS[i])].map((name, i) => button(
    i ? key(name) : [key("R"), " reference"], () => listenTo(i), { class: "hear", "aria-pressed": "false", "aria-label": i ? `listen to ${name}` : "listen to the reference" }));
  trial.play = button("", playOrPause, { id: "play" });
  trial.next = button(next, finish, { id: "next", class: "main" });
  trial.todo = el("p", { id: "todo", class: "quiet" });
  trial.heading = el("h2", { tabindex: "-1" }, heading);
  byId("main").replaceChildren(
    el("section", { id: "trial" }, trial.heading, intro,
      el("div", { class: "row" }, trial.play, mushra ? trial.hear[0] : null,
        button(["from here ", key("[")], () => setEnd(0)), button(["to here ", key("]")], () => setEnd(1)),
        trial.whole = button(["all of it ", key("\\")], () => setLoop(null))),
      timeline(source.pcm), mushra ? scales() : choices(), el("div", { class: "row" }, trial.next), trial.todo, keys()));
  window.scrollTo(0, 0);
  trial.heading.focus({ preventScroll: true });
  draw();
}

// A slider for each sound, under the words of the scale.
function scales() {
  trial.told = trial.stimuli.map(() => el("output", {}, "–"));
  trial.rate = trial.stimuli.map((_, i) => {
    const slider = el("input", { type: "range", min: 0, max: 100, step: 1, value: trial.scores[i] ?? 50, "aria-label": `score of ${LETTERS[i]}` });
    const given = () => {
      trial.scores[i] = Number(slider.value);
      keep();
      draw();
    };
    slider.addEventListener("input", given);
    slider.addEventListener("pointerup", given); // a click where the slider stands changes nothing, but is a score
    slider.addEventListener("keyup", (event) => /^(Arrow|Page|Home|End)/.test(event.key) && given());
    return slider;
  });
  return el("div", { id: "scales", role: "group", "aria-label": "scores" },
    el("div", { class: "scale words", "aria-hidden": "true" }, el("span"), el("div", {}, WORDS.map((word) => el("span", {}, word))), el("span")),
    trial.rate.map((slider, i) => el("div", { class: "scale" }, trial.hear[i + 1], el("div", { class: "slide" }, slider), trial.told[i])));
}

// A and B, and the three answers.
function choices() {
  trial.rate = ANSWERS.map(({ text, key: name, scores }) => button([text, " ", key(name)], () => {
    trial.scores = [...scores];
    keep();
    draw();
  }, { "aria-pressed": "false" }));
  return el("div", { id: "choices" },
    el("div", { class: "row pair", role: "group", "aria-label": "listen" }, trial.hear),
    el("p", { id: "question" }, "Which of the two sounds better?"),
    el("div", { class: "row", role: "group", "aria-labelledby": "question" }, trial.rate));
}

function timeline(pcm) {
  trial.canvas = el("canvas", { "aria-hidden": "true" });
  trial.cursor = el("div", { id: "cursor" });
  trial.selection = el("div", { id: "selection", hidden: true });
  trial.pcm = pcm;
  let from = null;
  const timeAt = (event) => {
    const box = trial.timeline.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1) * player.duration;
  };
  trial.timeline = el("div", {
    id: "timeline", tabindex: "0", role: "slider", "aria-label": "position", "aria-valuemin": "0",
    onpointerdown: (event) => {
      from = timeAt(event);
      trial.timeline.setPointerCapture(event.pointerId);
    },
    onpointerup: (event) => {
      if (from === null) return;
      const to = timeAt(event);
      if (Math.abs(to - from) < 0.1) seek(to);
      else setLoop([Math.min(from, to), Math.max(from, to)]);
      from = null;
    },
  }, trial.canvas, trial.selection, trial.cursor);
  return trial.timeline;
}

// Draw the wave form of the reference, as wide as the window lets it be.
function drawWave() {
  const width = trial.canvas.clientWidth, height = trial.canvas.clientHeight, scale = window.devicePixelRatio || 1;
  Object.assign(trial.canvas, { width: width * scale, height: height * scale });
  const paint = trial.canvas.getContext("2d");
  paint.scale(scale, scale);
  paint.fillStyle = getComputedStyle(trial.canvas).color;
  const most = trial.pcm.reduce((peak, value) => Math.max(peak, Math.abs(value)), 1);
  for (let x = 0; x < width; x++) {
    const part = trial.pcm.subarray(Math.floor(x * trial.pcm.length / width), Math.ceil((x + 1) * trial.pcm.length / width));
    const peak = part.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0) / most;
    paint.fillRect(x, height / 2 * (1 - peak), 1, Math.max(1, height * peak));
  }
}

function keys() {
  const rows = [
    ["R", "reference"], [mushra ? `A to ${LETTERS[trial.stimuli.length - 1]}` : "A B", "listen to a sound"], ["space", "play or pause"],
    mushra ? ["← →", "change the score of the sound"] : ["1 2 3", "answer"],
    ["[ ]", "repeat from here, to here"], ["\\", "repeat all of it"], ["enter", "go on"],
  ];
  return el("details", { id: "keys" }, el("summary", {}, "Keys"),
    el("dl", {}, rows.map(([name, what]) => el("div", {}, el("dt", {}, key(name)), el("dd", {}, what)))));
}

// What is still to be done before the trial is answered; empty if nothing is.
function toDo() {
  const letters = (missing) => trial.stimuli.flatMap((_, i) => (missing(i) ? [LETTERS[i]] : [])).join(", ");
  const unheard = letters((i) => !isHeard(player.tracks[i + 1])), unrated = letters((i) => trial.scores[i] === null);
  return [unheard && `listen to ${unheard}`, unrated && (mushra ? `give a score to ${unrated}` : "choose an answer")].filter(Boolean).join("; ");
}

// Draw what depends on the state; called after each change of it.
function draw() {
  trial.play.replaceChildren(playing() ? "pause " : "play ", key("space"));
  trial.hear.forEach((one, i) => {
    press(one, playing() && i === player.track);
    one.classList.toggle("heard", isHeard(player.tracks[i]));
  });
  trial.scores.forEach((score, i) => {
    if (!mushra) return;
    trial.told[i].textContent = score ?? "–";
    trial.rate[i].classList.toggle("unset", score === null);
    trial.rate[i].setAttribute("aria-valuetext", score === null ? "no score yet" : `${score}, ${wordOf(score)}`);
  });
  if (!mushra) trial.rate.forEach((one, i) => press(one, ANSWERS[i].scores[0] === trial.scores[0]));
  const todo = toDo();
  trial.next.disabled = Boolean(todo) && !trial.practice;
  trial.todo.textContent = todo ? `Still to do: ${todo}.` : "";
  trial.whole.disabled = !player.loop;
  trial.selection.hidden = !player.loop;
  if (player.loop) {
    const [from, to] = player.loop.map((time) => 100 * time / player.duration);
    Object.assign(trial.selection.style, { left: `${from}%`, width: `${to - from}%` });
  }
  follow();
}

// Draw what moves with the clock.
function follow() {
  const time = position();
  trial.cursor.style.left = `${100 * time / player.duration}%`;
  trial.timeline.setAttribute("aria-valuemax", player.duration.toFixed(2));
  trial.timeline.setAttribute("aria-valuenow", time.toFixed(2));
  trial.timeline.setAttribute("aria-valuetext", `${time.toFixed(1)} of ${player.duration.toFixed(1)} seconds`);
  if (trial.canvas.width !== Math.round(trial.canvas.clientWidth * (window.devicePixelRatio || 1))) drawWave();
}

// Do what a key stands for; return true if it does something.
function pressed(event) {
  const { target, code } = event, name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const letter = LETTERS.toLowerCase().indexOf(name), last = trial.stimuli.length;
  const on = target === trial.timeline && { ArrowLeft: -0.1, ArrowRight: 0.1 }[name];
  const answer = mushra ? -1 : ANSWERS.findIndex((one) => one.key === name || code === `Digit${one.key}`);
  if (on) seek(position() + on);
  else if (name === " " && !target.matches("button, summary")) playOrPause();
  else if (name === "r") listenTo(0);
  else if (letter >= 0 && letter < last) {
    listenTo(letter + 1);
    if (mushra) trial.rate[letter].focus(); // so that the arrow keys change its score
  } else if (answer >= 0) trial.rate[answer].click();
  else if (name === "[") setEnd(0);
  else if (name === "]") setEnd(1);
  else if (name === "\\") setLoop(null);
  else if (name === "Enter" && !trial.next.disabled && !target.matches("button, summary")) finish();
  else return false;
  return true;
}

function finish() {
  stop();
  trial.done(trial.stimuli.map((stimulus, i) => {
    const { listens, seconds } = player.tracks[i + 1];
    return { position: LETTERS[i], ...named(stimulus), score: trial.scores[i], listens, seconds: +seconds.toFixed(2) };
  }));
}

const named = ({ stimulus, index, tag }) => ({ stimulus, index, tag });
