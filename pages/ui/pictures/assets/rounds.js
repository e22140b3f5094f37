// The rounds of one layer: three curves over the rounds, a scrubber that turns distribution, map and numbers together,
// and a button that plays them.
//
// Drawn from `rounds`: the run whose rounds they are and, for each round, the re-dense layer and the layer pruned then.

import { color, dot, line, percent } from "./marks.js";
import { h } from "./render.js";
import { slider } from "./slider.js";
import { still } from "./picture.js";

const KINDS = [
  { kind: "redense", name: "re-dense error", value: (round) => round.redense.loss },
  { kind: "final", name: "after its prune", value: (round) => round.final.loss },
  { kind: "mask", name: "mask changed", value: (round) => round.final.mask_changed },
];
const PACE = 700; // milliseconds a round is shown while it plays

export function rounds({ state, data, played, turned }) {
  const ends = data.runs
    .filter((run) => !run.then && !run.cells.final)
    .map((run) => run.name)
    .join(" and ");
  const note = ends && h("p", { class: "ends" }, h("span", { class: "none" }, "–"), `${ends}: no further phase`);
  if (!played) return [note, data.no_rounds && h("p", {}, data.no_rounds)];
  const list = data.rounds.list;
  const last = list.length - 1;
  const at = turned ? list.indexOf(turned) : last;
  return [
    note,
    h(
      "div",
      { class: "play", style: `--run:${color(played.color)}` },
      h("h3", {}, dot(played), `${played.name}, round ${list[at].number} of ${list[last].number}`),
      h(
        "dl",
        {},
        KINDS.map(({ kind, name, value }) =>
          h("div", {}, h("dt", { class: kind }, name), h("dd", {}, percent(value(list[at])))),
        ),
      ),
      chart(list, at),
      h(
        "div",
        { class: "scrub" },
        h(
          "button",
          { "aria-label": state.playing ? "Stop" : "Play the rounds", onclick: () => play(state, list) },
          state.playing ? "❚❚" : "▶",
        ),
        slider(state, list, at),
        h(
          "div",
          { class: "ticks" },
          list.map((round) => h("span", {}, round.number)),
        ),
      ),
    ),
  ];
}

function chart(list, at) {
  const lines = KINDS.map(({ kind, value }) => ({ kind, points: list.map(value) }));
  const most = Math.max(1e-6, ...lines.flatMap((one) => one.points));
  const x = (i) => (100 * i) / Math.max(1, list.length - 1),
    y = (v) => (96 - (92 * Math.max(0, v)) / most).toFixed(1);
  return h(
    "div",
    { class: "chart" },
    h("span", { class: "most" }, percent(most, 0)),
    h("span", { class: "least" }, "0"),
    h(
      "svg",
      { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      h("line", { class: "here", x1: x(at), x2: x(at), y1: 0, y2: 100 }),
      lines.map(({ kind, points }) => h("path", { class: `path ${kind}`, d: line(points, (_, i) => x(i), y) })),
    ),
  );
}

function play(state, list) {
  const stop = () => (clearInterval(state.playing), (state.playing = 0));
  const last = list.length - 1;
  if (state.playing) return (stop(), state.pick({ round: state.view.round }));
  if (still.matches) return state.pick({ round: list[0].number }); // nothing moves by itself: the slider does it
  let i = 0;
  const step = () => {
    if (i === last) return (stop(), state.pick({ round: list[last].number }));
    state.turn({ round: list[i++].number });
  };
  state.playing = setInterval(step, PACE);
  step();
}
