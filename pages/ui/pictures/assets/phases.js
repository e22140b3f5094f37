// The phase strip: a line for each phase that fills as blocks finish, under it the perplexity of every run.
//
// Drawn from `runs[].cells[stage]`: `done` blocks, `perplexity`, or `why` there is none; `working` names the run, the
// stage and what is being done; `change` is the paired change of a run's final model against its base pruner's.

import { change, dot, mark, NONE, perplexity, PHASES, STAGES, times } from "./marks.js";
import { distilled, isAsked } from "./distilled.js";
import { h } from "./render.js";

export function phases({ data }) {
  // A method's sparse model is its base pruner's: said once, there.
  const takes = (stage) => data.runs.filter((run) => run.cells[stage] && (stage !== "sparse" || !run.base));
  const twice = new Set(data.runs.map((run) => run.name).filter((name, i, all) => all.indexOf(name) !== i));
  const nameOf = (run) => (twice.has(run.name) && run.origin ? `${run.name} · ${run.origin}` : run.name);
  const last = isAsked(data) && distilled({ data, nameOf });
  const dense = h("div", { class: "values" }, figure(data.dense, "not measured yet"));
  return [
    station("dense", 1, "done", dense),
    PHASES.map((stage) => {
      const runs = takes(stage);
      const works = data.working?.stage === stage && runs.find((run) => run.key === data.working.run);
      const finished = works ? works.cells[stage].done : runs.reduce((sum, run) => sum + run.cells[stage].done, 0);
      const part = finished / (data.blocks * (works ? 1 : runs.length) || 1);
      const rows = runs.map((run) => row(data, run, stage, run === works, nameOf(run), last || twice.has(run.name)));
      return station(stage, part, works ? "works" : part === 1 ? "done" : "", rows);
    }),
    last,
  ];
}

function station(stage, part, state, rows) {
  const track = h("i", { class: "track", style: `--share:${part}` });
  const name = h("h2", {}, mark(stage), STAGES[stage], track);
  return h("div", { class: `station ${stage} ${state}` }, name, h("div", { class: "rows" }, rows));
}

function row(data, run, stage, works, name, brief) {
  const cell = run.cells[stage];
  const whole = cell.done === data.blocks;
  const value = works
    ? h("span", { class: "doing" }, h("b", {}, cell.done), ` of ${data.blocks} blocks · ${data.working.doing}`)
    : figure(cell.perplexity, whole && !cell.perplexity && "not measured");
  const gain = whole && stage === "final" && run.change && gained(run.change, brief);
  return h("div", { class: "values", title: cell.why }, h("span", { class: "run" }, dot(run), name), value, gain);
}

function figure(measured, otherwise) {
  if (!measured) return [h("span", { class: "none" }, NONE), otherwise && h("span", { class: "ratio" }, otherwise)];
  const ratio = measured.ratio && h("span", { class: "ratio" }, times(measured.ratio));
  return [h("b", {}, perplexity(measured.value)), ratio];
}

function gained(paired, brief) {
  const about = `Final against ${paired.against}, paired window by window: ${change(paired)}`;
  return h("b", { class: "gain", title: about }, change(paired), brief ? "" : ` vs ${paired.against}`);
}
