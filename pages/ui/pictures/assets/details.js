// One layer of one run at one stage: where each weight went, the mask and the weights of a corner, numbers, rounds.
//
// Drawn from `pictures.details.Details`: `view` is what is chosen, all else belongs to
// `stage` of the layer and run that were chosen when it was sent.

import { corner } from "./corner.js";
import { density } from "./density.js";
import { history, numbers } from "./history.js";
import { dot, inBlock, mark, STAGES } from "./marks.js";
import { picture } from "./picture.js";
import { h } from "./render.js";

function draw(state) {
  const { data } = state;
  return [
    head(state),
    h("div", { class: `columns ${data.stage}` }, density(state), corner(state), [
      h("div", { class: "side" }, numbers(data), history(state, data.rounds)),
    ]),
  ];
}

function head(state) {
  const { data, view } = state;
  const wide = data.linears.length;
  const block = Math.floor(view.at / wide);
  const linear = view.at % wide;
  const select = (label, value, names, change) =>
    h(
      "select",
      { "aria-label": label, value: String(value), onchange: (e) => change(Number(e.target.value)) },
      names.map((name, i) => h("option", { value: String(i) }, name)),
    );
  const blocks = Array.from({ length: data.blocks }, (_, i) => `block ${i}`);
  const run = (one) =>
    h(
      "button",
      { class: "chip", "aria-pressed": String(one.key === view.run), onclick: () => state.pick({ run: one.key }) },
      dot(one),
      one.name,
      one.origin && h("small", {}, `from ${one.origin}`),
    );
  const stage = (one) =>
    h(
      "button",
      { class: one, "aria-pressed": String(one === view.stage), onclick: () => state.pick({ stage: one }) },
      mark(one),
      STAGES[one],
    );
  return h(
    "header",
    {},
    h(
      "h2",
      {},
      select("Block", block, blocks, (to) => state.pick({ at: to * wide + linear })),
      " · ",
      select("Linear", linear, data.linears.map(inBlock), (to) => state.pick({ at: block * wide + to })),
    ),
    h("div", { class: "chips", role: "group", "aria-label": "Run" }, data.runs.map(run)),
    h("div", { class: "tabs", role: "group", "aria-label": "Stage" }, data.stages.map(stage)),
  );
}

export default picture("details", draw);
