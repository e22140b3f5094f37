// The layer's upper left corner, outputs downwards and inputs across: which weights were dropped and which came back,
// or how large they are; above it the norm of every input, that Wanda multiplies weights by.
//
// Drawn from `corner`: mask codes (0 pruned by both, 1 lost, 2 returned, 3 kept by both), weights at the stage, norms.
// A round that is turned to brings codes of its own where they are recorded.

import { codes, count, decimal, percent, sigma, steps, values } from "./marks.js";
import { h } from "./render.js";
import { cells, square } from "./square.js";

const LEVELS = 12;
const REACH = 3; // dense σ at full colour
const KINDS = ["pruned", "lost", "returned", "kept"];
const ORDER = [1, 2, 3, 0];

export function corner(state) {
  const { data, view } = state;
  const stage = data.stage;
  const known = data.corner;
  if (!known) return h("section", { class: "corner" }, h("h3", {}, "Which were dropped?"), h("p", {}, data.no_corner));
  const weights = known.weights && steps(known.weights, known.step);
  const shown = view.corner === "weights" && weights ? "weights" : "mask";
  const round = data.rounds.find((one) => one.number === view.round && one.codes);
  const turned = round && stage === "final";
  const source = turned ? { ...round, mask_changed: round.final.mask_changed } : known;
  const mask = source.codes && codes(source.codes, known.rows * known.columns);
  const all = { state, data, stage, known, weights, mask, source, norms: known.norms && values(known.norms) };
  const content = shown === "mask" ? maskCells(all) : weightCells(all);
  const label = `${shown === "mask" ? "Mask" : "Weights"} of the first outputs, downwards, and inputs, across`;
  const { rows: high, columns: wide } = known;
  const tab = (name) =>
    h("button", { "aria-pressed": String(shown === name), onclick: () => state.pick({ corner: name }) }, name);
  return h(
    "section",
    { class: "corner" },
    h(
      "h3",
      {},
      title(shown, stage),
      weights &&
        h("span", { class: "tabs", role: "group", "aria-label": "Corner shows" }, ["mask", "weights"].map(tab)),
    ),
    h("p", {}, shown === "mask" ? maskSaid(all) : "Blank: exactly zero. Full colour: three dense σ and beyond."),
    bars(all),
    square(state, { name: "entry", wide, high, label, content, ticks: axes(wide, high) }),
    shown === "mask" ? kinds(all) : scale(),
    h("small", { class: "say", "aria-live": "polite" }, read(all)),
  );
}

function title(shown, stage) {
  if (shown === "weights") return "How large is each weight?";
  if (stage === "dense") return "Which may be dropped?";
  if (stage === "sparse") return "Which were dropped?";
  return stage === "redense" ? "Which may come back?" : "Which went, which came back?";
}

function maskSaid({ data, stage, source }) {
  if (stage === "dense") return "No mask yet: every weight counts.";
  if (stage === "redense") return "No mask holds here: what the first prune cut may come back.";
  if (stage === "sparse") return data.pattern_says;
  return `${percent(source.mask_changed)} of the first mask changed, in the whole layer.`;
}

// What a code means at this stage: before the second prune there is one mask only.
function meaning(code, stage) {
  if (stage === "final") return KINDS[code];
  const first = code & 1;
  if (stage === "redense") return first ? "kept" : "free";
  return stage === "sparse" && !first ? "pruned" : "kept";
}

function maskCells({ data, stage, known, mask }) {
  const lists = {};
  mask?.forEach((code, i) =>
    (lists[meaning(code, stage)] ??= []).push([i % known.columns, Math.floor(i / known.columns)]),
  );
  const group = data.group ?? known.columns;
  const lines = Array.from(
    { length: Math.ceil(known.columns / group) - 1 },
    (_, i) => `M${(i + 1) * group} 0V${known.rows}`,
  );
  const kind = (name) => h("path", { class: `kind ${name}`, d: cells(lists[name] ?? []) });
  return [[...KINDS, "free"].map(kind), h("path", { class: "groups", d: lines.join("") })];
}

function kinds({ stage, source }) {
  const name = (kind) => (kind === "free" ? "pruned before, free to move" : kind);
  const { lost, returned, kept, pruned } = source.counts ?? {};
  const open = stage === "redense" ? "free" : "pruned";
  const list =
    stage === "final"
      ? ORDER.map((code) => [KINDS[code], source.counts[KINDS[code]]])
      : [
          ["kept", kept + lost],
          [open, pruned + returned],
        ];
  const both = stage === "final" ? "by both masks" : null;
  const label = ([kind, number]) =>
    h(
      "span",
      { class: `kind ${kind}`, title: kind === "kept" || kind === "pruned" ? both : null },
      h("i", {}),
      h("b", {}, count(number)),
      ` ${name(kind)}`,
    );
  return h("div", { class: "kinds" }, stage !== "dense" && list.map(label));
}

function weightCells({ data, known, weights }) {
  const lists = {
    negative: Array.from({ length: LEVELS }, () => []),
    positive: Array.from({ length: LEVELS }, () => []),
  };
  weights.forEach((v, i) => {
    const level = Math.min(LEVELS - 1, Math.floor((LEVELS * Math.abs(v)) / (REACH * data.std)));
    if (v) lists[v < 0 ? "negative" : "positive"][level].push([i % known.columns, Math.floor(i / known.columns)]);
  });
  return Object.entries(lists).map(([sign, levels]) =>
    levels.map((list, i) => h("path", { class: `weight ${sign}`, style: `--t:${i / (LEVELS - 1)}`, d: cells(list) })),
  );
}

function scale() {
  return h("div", { class: "kinds" }, sigma(-REACH), h("div", { class: "signs" }), sigma(REACH));
}

function bars({ state, known, norms }) {
  if (!norms) return h("div", { class: "norms" });
  const most = Math.max(...norms);
  const bar = (v, i) => `M${i + 0.1} 100V${(100 - (100 * v) / most).toFixed(1)}h.8V100z`;
  const at = state.entry?.[0];
  return h(
    "div",
    { class: "norms" },
    h("small", {}, "input norms, Wanda’s factor"),
    h(
      "svg",
      { viewBox: `0 0 ${known.columns} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
      h("path", { class: "bars", d: norms.map(bar).join("") }),
      h("path", { class: "on", d: at === undefined ? "" : bar(norms[at], at) }),
    ),
  );
}

function axes(wide, high) {
  const at = (i, many) => `${(100 * (i + 0.5)) / many}%`;
  const every = (many) => [0, 16, 32, 48].filter((i) => i < many);
  return [
    every(wide).map((i) => h("span", { class: "tick", style: `left:${at(i, wide)};top:100%` }, i)),
    every(high).map((i) => h("span", { class: "tick side-tick", style: `top:${at(i, high)}` }, i)),
  ];
}

function read({ state, stage, known, weights, mask, norms }) {
  if (!state.entry) return `the first ${known.rows} outputs (down) and ${known.columns} inputs (across)`;
  const [x, y] = state.entry;
  const i = y * known.columns + x;
  const parts = [`output ${y}, input ${x}`];
  if (weights) parts.push(`weight ${decimal(weights[i], 4)}`);
  if (norms) parts.push(`norm ${decimal(norms[x])}`);
  if (mask && stage !== "dense") parts.push(meaning(mask[i], stage));
  return parts.join(" · ");
}
