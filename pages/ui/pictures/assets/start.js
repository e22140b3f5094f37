// The moving picture of Start: the weights of one layer, dense, pruned, filled in, pruned again; under it what each
// stage does to the model's perplexity. Where motion is reduced the four stand still, one over the other.
//
// Drawn from `pictures.start.Start`: what was measured at four stages. Between two of them nothing was, so no number
// is shown before a movement ends.

import { curve, mark, NONE, percent, perplexity, STAGES, times, zeros } from "./marks.js";
import { picture, still } from "./picture.js";
import { h } from "./render.js";
import { blend, ease, hill, plot, well } from "./well.js";

const MORPH = 1900; // milliseconds
const HOLD = 2300;
const ROOM = 1.9; // height of the picture in dense peaks
const RIDGE = 1.12; // of a ridge, whose peak may rise into the one above

function opened(state) {
  Object.assign(state, { stage: 0, t: 1, since: performance.now() - MORPH, paused: still.matches });
  const tick = (now) => {
    state.timer = requestAnimationFrame(tick);
    const past = now - state.since;
    if (still.matches || (state.t === 1 && past % 100 > 17)) return; // while a stage rests, ten pictures a second
    if (state.t < 1) state.t = Math.min(1, past / MORPH);
    else if (state.paused) return;
    else if (past > MORPH + HOLD) go(state, (state.stage + 1) % state.data.stages.length, now);
    state.draw();
  };
  state.draw();
  state.timer = requestAnimationFrame(tick);
  return () => cancelAnimationFrame(state.timer);
}

function go(state, stage, now) {
  Object.assign(state, { from: shape(state), stage, t: 0, since: now });
}

const pause = (state, paused) => {
  Object.assign(state, { paused, since: performance.now() });
  state.draw();
};

function shape({ data, stage, t, from }) {
  const to = data.stages[stage];
  const shown = { curve: curve(to.curve), zeros: to.zeros };
  if (!from || t === 1) return shown;
  const s = ease(t);
  return { curve: blend(from.curve, shown.curve, s), zeros: from.zeros + (to.zeros - from.zeros) * s };
}

function draw(state) {
  if (state.stage === undefined) return [];
  return [still.matches ? ridges(state) : moving(state), strip(state)];
}

const which = (data) => h("small", { class: "which" }, `the weights of one layer: ${data.layer}`);

function moving(state) {
  const { data } = state;
  const now = shape(state);
  const { stage, does, zeros: share } = data.stages[state.stage];
  const dense = curve(data.stages[0].curve);
  const top = ROOM * Math.max(...dense);
  const said = state.t > 0.6 ? zeros(share) : "";
  const under = well(now.zeros, { span: data.high - data.low, wide: 0.5, top }, said);
  return h(
    "section",
    { class: `stage ${stage}`, "aria-label": "Weights of one layer" },
    plot(dense.length, 100, hill(now.curve, dense, top), under),
    h("div", { class: "now" }, h("h2", {}, mark(stage), STAGES[stage]), h("p", {}, does)),
    which(data),
  );
}

function ridges({ data }) {
  const dense = curve(data.stages[0].curve);
  const top = RIDGE * Math.max(...dense);
  const ridge = ({ stage, curve: packed }, i) =>
    h("g", { class: stage, transform: `translate(0 ${100 * i})` }, hill(curve(packed), dense, top, 1.8));
  const label = ({ stage, zeros: share }, i) =>
    h(
      "div",
      { class: `ridge ${stage}`, style: `bottom:${77 - 25 * i}%` },
      h("b", {}, mark(stage), STAGES[stage]),
      h("span", {}, zeros(share)),
    );
  return h(
    "section",
    { class: "stage ridges", "aria-label": "Weights of one layer, by stage" },
    plot(dense.length, 400, data.stages.map(ridge)),
    h("div", { class: "labels" }, data.stages.map(label)),
    which(data),
  );
}

function strip(state) {
  const { data } = state;
  const most = Math.max(...data.stages.map(({ perplexity: one }) => one?.value ?? 0));
  const past = (performance.now() - state.since) / (MORPH + HOLD);
  const station = (one, i) => {
    const on = i === state.stage && !still.matches;
    const done = i < state.stage || still.matches ? 1 : !on ? 0 : state.paused ? 1 : Math.min(1, past);
    const less = one.change && h("b", {}, `${percent(-one.change.value, 0)} below ${one.change.against}`);
    const measured = one.perplexity;
    const choose = () => {
      go(state, i, performance.now());
      if (still.matches) state.t = 1;
      pause(state, true);
    };
    return h(
      "button",
      {
        class: `station ${one.stage}${on ? " on" : ""}`,
        title: one.why,
        "aria-pressed": String(on),
        onclick: choose,
      },
      h("span", { class: "name" }, mark(one.stage), STAGES[one.stage], h("i", { style: `--t:${done}` })),
      h("span", { class: "value" }, measured ? perplexity(measured.value) : NONE),
      h("span", { class: "bar", style: `--w:${measured ? (100 * measured.value) / most : 0}%` }),
      h("small", {}, !measured ? "not measured" : measured.ratio ? times(measured.ratio) : "as trained", less),
    );
  };
  const button = h(
    "button",
    { class: "play", onclick: () => pause(state, !state.paused) },
    state.paused ? "▶ Play" : "❚❚ Pause",
  );
  return h(
    "section",
    { class: `strip${still.matches ? " rest" : ""}`, "aria-label": "Perplexity of the stages" },
    data.stages.map(station),
    h(
      "p",
      {},
      h("small", {}, "Perplexity: how unsure the model is of each next word. Lower is better."),
      !still.matches && button,
    ),
  );
}

export default picture("start", draw, opened);
