// The comparison of two experiments: what differs, and the measures of their outputs side by side under their names.

const NAMES = page.comparison?.names ?? [];

// A name that may break after its dots and underscores, so that it is read even where there is little room.
const breakable = (name) => el("span", { class: "name" }, name.split(/(?<=[._])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part])));

// A small square in the colour of an output; hollow where the colours come again.
function swatch(experiment, [index, tag]) {
  const style = styleOf({ experiment, index, tag });
  return el("i", { class: style.dash ? "swatch hollow" : "swatch", style: `color: ${style.colour}` });
}

// The head of a row: index and tag of the outputs; in the first group what they are, and their bits if these are equal.
function pairHead({ outputs, what, bits }, explained) {
  const titles = outputs.map(([index, tag]) => `${index} ${tag}`), equal = titles[0] === titles[1];
  const title = equal ? titles[0] : titles.map((one, i) => `${NAMES[i]}: ${one}`).join(", ");
  const whats = what[0] === what[1] ? [what[0]] : what.map((text, i) => `${NAMES[i]}: ${text || "not told"}`);
  const texts = explained ? [...whats, bits[0] === bits[1] ? bits[0] : ""].filter(Boolean) : [];
  return el("th", { scope: "row" }, el("strong", {}, breakable(title)), texts.map((text) => [" ", el("small", { class: "quiet" }, text)]).flat());
}

// The value of one side, beside the colour of its output; in the first group its bits, if they are other ones.
function valueCell(measure, r, pair, i, explained) {
  const bits = explained && pair.bits[0] !== pair.bits[1] ? el("small", { class: "quiet" }, pair.bits[i] || "no bits") : null;
  return el("td", { class: "number" }, swatch(i, pair.outputs[i]), " ", number([r.a, r.b][i], measure.digits), bits);
}

// The difference of a row, with its interval and what that says.
function change(measure, r) {
  if (r.equal) return el("td", { class: "change" }, el("span", { class: "quiet" }, "equal"));
  const digits = measure.digits + (measure.better ? 1 : 0);
  const interval = measure.better && r.over ? `${signed(r.low, digits)} to ${signed(r.high, digits)}` : null;
  return el("td", { class: "change" }, el("span", {}, has(r.difference) ? signed(r.difference, digits) : null), " ",
    el("span", { class: "quiet", title: interval ? `95 % interval, over ${r.over}` : null }, interval), " ",
    el("span", { class: r.verdict === "better" || r.verdict === "worse" ? r.verdict : "quiet" }, r.words || null));
}

// The rows of a measure below its name; those of the first one say what the outputs are.
function measureRows(measure, first) {
  const over = [...new Set(measure.rows.map((r) => r.over).filter(Boolean))];
  const about = [measure.better, measure.better && over.length ? `95 % intervals over ${over.join(" and ")}` : null].filter(Boolean).join(", ");
  return el("tbody", { "data-measure": measure.name },
    el("tr", {}, el("th", { scope: "rowgroup", colspan: 4, title: measure.help }, el("strong", {}, measure.label), " ", el("small", { class: "quiet" }, about))),
    measure.rows.map((r) => {
      const pair = page.comparison.pairs[r.pair];
      return el("tr", {}, pairHead(pair, first),
        [0, 1].map((i) => valueCell(measure, r, pair, i, first)), change(measure, r));
    }));
}

function measureTable(caption, measures) {
  const shown = measures.filter((measure) => measure.rows.length);
  return el("table", { class: "compared" }, el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "output"), NAMES.map((name) => el("th", { scope: "col", class: "number" }, breakable(name))),
      el("th", { scope: "col" }, "difference, 95 % interval, and what ", breakable(NAMES[1]), " is"))),
    shown.map((measure, i) => measureRows(measure, i === 0)));
}

// What differs: the lines of settings, the first ones at once; and all rows of differences.csv.
function whatDiffers({ settings, rows, versions }) {
  const few = settings.slice(0, 8), more = settings.slice(8);
  const list = (lines) => el("ul", {}, lines.map((line) => el("li", {}, line)));
  return el("div", {}, el("h2", {}, "What differs"), few.length ? list(few) : quiet("No setting differs."),
    more.length ? details(`${more.length} more`, list(more)) : null, versions ? quiet(versions) : null,
    rows.length ? details(`All ${rows.length} differences, as in differences.csv`, table("differences", ["kind", "where", ...NAMES], rows)) : null);
}

function initComparison() {
  const shown = page.comparison;
  if (!shown) return;
  const about = byId("about"), warnings = [...about.querySelectorAll(".warning")];
  about.classList.add("of-two");
  about.replaceChildren(
    ...NAMES.map((name, i) => el("p", {}, el("strong", {}, breakable(name)), ` ${shown.titles[i]} `, shown.keys[i] ? el("span", { class: "quiet" }, `key ${shown.keys[i]}`) : null)),
    el("p", { id: "sentence" }, shown.sentence), ...warnings,
    ...shown.notes.map((note) => el("p", { class: note.warning ? "warning" : "quiet" }, note.text)));
  const first = shown.measures.filter((measure) => measure.first), others = shown.measures.filter((measure) => !measure.first && measure.rows.length);
  const inSet = first.some((measure) => measure.rows.some((r) => r.over === "speakers"));
  // The table of a comparison takes the place of the outputs of one experiment; the chart of bit rates goes to the numbers.
  byId("overview").style.display = "none";
  byId("numbers").querySelector("h2").after(byId("against-bits"));
  const section = byId("comparison");
  section.hidden = false;
  section.append(el("div", { class: "two-columns" },
    el("div", {}, el("h2", { id: "comparison-title" }, "Outputs side by side"),
      measureTable("measures of the outputs of both experiments", first),
      quiet(`Means over ${shown.over}; a difference is ${NAMES[1]} less ${NAMES[0]}. ${shown.test_set} ${inSet ? "" : shown.intervals}`),
      others.length ? details(`Other measures (${others.length})`, measureTable("other measures of the outputs", others)) : null),
    whatDiffers(shown)));
}
