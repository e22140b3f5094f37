// The grid of distributions: one column a run, one row a stage, shared axes, the dense outline in every cell; beside
// each distribution the perplexity of the whole model at that stage.
//
// Drawn from `layer` (which layer, its dense distribution and σ, the ends of the axis), `runs[].cells[stage]` of that
// layer, and the round that the scrubber is turned to.

import { color, curve, decimal, distribution, layerName, mark, percent, perplexity, place, runName } from "./marks.js";
import { PHASES, sigma, STAGES, times, zeros } from "./marks.js";
import { h } from "./render.js";

const DOES = { dense: "as trained", sparse: "pruned once", redense: "every weight may move", final: "pruned again" };
const HEADROOM = 1.7; // height of a cell in dense peaks
const LOW = 0.66; // height of the dense row, in those of the others

export function grid(shown, player) {
  const { state, data } = shown;
  const many = Math.max(2, data.runs.length);
  const bases = Math.max(1, data.runs.filter((run) => !run.base).length);
  const dense = data.layer.dense.curve && curve(data.layer.dense.curve);
  const scale = { dense, top: dense ? HEADROOM * Math.max(...dense) : 1, tight: many > 4 };
  const rows = Object.keys(STAGES).map((stage) =>
    h(
      "div",
      { class: "row", style: `grid-row:${stage}` },
      h("h3", {}, mark(stage), STAGES[stage]),
      h("p", {}, DOES[stage]),
    ),
  );
  const head = (run, i) =>
    h(
      "header",
      { class: "head", style: `--run:${color(run.color)};grid-column:${i + 2}` },
      h("h3", {}, run.name),
      run.origin && h("span", {}, `from ${run.origin}`),
    );
  const ends = data.runs.flatMap((run, i) => (run.base ? [[i + 2, "axis"]] : []));
  const axis = ([across, down]) =>
    h(
      "div",
      { class: "axis", style: `grid-column:${across};grid-row:${down}` },
      [-3, 0, 3].map((v) => h("span", { style: `left:${place(v, data.layer.low, data.layer.high)}` }, sigma(v))),
    );
  const columns = data.runs.map((run, i) =>
    PHASES.map((stage) => run.cells[stage] && cell(shown, scale, run, stage, i + 2)),
  );
  const under = `grid-column:2/span ${bases};grid-row:redense/span 2`;
  return h(
    "div",
    { class: `cells${scale.tight ? " tight" : ""}${bases < 2 ? " slim" : ""}`, style: `--many:${many}` },
    title(state, data, many),
    rows,
    data.runs.map(head),
    first(data, scale),
    columns,
    [[2, "heads"], ...ends].map(axis),
    h("div", { class: "player", style: under }, player),
  );
}

function title(state, { layer, linears }, many) {
  const about = layer.std ? `Weights in units of the dense σ = ${decimal(layer.std, 3)}. ` : "";
  return h(
    "div",
    { class: "title", style: `grid-column:3/${many + 2}` },
    h(
      "h2",
      {},
      layerName(layer.at, linears),
      h("button", { class: "more", onclick: () => state.send("details", state.view) }, "Details"),
    ),
    h("p", {}, `${about}The grey outline is the dense layer.`),
    h("p", {}, "Left in a cell: this layer. Right: perplexity of the whole model, × dense ± standard error."),
  );
}

function first(data, { dense, top }) {
  const share = data.layer.dense.zeros;
  return h(
    "div",
    { class: "cell dense", style: "grid-column:2;grid-row:dense" },
    distribution(dense, null, LOW * top),
    h("span", { class: "own" }, h("b", {}, dense ? zeros(share) : data.live ? "reading …" : "not recorded")),
    h("span", { class: "whole" }, measured(data.dense)),
  );
}

function cell({ state, run: chosen, stage: at, played, turned }, { dense, top, tight }, run, stage, column) {
  const round = run === played && stage !== "sparse" && turned;
  const known = round ? { ...run.cells[stage], ...round[stage], perplexity: null } : run.cells[stage];
  const shown = known.curve && curve(known.curve);
  const cut = shown && Math.max(...shown) > top;
  const on = run === chosen && stage === at;
  const why = round ? "Perplexity is measured for whole models, not rounds." : known.why;
  const about = known.perplexity && known.same ? `The same model as ${known.same}’s.` : why;
  const spike = tight ? [percent(known.near_zero, 0), h("br"), "near 0 ↑"] : `${percent(known.near_zero, 0)} near 0 ↑`;
  const own = shown && [
    h("b", {}, cut ? spike : zeros(known.zeros)),
    h("span", {}, `error ${percent(known.loss)}`),
    round && h("span", {}, `round ${round.number}`),
  ];
  return h(
    "button",
    {
      class: `cell ${stage}${on ? " chosen" : ""}`,
      style: `grid-column:${column};grid-row:${stage}`,
      title: about ?? "Click: the map shows it",
      "aria-pressed": String(on),
      onclick: () => state.pick({ run: run.key, stage }),
    },
    h("span", { class: "unseen" }, `${runName(run)}, ${STAGES[stage]}: `),
    distribution(shown, dense, top),
    h("span", { class: "own" }, own),
    h("span", { class: "whole" }, measured(known.perplexity, tight, known.same)),
  );
}

function measured(one, tight, same) {
  if (!one) return h("span", { class: "none" }, "–");
  if (same) return [h("b", { class: "same" }, perplexity(one.value)), h("span", { class: "ratio as" }, `as ${same}`)];
  const error = one.ratio && `± ${decimal(one.error)}`;
  return [
    h("b", {}, perplexity(one.value)),
    one.ratio && h("span", { class: "ratio" }, tight ? times(one.ratio) : `${times(one.ratio)} ${error}`),
    tight && error && h("span", { class: "ratio" }, error),
  ];
}
