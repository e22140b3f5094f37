// An answer in shapes: the dense curve becomes the one that was measured, its zeros fall into the well, and the sketch
// that was guessed stays beside it as a dotted line.
//
// Drawn from `dense`, `after`, `zeros` and the sketches of the `options`.

import { curve, mark, STAGES, zeros } from "./marks.js";
import { h } from "./render.js";
import { blend, ease, hill, plot, trace, well } from "./well.js";

export function shapes({ view, t }, answer) {
  const dense = curve(answer.dense);
  const top = 1.04 * Math.max(...dense);
  const moved = t > 0.15;
  const stage = moved ? answer.stage : "dense";
  const mine = answer.options[answer.presets.findIndex((one) => one.guess === view.guess)]?.sketch;
  const said = t === 0 ? zeros(0) : t > 0.6 ? zeros(answer.zeros) : ""; // between the two nothing was measured
  const span = answer.high - answer.low;
  return h(
    "div",
    { class: `shape ${stage}` },
    plot(
      dense.length,
      100,
      [
        hill(blend(dense, curve(answer.after), ease(t)), dense, top),
        h("path", { class: "own", d: mine ? trace(curve(mine), top) : "" }),
      ],
      well(answer.zeros * ease(t), { span, wide: 0.9, top }, said),
    ),
    h(
      "div",
      { class: "now" },
      h("h3", {}, mark(stage), STAGES[stage]),
      h("p", {}, moved ? answer.does : "as trained"),
      mine && h("p", { class: "legend" }, "your guess"),
    ),
    h("small", { class: "which" }, `the weights of one layer: ${answer.layer}`),
  );
}
