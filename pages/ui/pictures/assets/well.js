// One large distribution with a well under its axis for the weights that are exactly zero: the well's area is their
// share, on the scale of the curve, so what the curve has lost lies there to be seen.

import { line } from "./marks.js";
import { h } from "./render.js";

export const blend = (from, to, t) => from.map((v, i) => v + (to[i] - v) * t);
export const ease = (t) => (t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2);

// A curve in a box of 100 in height, its top at `top`; a peak may rise above the box, up to `most` times its height.
export const trace = (list, top, most = 1.2) =>
  line(
    list,
    (_, i) => i,
    (v) => (100 - 100 * Math.min(most, v / top)).toFixed(2),
  );

// Area, dense outline, edge and base line.
export const hill = (list, dense, top, most) => [
  h("path", { class: "area", d: `${trace(list, top, most)}V100H0Z` }),
  h("path", { class: "outline", d: trace(dense, top) }),
  h("path", { class: "edge", d: trace(list, top, most) }),
  h("line", { class: "base", x1: 0, x2: list.length - 1, y1: 100, y2: 100 }),
];

const TICKS = [
  ["3%", "negative"],
  ["50%", "0"],
  ["97%", "positive"],
];
export const plot = (points, height, inside, under) =>
  h(
    "div",
    { class: "plot" },
    h("svg", { viewBox: `0 0 ${points - 1} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, inside),
    h(
      "div",
      { class: "ticks" },
      TICKS.map(([left, text]) => h("span", { class: "tick", style: `left:${left}` }, text)),
    ),
    under,
  );

// `span`: σ from the left end of the curve to its right; `wide`: the well's part of that.
export function well(zeros, { span, wide, top }, said) {
  const box = (name, share, text) =>
    h(
      "div",
      {
        class: name,
        style: `width:${100 * wide}%;left:${50 - 50 * wide}%;height:${(100 * share) / (span * wide * top)}%`,
      },
      text,
    );
  return [box("well", zeros, ""), box("count", 0.5, said)];
}
