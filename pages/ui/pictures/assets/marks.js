// What the pictures share: numbers as text, scales, and the marks that name a stage, a run or a distribution.

import { h } from "./render.js";

// --- numbers as text: the only place where digits are chosen -------------------------------------------------------
const MINUS = "−";
const signed = (text) => text.replace("-", MINUS);
const exact = (digits) => ({ minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
const formats = [0, 1, 2, 3, 4].map(
  (digits) => new Intl.NumberFormat("en", { ...exact(digits), roundingMode: "halfEven" }),
);
// As Python's f-strings: ties go to the even digit, where toFixed goes up.
const fixed = (v, digits) => formats[digits].format(v);
export const NONE = "–";
const known = (v) => v !== null && v !== undefined && !Number.isNaN(v);

export function percent(v, digits = 1) {
  if (!known(v)) return NONE;
  if (v > 0 && 200 * v < 10 ** -digits) return `< ${10 ** -digits} %`;
  return signed(`${fixed(100 * v, digits)} %`).replace(/^−(0(\.0+)? %)$/, "$1");
}
export const decimal = (v, digits = 2) => (known(v) ? signed(fixed(v, digits)) : NONE);
export const perplexity = (v) =>
  !known(v) ? NONE : v < 1000 ? fixed(v, 2) : v < 1e5 ? fixed(v, 0) : v.toExponential(1);
export const times = (v) => `× ${v < 1000 ? fixed(v, 2) : v.toExponential(1)}`;
export function change({ value, error }) {
  const digits = 100 * error < 0.5 ? 1 : 0;
  const size = fixed(Math.abs(100 * value), digits);
  return `${Number(size) ? (value < 0 ? MINUS : "+") : ""}${size} ± ${fixed(100 * error, digits)} %`;
}
export const count = (v) => Math.round(v).toLocaleString("en");
export const zeros = (share) => (share < 0.005 ? "no zeros" : `${fixed(100 * share, 0)} % zeros`);
export const sigma = (v) => (v ? `${signed(String(v))} σ` : "0");

// --- names ----------------------------------------------------------------------------------------------------------
export const STAGES = { dense: "dense", sparse: "sparse", redense: "re-dense", final: "final" };
export const PHASES = ["sparse", "redense", "final"];
export const column = (linear) => linear.split(".").pop().replace("_proj", "");
// A layer's own name, behind the number of the expert that it belongs to.
export function inBlock(linear) {
  const [name, expert] = linear.split(".").reverse();
  return /^\d+$/.test(expert) ? `${expert} · ${name}` : name;
}
export const layerName = (at, linears) =>
  `block ${Math.floor(at / linears.length)} · ${inBlock(linears[at % linears.length])}`;
export const runName = (run) => (run.origin ? `${run.name} from ${run.origin}` : run.name);

// The blocks that an axis names: every fifth, and the last.
export const namedBlocks = (blocks) =>
  Array.from({ length: blocks }, (_, i) => i).filter((i) => i === blocks - 1 || (i % 5 === 0 && i < blocks - 2));

// --- packed numbers -------------------------------------------------------------------------------------------------
const CURVE = 1800; // `wire.CURVE_SCALE`
const unpacked = new Map(); // most texts stay the same from one poll to the next
function numbers(kind, text, read) {
  const key = kind + text;
  if (!unpacked.has(key)) {
    if (unpacked.size > 2000) unpacked.clear();
    unpacked.set(key, read(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
  }
  return unpacked.get(key);
}
export const curve = (text) => numbers("c", text, (bytes) => Array.from(new Int16Array(bytes), (v) => v / CURVE));
export const values = (text) => numbers("v", text, (bytes) => Array.from(new Float32Array(bytes)));
export const steps = (text, step) =>
  numbers(`s${step}`, text, (bytes) => Array.from(new Int16Array(bytes), (v) => v * step));
// Four codes a byte, the first in the lowest bits.
const quarters = (byte) => [byte & 3, (byte >> 2) & 3, (byte >> 4) & 3, byte >> 6];
export const codes = (text, many) =>
  numbers(`q${many}`, text, (bytes) => Array.from(new Uint8Array(bytes)).flatMap(quarters).slice(0, many));

// --- scales ---------------------------------------------------------------------------------------------------------
const ENDS = [0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2, 0.24, 0.32, 0.4, 0.6, 0.8, 1];
export const roundEnd = (most) => ENDS.find((one) => one >= most) ?? most;
export const share = (v, from, to) => (100 * (v - from)) / (to - from);
export const place = (v, from, to) => `${share(v, from, to)}%`;

// --- marks ----------------------------------------------------------------------------------------------------------
export const color = (name) => `var(--${name})`;
export const mark = (stage) => h("i", { class: `mark ${stage}` });
export const dot = (run, shape = "") => h("i", { class: `dot ${shape}`.trim(), style: `--run:${color(run.color)}` });
export const named = (run) => h("span", { class: "run" }, dot(run), run.name);

export const line = (list, x, y) => list.map((v, i) => `${i ? "L" : "M"}${x(v, i)} ${y(v, i)}`).join("");

// A distribution in a box of 100 in height, cut off at `top`: its area, its edge, and the outline of the dense layer.
export function distribution(shown, dense, top) {
  const trace = (list) =>
    list
      ? line(
          list,
          (_, i) => i,
          (v) => (100 - (100 * Math.min(v, top)) / top).toFixed(1),
        )
      : "";
  const wide = (shown ?? dense ?? [0, 0]).length - 1;
  return h(
    "svg",
    { viewBox: `0 0 ${wide} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { class: "area", d: shown ? `${trace(shown)}V100H0Z` : "" }),
    h("path", { class: "edge", d: trace(shown) }),
    h("path", { class: "outline", d: trace(dense) }),
    h("line", { class: "base", x1: 0, x2: wide, y1: 100, y2: 100 }),
  );
}
