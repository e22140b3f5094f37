// An answer in perplexities: bars from zero on one axis, a notch at every unit, for a perplexity counts equally likely
// words. The guess is drawn on the answer's axis and dragged there; where runs are to be ranked it is a row.
//
// Drawn from `rows` (name, value, × dense ± error; `asked`: grows at the reveal, `later`: shown after it) and `top`.

import { dragging, guessLine } from "./guess.js";
import { decimal, perplexity, times } from "./marks.js";
import { h } from "./render.js";
import { ease } from "./well.js";

const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

export const bars = (shown, answer) => chart(shown, answer, guessLine(shown, answer), dragging(shown, answer));

export const rank = (shown, answer) => chart(shown, answer, null, {});

function chart(shown, answer, over, drag) {
  const { view } = shown;
  const { rows, top } = answer;
  const at = (value) => `${(100 * value) / top}%`;
  const step = TICKS.find((one) => top / one <= 7);
  const ticks = Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
  return [
    h(
      "div",
      { class: `over${view.shown ? " done" : ""}`, ...drag },
      ticks.map((value) => [
        h("span", { class: "grid", style: `left:${at(value)}` }),
        h("span", { class: "tick", style: `left:${at(value)}` }, value),
      ]),
    ),
    h(
      "div",
      { class: "bars", style: `--notch:${100 / top}%` },
      rows.map((one, i) => row(shown, answer, one, i, at)),
    ),
    h("small", { class: "per" }, "perplexity, a notch a word", h("br"), "× dense ± standard error"),
    over,
  ];
}

// Rows of the answer grow first, those that come later after them.
function part({ role }, t) {
  if (role === "known") return 1;
  const [from, long] = role === "asked" ? [0, 0.6] : [0.55, 0.45];
  return ease(Math.min(1, Math.max(0, (t - from) / long)));
}

function row({ view, t }, answer, one, i, at) {
  const grown = part(one, t);
  const error = one.ratio && h("small", {}, `${times(one.ratio)} ± ${decimal(one.error)}`);
  const said = grown === 1 ? [h("b", {}, perplexity(one.value)), error] : h("b", {}, one.role === "later" ? "" : "?");
  const mine = answer.options && view.guess && answer.presets[i]?.guess === view.guess;
  const right = answer.options && t === 1 && answer.presets[i]?.guess === answer.right;
  const name = [h("b", {}, one.name), h("small", {}, one.of), mine && h("small", { class: "mine-row" }, "your guess")];
  return h(
    "div",
    {
      class: `bar-row ${one.role}${mine ? " picked" : ""}${right ? " right" : ""}`,
      style: `--run:var(--${one.color})`,
    },
    h("div", {}, name),
    h("div", { class: "track", style: `--w:${at(grown * one.value)}` }, h("i", {}), h("span", {}, said)),
  );
}
