// Compare: the answer in words; perplexities and paired ratios on the same rows; one pair, window by window and layer
// by layer. One pair governs the picture: the clicked row against the reference.
//
// Drawn from `pictures.compare.Compare`: `rows` are the chosen runs, best first, with the `pairs` among them; which are
// offered, pinned and clicked is in `view`.

import { dot, runName } from "./marks.js";
import { origin } from "./origin.js";
import { picture } from "./picture.js";
import { h } from "./render.js";
import { table } from "./table.js";
import { windows } from "./windows.js";

function draw(state) {
  const { data, view } = state;
  const rows = labelled(data.rows.map((key) => data.runs.find((run) => run.key === key)));
  const of = (key) => rows.find((run) => run.key === key);
  const pinned = of(view.ref);
  const ref = pinned ?? of(data.ref);
  const clicked = of(view.a);
  const a =
    clicked && clicked !== ref
      ? clicked
      : (rows.find((run) => run.key === data.a && run !== ref) ?? rows.find((run) => run !== ref));
  const pair = a && data.pairs[a.key]?.[ref.key];
  const shown = { state, data, view, rows, ref, a, pinned, pair };
  return [
    choice(state),
    answer(data),
    rows.length > 1 && table(shown),
    pair && h("section", { class: "pair" }, windows(shown), origin(shown)),
  ];
}

// Runs of one name are told apart by what they start from.
function labelled(rows) {
  const twice = (run) => rows.filter((one) => one.name === run.name).length > 1;
  return rows.map((run) => ({ ...run, label: twice(run) ? runName(run) : run.name }));
}

function choice({ data, view, pick }) {
  const chip = (run) => {
    const on = view.runs.includes(run.key);
    const next = on ? view.runs.filter((key) => key !== run.key) : [...view.runs, run.key];
    const attributes = {
      class: "chip",
      "aria-pressed": String(on),
      disabled: next.length < 2 || next.length > data.most,
      title: on ? "Click: leave it out" : "Click: compare it too",
      onclick: () => pick({ runs: next }),
    };
    return h("button", attributes, dot(run), run.name, run.origin && h("small", {}, `from ${run.origin}`));
  };
  return h("section", { class: "chips choice", "aria-label": "Runs" }, data.runs.map(chip));
}

function answer({ answer: said, about }) {
  return h(
    "section",
    { class: "answer", "aria-live": "polite" },
    h("h2", {}, said.headline),
    h("small", { class: "about" }, about),
    h("p", {}, said.verdict && h("b", {}, said.verdict), ` ${said.detail}`),
  );
}

export default picture("compare", draw);
