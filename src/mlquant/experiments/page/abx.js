// Blind A/B/X: X is A or B by chance, and the listener says which. Under guessing the right answers are binomial.

const HEARD = 0.3; // s of a sound, or all of it if it is shorter, that count as having listened to it

// `heard` holds for how many seconds A, B and X were heard: X in this trial, A and B since the start.
const abx = { heard: { A: 0, B: 0, X: 0 }, since: null, a: null, b: null, trial: null, answers: [], box: byId("abx") };

const find = (name) => audio.sample.tracks.findIndex((track) => nameOf(track) === name);

// Chance of `right` or more of `all` answers by guessing: the one-sided binomial p-value.
function chance(right, all) {
  let sum = 0, term = 0.5 ** all; // of 0 right
  for (let k = 0; k <= all; k++) {
    if (k >= right) sum += term;
    term *= (all - k) / (k + 1);
  }
  return Math.min(sum, 1);
}

function score() {
  const mine = abx.answers.filter((answer) => answer.A === abx.a && answer.B === abx.b);
  const right = mine.filter((answer) => answer.right).length;
  return { right, all: mine.length, p: chance(right, mine.length) };
}

// Add what was heard since the last call to the seconds of A, B or X. It is called before each change of what plays.
function countHeard() {
  const now = audio.context?.currentTime ?? 0;
  if (abx.trial && abx.since !== null) abx.heard[abx.trial.playing] += Math.max(0, now - abx.since);
  abx.since = abx.trial && playing() ? Math.max(now, audio.started) : null;
}

// Those of A, B and X that an answer still needs to be listened to.
function unheard() {
  const loop = repeated();
  const needed = Math.min(HEARD, 0.9 * (loop ? loop[1] - loop[0] : duration()));
  return ["X", "A", "B"].filter((letter) => abx.heard[letter] < needed);
}

function begin() {
  if (abx.a === abx.b) return showAbxStatus("Choose two different ones.");
  countHeard();
  if (!abx.trial) {
    abx.heard = { A: 0, B: 0, X: 0 };
    showAbxStatus("");
  }
  abx.heard.X = 0;
  abx.trial = { X: crypto.getRandomValues(new Uint8Array(1))[0] & 1 ? "A" : "B", playing: "X" };
  abx.since = null;
  hearAbx("X");
  // The button that was pressed is disabled now. If it kept the focus, no key would work.
  abx.box.focus({ preventScroll: true });
  drawAbx();
}

function end() {
  abx.trial = null;
  abx.since = null;
  abx.box.focus({ preventScroll: true });
  notify();
  drawAbx();
}

// Play A, B or X. Nothing on the page shows which of the two X is.
function hearAbx(which) {
  if (!abx.trial) return;
  countHeard();
  abx.trial.playing = which;
  const letter = which === "X" ? abx.trial.X : which;
  listenTo(find(letter === "A" ? abx.a : abx.b));
  if (!playing()) playOrPause();
  drawAbx();
}

function answer(letter) {
  if (!abx.trial) return;
  countHeard();
  const missing = unheard();
  if (missing.length) {
    const rest = missing.length > 1 ? `${missing.slice(0, -1).join(", ")} and ${missing.at(-1)}` : missing[0];
    return showAbxStatus(`Listen to ${rest} first: the answer does not count yet.`);
  }
  const right = letter === abx.trial.X, loop = audio.loop ?? [0, duration()];
  abx.answers.push({
    trial: abx.answers.length + 1, time: new Date().toISOString(), sample: audio.sample.name, A: abx.a, B: abx.b,
    X: abx.trial.X, answer: letter, right: Number(right), from_s: +loop[0].toFixed(3), to_s: +loop[1].toFixed(3),
    level_matched: Number(audio.levelled),
  });
  const { right: hits, all, p } = score();
  begin();
  showAbxStatus(`${right ? "Right" : "Wrong"}: X was ${abx.answers.at(-1).X}. ${hits} of ${all} right, p = ${p.toFixed(3)}.`);
}

function showAbxStatus(text) {
  if (abx.status.textContent === text) abx.status.textContent = ""; // so that a screen reader says it again
  abx.status.textContent = text;
}

