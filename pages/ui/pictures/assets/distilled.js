// The last station of the phase strip, where models are distilled after their phases: for each run its perplexity, the
// paired change against its one-shot model, and the divergence from the dense model step by step.
//
// Drawn from `runs[].then`: `done` of `of` steps, `seen` and `held_out` (nats a token by step, NaN where not measured).

import { change, decimal, dot, line, mark, NONE, perplexity, times, values } from "./marks.js";
import { h } from "./render.js";

const WIDE = 100,
  HIGH = 100;

export const isAsked = (data) => data.runs.some((run) => run.then);

export function distilled({ data, nameOf }) {
  const runs = data.runs.filter((run) => run.then);
  const works = data.working?.stage === "distilled" && runs.find((run) => run.key === data.working.run);
  const part = (run) => (run.then.of ? run.then.done / run.then.of : 0);
  const share = works ? part(works) : runs.reduce((sum, run) => sum + part(run), 0) / runs.length;
  const state = works ? "works" : share === 1 ? "done" : "";
  return h(
    "div",
    { class: `station distilled ${state}` },
    h("h3", {}, mark("distilled"), "distilled", h("i", { class: "track", style: `--share:${share}` })),
    h(
      "div",
      { class: "rows" },
      runs.map((run) => row(data, run, run === works, nameOf(run))),
    ),
  );
}

function row(data, run, works, name) {
  const { then } = run;
  const value = works
    ? h("span", { class: "doing" }, h("b", {}, then.done), ` of ${then.of || "…"} steps · ${data.working.doing}`)
    : figure(then);
  const gain = then.change && h("b", { class: "gain", title: about(then) }, change(then.change));
  return h(
    "div",
    { class: "values", title: then.why },
    h("span", { class: "run" }, dot(run), name),
    value,
    works ? curve(then) : [gain || h("span", {}), curve(then)],
  );
}

function figure({ perplexity: measured }) {
  if (!measured) return [h("span", { class: "none" }, NONE), h("span", {})];
  return [h("b", {}, perplexity(measured.value)), h("span", { class: "ratio" }, times(measured.ratio))];
}

const about = ({ change: paired }) =>
  `Distilled against ${paired.against}, paired window by window: ${change(paired)}. Retraining, no longer one-shot.`;

// Both divergences on one scale from 0: each training window a faint step, the held-out windows a line.
function curve(then) {
  const [seen, held] = [values(then.seen), values(then.held_out)];
  const known = (list) => list.map((v, i) => [i, v]).filter(([, v]) => !Number.isNaN(v));
  const judged = known(held);
  if (judged.length < 2) return null;
  const top = Math.max(...[...known(seen), ...judged].map(([, v]) => v)) || 1;
  const path = (points) =>
    line(
      points,
      ([i]) => ((WIDE * i) / then.of).toFixed(1),
      ([, v]) => (HIGH - (HIGH * v) / top).toFixed(1),
    );
  const [first, last] = [judged[0][1], judged.at(-1)[1]];
  const told =
    `Divergence from the dense model on held-out text, ${decimal(first, 3)} to ${decimal(last, 3)} nats a token in ` +
    `${judged.at(-1)[0]} steps; faint: on the windows that it learns from.`;
  return h(
    "svg",
    { class: "curve", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": told },
    h("title", {}, told),
    h("line", { class: "base", x1: 0, x2: WIDE, y1: HIGH, y2: HIGH }),
    h("path", { class: "seen", d: path(known(seen)) }),
    h("path", { class: "edge", d: path(judged) }),
  );
}
