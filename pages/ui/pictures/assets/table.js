// One row a run: its perplexity on one axis, its paired ratio to the reference on the other, and the same in words.
//
// Drawn from the runs' `value`, `ratio` and `seeds`, and from `pairs[run][reference]`: `log` and `error` of the paired
// ratio place the marks, its numbers are said as they came. The grey zone is where chance rules.

import { interval, ticks } from "./axis.js";
import { decimal, dot, perplexity, place, runName, times } from "./marks.js";
import { h } from "./render.js";

const PIN = "M5 1h6l-1 5 3 3v1H3V9l3-3zM8 10v5";
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];

export function table(shown) {
  const { rows, ref } = shown;
  const value = valueScale(shown);
  const ratio = ratioScale(shown);
  return h(
    "section",
    { class: `table${rows.length > 5 ? " many" : ""}`, style: `--rows:${rows.length}` },
    h(
      "div",
      { class: "head" },
      h("h3", {}, "How surprised is the model?", h("small", {}, "perplexity, × dense")),
      h("h3", {}, `Is it better than ${ref.label} on the same windows?`),
    ),
    rows.map((run) => row(shown, run, value, ratio)),
    h(
      "div",
      { class: "foot" },
      h("small", { class: "hint" }, "Pin: the reference.", h("br"), "Click: shown below."),
      valueAxis(shown, value),
      ratioAxis(ratio),
      key(shown),
    ),
  );
}

function valueScale({ data, rows }) {
  const dense = data.dense.value;
  const worst = Math.max(...rows.flatMap((run) => [run.value, ...(run.seeds ?? [])]));
  const log = worst > 15 * dense;
  const step = STEPS.find((one) => worst / one <= 5) ?? 1000;
  const from = log ? dense / 1.4 : 0;
  const scale = log ? Math.log : (v) => v;
  const linear = () => Array.from({ length: Math.floor(worst / step) + 1 }, (_, i) => i * step);
  return { at: (v) => place(scale(v), scale(from), scale(worst)), marks: log ? ticks(from, worst, 260, 36) : linear() };
}

function ratioScale({ state, data, rows, ref }) {
  const found = rows.map((run) => data.pairs[run.key]?.[ref.key]).filter(Boolean);
  const reach = [0, ...found.flatMap(({ log, error }) => [...interval(log, error), ...interval(0, error)])];
  const [least, most] = [Math.min(...reach), Math.max(...reach)];
  const pad = 0.05 * (most - least) || 0.1;
  const [low, high] = [least - pad, most + pad];
  const marks = ticks(Math.exp(low), Math.exp(high), state.narrow ? 180 : 364, 38);
  return { at: (log) => place(log, low, high), width: (log) => `${(100 * log) / (high - low)}%`, marks };
}

function row({ state, data, rows, ref, a, pinned }, run, value, ratio) {
  const is = run === ref;
  const pair = data.pairs[run.key]?.[ref.key];
  const compare = () => is || !pair || state.pick({ a: run.key });
  return h(
    "div",
    { class: `row${run === a ? " a" : ""}${is ? " ref" : ""}`, style: `--run:var(--${run.color})`, onclick: compare },
    pin(state, run, pinned, a),
    h(
      "button",
      {
        class: "who",
        disabled: is,
        "aria-pressed": String(run === a),
        title: is ? "" : `Look at ${runName(run)} against ${runName(ref)} below`,
      },
      dot(run),
      h("b", {}, run.name),
      run.origin && h("small", {}, rows.length > 5 ? run.origin : `from ${run.origin}`),
    ),
    h(
      "div",
      { class: "track" },
      h("i", { class: "stem", style: `left:${value.at(data.dense.value)};right:calc(100% - ${value.at(run.value)})` }),
      (run.seeds ?? []).map((seed) => h("i", { class: "seed", style: `left:${value.at(seed)}` })),
      h("i", { class: "point", style: `left:${value.at(run.value)}` }),
      h(
        "span",
        { class: "value", style: `left:${value.at(run.value)}` },
        h("b", {}, perplexity(run.value)),
        h("small", {}, times(run.ratio)),
      ),
    ),
    h("div", { class: "track forest" }, is ? reference(ratio) : pair && against(pair, ratio)),
    h(
      "div",
      { class: "said" },
      is
        ? isReference({ data, rows, pinned }, run)
        : pair
          ? words(pair, data)
          : h("span", {}, data.unpaired[run.key][ref.key]),
    ),
  );
}