// The answers as CSV, every text quoted.
function answersAsCsv() {
  const columns = ["trial", "time", "sample", "A", "B", "X", "answer", "right", "from_s", "to_s", "level_matched"];
  const cell = (value) => (typeof value === "number" ? value : `"${String(value).replaceAll('"', '""')}"`);
  return [columns, ...abx.answers.map((entry) => columns.map((name) => cell(entry[name])))].map((cells) => `${cells.join(",")}\n`).join("");
}

function saveAnswers() {
  const url = URL.createObjectURL(new Blob([answersAsCsv()], { type: "text/csv" }));
  el("a", { href: url, download: `${page.name.replace(/[^\w.-]+/g, "_")}_abx.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function drawAbx() {
  const on = abx.trial !== null;
  for (const [letter, button] of Object.entries(abx.hear)) {
    button.disabled = !on;
    press(button, on && abx.trial.playing === letter);
  }
  for (const button of [...abx.say, abx.leave]) button.disabled = !on;
  abx.start.disabled = on;
  abx.save.disabled = !abx.answers.length;
  abx.choices.forEach((box) => (box.disabled = on));
}

// A track in the lists of A and B: its index, what it is in short, and the end of its file's name.
const abxName = (track) => (track.kind === "source" ? "0 source speech" : `${track.label}: ${wordsOf(track).short} (${track.tag})`);

// Fill the lists of A and B with the tracks of the sample. A choice stays if the sample has that track.
function fillAbx() {
  const names = audio.sample.tracks.map(nameOf);
  if (abx.trial && (find(abx.a) < 0 || find(abx.b) < 0)) end();
  for (const [i, letter] of ["a", "b"].entries()) {
    if (!names.includes(abx[letter])) abx[letter] = names[Math.min(i + 1, names.length - 1)];
    abx.choices[i].replaceChildren(...audio.sample.tracks.map((track) => el("option", { value: nameOf(track) }, abxName(track))));
    abx.choices[i].value = abx[letter];
  }
  // Another sample is another sound: A, B and X are to be listened to again.
  abx.heard = { A: 0, B: 0, X: 0 };
  abx.since = null;
  if (abx.trial) listenTo(find(abx.trial.playing === "X" ? abx[abx.trial.X.toLowerCase()] : abx[abx.trial.playing.toLowerCase()]));
}

function initAbx() {
  const choice = (letter) => select(letter.toUpperCase(), [], (value) => {
    abx[letter] = value;
    const { right, all, p } = score();
    showAbxStatus(all ? `${right} of ${all} right, p = ${p.toFixed(3)}.` : "");
  }, { id: `abx-${letter}` });
  const labels = ["a", "b"].map(choice);
  abx.choices = labels.map((label) => label.querySelector("select"));
  const button = (text, key, onclick) => el("button", { type: "button", onclick }, `${text} `, key ? el("kbd", {}, key) : "");
  abx.start = button("start", null, begin);
  abx.leave = button("end", "esc", end);
  abx.save = button("answers as CSV", null, saveAnswers);
  abx.hear = Object.fromEntries(["A", "B", "X"].map((letter) => [letter, toggle([letter, " ", el("kbd", {}, letter.toLowerCase())], false, () => hearAbx(letter))]));
  abx.say = ["A", "B"].map((letter) => button(`X is ${letter}`, `shift ${letter.toLowerCase()}`, () => answer(letter)));
  abx.status = el("output", { id: "abx-status", "aria-live": "polite" });
  abx.box.append(
    el("p", { class: "quiet" }, "A blind test of whether two can be told apart. X is A or B by chance, and you say which; p is the chance of at least so many right answers by guessing. "
      + "An answer counts once X was heard in its trial, and A and B at least once since the start of the test, each for 0.3 s. During a trial the display shows the source."),
    el("div", { class: "row" }, labels, abx.start, abx.leave),
    el("div", { class: "row" }, Object.values(abx.hear), abx.say, abx.status), el("div", { class: "row" }, abx.save));
  abx.start.id = "abx-start";
  audio.listeners.push(countHeard);
  drawAbx();
}
