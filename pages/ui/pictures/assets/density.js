// Where each weight went: a density of dense values across and of the stage's values upwards, with both distributions
// on its sides; the strip below it holds the weights that became zero, by their dense value.
//
// Drawn from `density` (`counts` by dense and present cell, `gone` by dense cell) and from the curves of `cells`.

import { count, curve, line, percent, sigma, values } from "./marks.js";
import { h } from "./render.js";
import { cells, square } from "./square.js";

const LEVELS = 9;

export function density(state) {
  const { data } = state;
  const dense = curve(data.cells.dense.curve);
  const now = curve(data.cells[data.stage].curve);
  const top = 1.12 * Math.max(...dense);
  const known = data.density;
  const counts = known ? values(known.counts) : [];
  const gone = known?.gone ? values(known.gone) : [];
  const most = Math.log10(Math.max(10, ...counts, ...gone));
  const shown = { state, data, known, counts, gone, most, top, dense, now };
  return h(
    "section",
    { class: "density" },
    h("h3", {}, "Where did each weight go?"),
    h("p", {}, said(shown)),
    above(shown),
    board(shown),
    beside(shown),
    strip(shown),
    h("small", { class: "say", "aria-live": "polite" }, read(shown)),
    scale(shown),
  );
}

function said({ data, known, gone }) {
  if (data.stage === "dense" || !known) return "The dense layer, as it was trained.";
  const stayed =
    known.stayed > 0.9995
      ? "the others did not move"
      : `${percent(known.stayed, 0)} of the others stayed in their cell of ${data.density.cell} σ`;
  if (gone.length) return [h("b", { class: "fell" }, percent(known.zeros, 0), " became zero"), `; ${stayed}.`];
  const near = `${percent(known.stayed, 0)} stayed in their cell, ${percent(known.near_zero, 0)} are near zero.`;
  return [h("b", {}, "Every weight may move"), `: ${near}`];
}

// Cells by how many weights lie in them, on a logarithmic scale: a path for every shade.
function shades(list, most, place) {
  const levels = Array.from({ length: LEVELS }, () => []);
  list.forEach((v, i) => v && levels[Math.min(LEVELS - 1, Math.floor((LEVELS * Math.log10(v)) / most))].push(place(i)));
  return levels.map((level, i) => h("path", { class: "shade", style: `--t:${(i + 1) / LEVELS}`, d: cells(level) }));
}

function board({ state, data, known, counts, most }) {
  const side = data.side;
  const place = (i) => [Math.floor(i / side), side - 1 - (i % side)];
  const diagonal = h("line", { class: "diagonal", x1: 0, y1: side, x2: side, y2: 0 });
  const label = "Density of weights: as trained across, now upwards";
  const content = [known && shades(counts, most, place), diagonal];
  const ticks = [-3, 0, 3].map((v) =>
    h("span", { class: "tick side-tick", style: `top:${100 - across(data, v)}%` }, sigma(v)),
  );
  return square(state, { name: "weight", wide: side, high: side, label, content, ticks });
}

const across = (data, v) => (100 * (v - data.low)) / (data.high - data.low);
const svg = (wide, high, ...inside) =>
  h("svg", { viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: "none", "aria-hidden": "true" }, inside);
const along = (data, i, many) => across(data, data.curve_low + (i * (data.curve_high - data.curve_low)) / (many - 1));
const tall = (v, top) => 100 - (100 * Math.min(v, top)) / top;

function above({ data, known, gone, dense, top }) {
  const outline = line(
    dense,
    (_, i) => along(data, i, dense.length).toFixed(2),
    (v) => tall(v, top).toFixed(2),
  );
  const level = (v) => v / known.total / ((data.high - data.low) / data.side);
  const fell = line(
    gone,
    (_, i) => ((100 * (i + 0.5)) / data.side).toFixed(2),
    (v) => tall(level(v), top).toFixed(2),
  );
  return h(
    "div",
    { class: "above dense" },
    svg(
      100,
      100,
      h("path", { class: "area", d: `${outline}V100H0Z` }),
      h("path", { class: "outline", d: outline }),
      h(
        "g",
        { class: "sparse" },
        h("path", { class: "area", d: gone.length ? `${fell}V100H0Z` : "" }),
        h("path", { class: "edge", d: fell }),
      ),
    ),
    h("small", {}, "as trained"),
  );
}

function beside({ data, dense, now, top }) {
  const trace = (list) =>
    line(
      list,
      (v) => (100 - tall(v, top)).toFixed(2),
      (_, i) => (100 - along(data, i, list.length)).toFixed(2),
    );
  return h(
    "div",
    { class: "beside" },
    svg(
      100,
      100,
      h("path", { class: "area", d: `${trace(now)}L0 0L0 100Z` }),
      h("path", { class: "outline", d: trace(dense) }),
      h("path", { class: "edge", d: trace(now) }),
    ),
    h("small", {}, "now"),
    Math.max(...now) > top && h("small", { class: "cut", title: "The peak goes on to the right." }, "→"),
  );
}

function strip({ data, gone, most }) {
  return h(
    "div",
    { class: "strip sparse" },
    svg(
      data.side,
      1,
      shades(gone, most, (i) => [i, 0]),
    ),
    h("span", { class: "tick side-tick", style: "top:50%" }, "to 0"),
    [-3, 0, 3].map((v) => h("span", { class: "tick", style: `left:${across(data, v)}%` }, sigma(v))),
  );
}

function scale({ known, most }) {
  const powers = Array.from({ length: Math.floor(most) + 1 }, (_, i) => i);
  const name = (power) => (power > 2 ? `${10 ** (power - 3)}k` : 10 ** power);
  return h(
    "div",
    { class: "ramp" },
    known && [
      h("small", {}, "weights"),
      h(
        "div",
        {},
        powers.map((power) => h("span", { class: "tick", style: `left:${(100 * power) / most}%` }, name(power))),
      ),
    ],
  );
}

function read({ state, data, known, counts }) {
  if (!known) return "";
  if (!state.weight) return "dotted: nothing changed";
  const [x, y] = state.weight;
  const value = (i) => sigma(Number((data.low + ((i + 0.5) * (data.high - data.low)) / data.side).toFixed(1)));
  const j = data.side - 1 - y;
  return `${value(x)} as trained, ${value(j)} now: ${count(counts[x * data.side + j])} weights`;
}
