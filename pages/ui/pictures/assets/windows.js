// One pair, window by window: both perplexities, then their ratio from one zero, then what pairing does to the error.
//
// Drawn from the two runs' `losses`, windows ordered by the dense model's, and from the pair's two errors.

import { interval, ticks } from "./axis.js";
import { decimal, dot, perplexity, place, times, values } from "./marks.js";
import { h } from "./render.js";

const KEYS = { ArrowLeft: -1, ArrowRight: 1 };

export function windows(shown) {
  const { state, data, a, ref } = shown;
  const [mine, its, dense] = [a.losses, ref.losses, data.dense.losses].map(values);
  const order = its.map((_, i) => i).sort((i, j) => dense[i] - dense[j]);
  const many = order.length;
  const at = state.window === undefined ? -1 : order[state.window];
  const all = { ...shown, mine, its, order, many, at, x: (i) => `${(100 * (i + 0.5)) / many}%` };
  const read = at < 0 ? summary(all) : reading(all);
  return h(
    "section",
    { class: "windows", style: `--run:var(--${a.color});--dot:${many > 40 ? 5 : many > 24 ? 7 : 9}px` },
    h("h3", {}, "Is it so on every window of text?"),
    h(
      "p",
      { "aria-live": "polite" },
      dot(a),
      h("b", {}, a.label),
      " against ",
      dot(ref, "ring"),
      h("b", {}, ref.label),
      ": ",
      read,
    ),
    h("div", { class: "panels" }, measured(all, read), shifts(all), errors(all)),
  );
}

function summary({ a, ref, pair, many }) {
  const short = a.label === a.name && ref.label === ref.name;
  return `lower on ${pair.lower} of ${many}${short ? ". Both read the same text: its difficulty cancels" : ""}.`;
}

function reading({ mine, its, at }) {
  const [here, there] = [mine[at], its[at]].map((loss) => perplexity(Math.exp(loss)));
  return `window ${at + 1}, ${here} against ${there}, ${times(Math.exp(mine[at] - its[at]))}.`;
}

function turn(state, window) {
  if (window === state.window) return;
  state.window = window;
  state.draw();
}

const moves = ({ state, many }) => ({
  onmousemove: (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    turn(state, Math.min(many - 1, Math.max(0, Math.floor((many * (event.clientX - box.left)) / box.width))));
  },
  onmouseleave: () => turn(state, undefined),
});

const join = (on, x, top, bottom) =>
  h("i", { class: `join${on ? " on" : ""}`, style: `left:${x};top:${top};bottom:calc(100% - ${bottom})` });
// The reference is a ring, as in the table: the colours of two runs may be alike.
const point = (x, y, ref) => {
  const style = `left:${x};top:${y}`;
  return ref
    ? h("i", { class: "point ring", style: `${style};--run:var(--${ref.color})` })
    : h("i", { class: "point", style });
};
const side = (marks, y) => marks.map((v) => h("span", { class: "tick side-tick", style: `top:${y(Math.log(v))}` }, v));

function measured(all, read) {
  const { state, mine, its, order, many, x, ref } = all;
  const [low, high] = [Math.min(...mine, ...its) - 0.08, Math.max(...mine, ...its) + 0.08];
  const y = (v) => place(v, high, low);
  const keys = (event) => {
    const by = KEYS[event.key];
    if (!by) return;
    turn(state, Math.min(many - 1, Math.max(0, (state.window ?? (by > 0 ? -1 : many)) + by)));
    event.preventDefault();
  };
  const pairs = order.map((w, i) => [
    join(i === state.window, x(i), y(Math.max(mine[w], its[w])), y(Math.min(mine[w], its[w]))),
    point(x(i), y(its[w]), ref),
    point(x(i), y(mine[w])),
  ]);
  return h(
    "div",
    {
      class: "panel",
      tabindex: 0,
      role: "application",
      "aria-label": `Windows of text: ${read} Arrow keys move along.`,
      ...moves(all),
      onblur: () => turn(state, undefined),
      onkeydown: keys,
    },
    pairs,
    side(ticks(Math.exp(low), Math.exp(high), 150, 26), y),
    h("small", { class: "under" }, "perplexity, one line a window"),
  );
}

function ends({ mine, its, pair }) {
  const reach = [...mine.map((v, i) => v - its[i]), 0, ...interval(pair.log, pair.loose_error)];
  return [Math.min(...reach) - 0.04, Math.max(...reach) + 0.04];
}

function shifts(all) {
  const { state, mine, its, order, x, ref } = all;
  const [low, high] = ends(all);
  const z = (v) => place(v, high, low);
  const marks = ticks(Math.exp(low), Math.exp(high), 150, 30).filter((v) => v !== 1);
  const shift = (w, i) => {
    const v = mine[w] - its[w];
    return [join(i === state.window, x(i), z(Math.max(0, v)), z(Math.min(0, v))), point(x(i), z(v))];
  };
  return h(
    "div",
    { class: "panel shifts", ...moves(all) },
    h("i", { class: "zero", style: `top:${z(0)}` }),
    side([1, ...marks], z),
    order.map(shift),
    h("small", { class: "under" }, "the same, from ", dot(ref, "ring"), "= 1"),
  );
}

function errors(all) {
  const { pair } = all;
  const [low, high] = ends(all);
  const z = (v) => place(v, high, low);
  const box = (error, name, left) => {
    const [bottom, top] = interval(pair.log, error).map(z);
    return h("div", { class: `interval ${name}`, style: `left:${left};top:${top};bottom:calc(100% - ${bottom})` });
  };
  const said = (from, to) => `${decimal(from)} to ${decimal(to)}`;
  return h(
    "div",
    { class: "panel errors" },
    h("i", { class: "zero", style: `top:${z(0)}` }),
    box(pair.error, "paired", "25%"),
    box(pair.loose_error, "loose", "75%"),
    h(
      "small",
      { class: "under two" },
      h("span", {}, h("b", {}, said(pair.low, pair.high)), h("br"), "paired"),
      h(
        "span",
        { title: "as if each run had read windows of its own" },
        said(pair.loose_low, pair.loose_high),
        h("br"),
        "if unpaired",
      ),
    ),
  );
}
