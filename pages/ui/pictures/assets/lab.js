// The Layer lab: one layer's weights round by round, and what each stop would cost, on calibration and held-out text.
//
// Drawn from `pictures.lab.Lab`: the dense layer, the first prune and its weights solved for, and for each round the
// re-dense layer and the layer pruned then, with both errors and the share of the mask that is new.

import { curve, line, mark, percent, STAGES } from "./marks.js";
import { picture, still } from "./picture.js";
import { h } from "./render.js";
import { slider } from "./slider.js";
import { hill, plot, trace, well } from "./well.js";

const PACE = 500; // milliseconds a round is shown while it plays
const ROOM = 1.7; // height of the distribution in dense peaks
const LINES = [
  { stage: "final", part: "held_out", name: "pruned then, held-out text" },
  { stage: "final", part: "seen", name: "pruned then, calibration text" },
  { stage: "redense", part: "held_out", name: "re-dense, held-out text" },
  { stage: "redense", part: "seen", name: "re-dense, calibration text" },
];

function draw(state) {
  const { data, view } = state;
  const found = data.rounds.findIndex((one) => one.number === view.round);
  const at = found < 0 ? data.rounds.length - 1 : found;
  return [weights(data, data.rounds[at]), costs(state, at)];
}

function weights(data, round) {
  const dense = curve(data.dense);
  const top = ROOM * Math.max(...dense);
  const zeros = round.final.zeros;
  const inside = [
    h("g", { class: "redense" }, hill(curve(round.redense.curve), dense, top, 1)),
    h("g", { class: "final" }, h("path", { class: "edge", d: trace(curve(round.final.curve), top, 1) })),
  ];
  const under = well(zeros, { span: data.high - data.low, wide: 0.9, top }, `${percent(zeros, 0)} zeros once pruned`);
  const key = (stage, said) => h("p", {}, mark(stage), h("b", {}, STAGES[stage]), ` ${said}`);
  return h(
    "section",
    { class: "weights", "aria-label": "Weights" },
    h("h2", {}, `What do the weights look like after round ${round.number}?`),
    key("redense", "free to move"),
    key("final", "what a prune would keep now"),
    h("div", { class: "stage final" }, plot(dense.length, 100, inside, under)),
  );
}

function costs(state, at) {
  const { data } = state;
  const { rounds } = data;
  const round = rounds[at];
  const last = rounds.length - 1;
  const x = (i) => `${(100 * i) / Math.max(1, last + 1)}%`; // place 0 is the first prune
  return h(
    "section",
    { class: "costs", "aria-label": "What each stop would cost" },
    h("h2", {}, "What would it cost to stop there and prune?"),
    h(
      "dl",
      {},
      numbers(data, round).map(([name, value, about]) =>
        h("div", { title: about }, h("dt", {}, name), h("dd", {}, value)),
      ),
    ),
    errors(data, at, x),
    changes(data, at, x),
    scrubber(state, at),
    h(
      "div",
      { class: "marks" },
      h("span", { style: "left:0" }, "0"),
      rounds.map(
        (one, i) => (last < 14 || one.number % 2 === 0) && h("span", { style: `left:${x(i + 1)}` }, one.number),
      ),
    ),
    h("small", {}, "round; 0 is the first prune"),
  );
}

const numbers = (data, { final, redense }) => [
  ["held-out text", percent(final.held_out), "output error once pruned, on text that no step has seen"],
  ["calibration text", percent(final.seen), "the same on the text that the layer was fitted to"],
  ["not pruned", percent(redense.held_out), "output error of the re-dense layer on held-out text"],
  ["mask changed", percent(final.mask_changed), "share of the first mask’s weights that this prune drops"],
];

function errors({ first, solved, rounds }, at, x) {
  const series = LINES.map(({ stage, part, name }) => {
    const values = rounds.map((one) => one[stage][part]);
    return { stage, part, name, points: stage === "final" ? [first[part], ...values] : [null, ...values] };
  });
  const most = 1.08 * Math.max(solved.held_out, ...series.flatMap(({ points }) => points));
  const y = (v) => (100 - (100 * v) / most).toFixed(2);
  const wide = rounds.length;
  const path = ({ stage, part, points }) => {
    const from = points[0] === null ? 1 : 0;
    const d = line(points.slice(from), (_, i) => (100 * (i + from)) / wide, y);
    return h("path", { class: `path ${stage} ${part}`, d });
  };
  const ends = [0, 0.5, 1].map((t) =>
    h("span", { class: "tick side-tick", style: `top:${100 - (100 * t) / 1.08}%` }, percent((t * most) / 1.08, 1)),
  );
  const dots = LINES.map((one, i) =>
    h("i", { class: `here ${one.stage} ${one.part}`, style: `left:${x(at + 1)};top:${y(series[i].points[at + 1])}%` }),
  );
  return [
    h(
      "div",
      { class: "key" },
      LINES.map(({ stage, part, name }) => h("span", { class: `${stage} ${part}` }, h("i", {}), name)),
      h("span", { class: "dense" }, h("i", {}), "first prune, its weights solved, held-out"),
    ),
    h(
      "div",
      { class: "chart" },
      ends,
      h(
        "svg",
        { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
        h("line", { class: "base", x1: 0, x2: 100, y1: 100, y2: 100 }),
        h("line", { class: "solved", x1: 0, x2: 100, y1: y(solved.held_out), y2: y(solved.held_out) }),
        series.map(path),
      ),
      h("i", { class: "cut", style: `left:${x(at + 1)}` }),
      dots,
    ),
  ];
}

function changes({ rounds }, at, x) {
  const most = Math.max(0.01, ...rounds.map((one) => one.final.mask_changed));
  const bar = (one, i) =>
    h("i", {
      class: i === at ? "on" : "",
      style: `left:${x(i + 1)};height:${(100 * one.final.mask_changed) / most}%`,
    });
  return h(
    "div",
    { class: "changes", role: "img", "aria-label": `Mask changed by round, up to ${percent(most)}` },
    h("span", { class: "tick side-tick", style: "top:0" }, percent(most, 0)),
    h("small", {}, "mask changed"),
    rounds.map(bar),
  );
}

function scrubber(state, at) {
  const { rounds } = state.data;
  return h(
    "div",
    { class: "scrub", style: `--from:${100 / rounds.length}%` },
    h(
      "button",
      { "aria-label": state.playing ? "Stop" : "Play the rounds", onclick: () => play(state) },
      state.playing ? "❚❚" : "▶",
    ),
    slider(state, rounds, at),
  );
}

function play(state) {
  const { rounds } = state.data;
  const stop = () => (clearInterval(state.playing), (state.playing = 0));
  if (state.playing) return (stop(), state.pick({ round: state.view.round }));
  if (still.matches) return state.pick({ round: rounds[0].number }); // nothing moves by itself: the slider does it
  let i = 0;
  const step = () => {
    if (i === rounds.length - 1) return (stop(), state.pick({ round: rounds[i].number }));
    state.turn({ round: rounds[i++].number });
  };
  state.playing = setInterval(step, PACE);
  step();
}

export default picture("lab", draw, (state) => () => clearInterval(state.playing));