function pin(state, run, pinned, a) {
  const on = run === pinned;
  const turn = (event) => {
    event.stopPropagation();
    state.pick({ ref: on ? "" : run.key, a: run === a ? "" : state.view.a });
  };
  return h(
    "button",
    {
      class: `pin${on ? " on" : ""}`,
      "aria-pressed": String(on),
      "aria-label": `Pin ${runName(run)} as the reference`,
      title: on ? "Unpin: the next best is the reference" : "Make it the reference",
      onclick: turn,
    },
    h("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, h("path", { d: PIN })),
  );
}

const reference = ({ at }) => [
  h("i", { class: "one", style: `left:${at(0)}` }),
  h("i", { class: "point ring", style: `left:${at(0)}` }),
];

function against({ log, error, window_error: inner, sure }, { at, width }) {
  const box = (name, [low, high]) => h("i", { class: name, style: `left:${at(low)};width:${width(high - low)}` });
  return [
    box("doubt", interval(0, error)),
    inner && box("doubt inner", interval(0, inner)),
    h("i", { class: "one", style: `left:${at(0)}` }),
    box("bar", interval(log, error)),
    h("i", { class: `point${sure ? "" : " open"}`, style: `left:${at(log)}` }),
  ];
}

const isReference = ({ data, rows, pinned }, run) => [
  h("b", {}, "the reference"),
  h("small", {}, pinned ? "pinned" : data.pairs[rows[0].key]?.[run.key] && "the next best"),
];

function words({ log, ratio, low, high, sure, lower, doubt = "undecided" }, { windows }) {
  const side = log < 0 ? "better" : "worse";
  const ours = log < 0 ? lower : windows - lower;
  return [
    h(
      "span",
      {},
      h("b", {}, times(ratio)),
      sure ? h("b", { class: "sure" }, `clearly ${side}`) : h("span", { class: "sure" }, doubt),
    ),
    h("small", {}, `${decimal(low)} to ${decimal(high)} · ${side} on ${ours} of ${windows}`),
  ];
}

function valueAxis({ data }, { at, marks }) {
  const dense = at(data.dense.value);
  return h(
    "div",
    { class: "track" },
    h("i", { class: "dense-line", style: `left:${dense}` }),
    h("b", { class: "tick dense-name", style: `left:${dense}` }, `dense ${perplexity(data.dense.value)}`),
    marks.map((v) => h("span", { class: "tick", style: `left:${at(v)}` }, v)),
  );
}

function ratioAxis({ at, marks }) {
  const one = at(0);
  return h(
    "div",
    { class: "track" },
    marks.map((v) => h("span", { class: `tick${v === 1 ? " at1" : ""}`, style: `left:${at(Math.log(v))}` }, v)),
    parseFloat(one) > 20 && h("small", { class: "way", style: `right:calc(100% - ${one} + 24px)` }, "← better"),
    parseFloat(one) < 80 && h("small", { class: "way", style: `left:calc(${one} + 24px)` }, "worse →"),
  );
}

function key({ data, rows, ref }) {
  const seeded = rows.some((run) => data.pairs[run.key]?.[ref.key]?.window_error);
  return h(
    "small",
    { class: "key" },
    h("i", { class: "doubt" }),
    "inside: may be chance",
    h("span", {}, h("br"), seeded ? "inner: windows alone, without seeds" : "bars: ± 2 standard errors"),
  );
}
