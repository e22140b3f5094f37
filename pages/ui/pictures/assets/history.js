// The layer in numbers, by stage, and how it got there, round by round.
//
// Drawn from `numbers` (rows of values by stage) and `rounds` (the re-dense layer, and the layer pruned then).

import { color, curve, decimal, line, percent, STAGES } from "./marks.js";
import { h } from "./render.js";
import { slider } from "./slider.js";

const UNITS = { percent: (v) => percent(v), share: (v) => percent(v, 0), number: (v) => decimal(v) };
const HEADROOM = 1.5; // of the small distribution, in dense peaks

export function numbers({ numbers: rows, stages, stage: chosen }) {
  const on = (stage) => (stage === chosen ? " on" : "");
  const head = (stage) => h("th", { class: `${stage}${on(stage)}`, scope: "col" }, STAGES[stage]);
  const row = ({ name, about, unit, values }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", title: about }, name),
      stages.map((stage) => h("td", { class: on(stage) }, UNITS[unit](values[stage]))),
    );
  return h(
    "section",
    {},
    h("h3", {}, "What is different in numbers?"),
    h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), stages.map(head))), h("tbody", {}, rows.map(row))),
  );
}

export function history(state, rounds) {
  const { data, view } = state;
  const run = data.runs.find((one) => one.key === view.run);
  const name = h("h3", {}, "How did it get there?");
  if (!rounds.length) return h("section", { class: "rounds" }, name, h("p", {}, data.no_rounds));
  const last = rounds.length - 1;
  const found = rounds.findIndex((one) => one.number === view.round);
  const at = found < 0 ? last : found;
  const round = rounds[at];
  return h(
    "section",
    { class: "rounds", style: run && `--run:${color(run.color)}` },
    name,
    h("p", {}, `Round ${round.number} of ${rounds[last].number}: free to move, then pruned.`),
    h("div", { class: "small" }, small(curve(data.cells.dense.curve), round), figures(round)),
    slider(state, rounds, at),
    h(
      "div",
      { class: "marks" },
      rounds.map((one) => h("span", {}, one.number)),
    ),
  );
}

function small(dense, { redense, final }) {
  const top = HEADROOM * Math.max(...dense);
  const trace = (list) =>
    line(
      list,
      (_, i) => i,
      (v) => (100 - (100 * Math.min(v, top)) / top).toFixed(2),
    );
  const free = trace(curve(redense.curve));
  return h(
    "svg",
    { viewBox: `0 0 ${dense.length - 1} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { class: "outline", d: trace(dense) }),
    h(
      "g",
      { class: "redense" },
      h("path", { class: "area", d: `${free}V100H0Z` }),
      h("path", { class: "edge", d: free }),
    ),
    h("g", { class: "final" }, h("path", { class: "edge", d: trace(curve(final.curve)) })),
  );
}

function figures({ redense, final }) {
  const list = [
    ["redense", "re-dense error", redense.loss],
    ["final", "once pruned", final.loss],
    ["", "mask changed", final.mask_changed],
  ];
  return h(
    "dl",
    {},
    list.map(([stage, name, v]) => h("div", { class: stage }, h("dt", {}, name), h("dd", {}, percent(v)))),
  );
}
