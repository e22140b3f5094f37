// An answer in shares: a scene of one layer in which those that are counted stand out, and under it a ruler in per cent
// with the guess and, after the reveal, the answer for the whole model.
//
// Drawn from `value` (per cent), `top` (end of the ruler) and a scene: a distribution with the band near zero, or a
// corner of two masks.

import { dragging, guessLine } from "./guess.js";
import { codes, curve, mark, percent, STAGES } from "./marks.js";
import { h } from "./render.js";
import { cells } from "./square.js";
import { blend, ease, hill, plot, trace } from "./well.js";

export function share(shown, answer) {
  const { view, t } = shown;
  const at = (value) => `${(100 * value) / answer.top}%`;
  const step = [1, 2, 5, 10, 20].find((one) => answer.top / one <= 6);
  const ticks = Array.from({ length: Math.floor(answer.top / step) + 1 }, (_, i) => i * step);
  const grown = ease(Math.min(1, t / 0.6));
  const scene = answer.mask ? corner(answer, t) : band(answer, t);
  const said = grown === 1 ? h("b", {}, percent(answer.value / 100)) : "";
  return [
    scene,
    h(
      "div",
      { class: "ruler" },
      h(
        "div",
        { class: `over${view.shown ? " done" : ""}`, ...dragging(shown, answer) },
        ticks.map((value) => [
          h("span", { class: "grid", style: `left:${at(value)}` }),
          h("span", { class: "tick", style: `left:${at(value)}` }, `${value} %`),
        ]),
      ),
      h("div", { class: `length ${answer.stage}`, style: `--w:${at(grown * answer.value)}` }, h("i", {}), said),
      guessLine(shown, answer),
    ),
    h("small", { class: "which" }, answer.caption),
  ];
}

// The curve of the stage over the dense one, with the weights near zero in full colour once the answer is known.
function band({ dense, after, stage, near, low, high, does }, t) {
  const from = curve(dense);
  const to = after ? curve(after) : from;
  const now = blend(from, to, ease(t));
  const top = (after ? 1.7 : 1.06) * Math.max(...from);
  const wide = from.length - 1;
  const x = (sigma) => (wide * (sigma - low)) / (high - low);
  const name = t > 0.15 ? stage : "dense";
  const clip = h(
    "clipPath",
    { id: "near" },
    h("rect", { x: x(-near), y: -30, width: x(near) - x(-near), height: 130 }),
  );
  const counted =
    t > 0 && h("path", { class: "counted", "clip-path": "url(#near)", d: `${trace(now, top, 1.06)}V100H0Z` });
  const edge = (sigma) => h("line", { class: "edge-line", x1: x(sigma), x2: x(sigma), y1: 0, y2: 100 });
  return h(
    "div",
    { class: `shape ${name}` },
    plot(from.length, 100, [clip, hill(now, from, top, 1.06), counted, edge(-near), edge(near)]),
    h(
      "div",
      { class: "now" },
      h("h3", {}, mark(name), STAGES[name]),
      h("p", {}, t > 0.15 && after ? does : "as trained"),
    ),
  );
}

const KINDS = ["pruned", "lost", "returned", "kept"];

// A corner of the first mask; at the reveal what the later one drops and brings back comes out of it.
function corner({ mask, rows, columns, group, does }, t) {
  const lists = Object.fromEntries(KINDS.map((kind) => [kind, []]));
  codes(mask, rows * columns).forEach((code, i) => {
    const now = t > 0.15 ? code : code & 1 ? 3 : 0;
    lists[KINDS[now]].push([i % columns, Math.floor(i / columns)]);
  });
  const lines = Array.from({ length: Math.ceil(columns / group) - 1 }, (_, i) => `M${(i + 1) * group} 0V${rows}`);
  const kind = (name) => h("path", { class: `kind ${name}`, d: cells(lists[name]) });
  const key = (name) => h("span", { class: `kind ${name}` }, h("i", {}), name);
  return h(
    "div",
    { class: "corner" },
    h(
      "svg",
      { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", role: "img", "aria-label": does },
      KINDS.map(kind),
      h("path", { class: "groups", d: lines.join("") }),
    ),
    h(
      "div",
      { class: "kinds" },
      (t > 0.15 ? [1, 2, 3, 0] : [3, 0]).map((code) => key(KINDS[code])),
      h("span", {}, does),
    ),
  );
}
