// The model map: a cell for every layer, blocks by linears, coloured by one quantity; the narrow page lays it down.
//
// Drawn from `map`: the `values` of one run, stage and quantity, and of the rounds on the way there; `top` is the
// largest over every run and stage, so that colours stay comparable.

import { color, column, dot, layerName, namedBlocks, percent, roundEnd, STAGES, values } from "./marks.js";
import { h } from "./render.js";
import { KEYS } from "./square.js";

export function map({ state, data, view, turned }) {
  const { blocks, linears } = data;
  const wide = linears.length;
  const run = data.runs.find((one) => one.key === data.map.run);
  const round = data.map.rounds?.[turned?.number] && data.map.run === data.rounds.run && turned.number;
  const known = round ? data.map.rounds[round] : data.map.values;
  const shown = known ? values(known) : [];
  const quantity = data.quantities.find((one) => one.key === data.map.quantity);
  const top = roundEnd(Math.max(0.01, data.map.top));
  const power = quantity.roots ? 2 : 1; // most errors are small: their square roots are told apart better
  const focus = state.focus ?? view.at;
  const read = state.hover ?? focus;
  const board = { state, shown, top, power, blocks, linears, wide, focus, at: view.at };
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((t) =>
    h("span", { style: `left:${100 * t}%` }, `${+(100 * top * t ** power).toFixed(1)}${t === 1 ? " %" : ""}`),
  );
  return [
    h(
      "header",
      {},
      h("h2", {}, select(state, data, quantity)),
      h(
        "p",
        {},
        run && h("span", { class: "run" }, dot(run), run.name),
        run && ` · ${STAGES[data.map.stage]}`,
        round && ` · round ${round}`,
      ),
    ),
    h("div", { class: "board", style: run && `--run:${color(run.color)}` }, axes(board, state.narrow), cells(board)),
    h(
      "footer",
      { style: run && `--run:${color(run.color)}` },
      h(
        "p",
        { class: "read" },
        h("span", {}, layerName(read, linears), focus !== view.at && read === focus && ", Enter selects"),
        h("b", {}, known ? percent(shown[read]) : "no run yet"),
      ),
      known && h("div", { class: "scale" }, ticks),
      data.live &&
        h(
          "label",
          { class: "follow" },
          h("input", {
            type: "checkbox",
            checked: view.follow,
            onchange: (e) => state.pick({ follow: e.target.checked }),
          }),
          "follow the newest block",
        ),
    ),
  ];
}

function select(state, data, quantity) {
  const options = data.quantities.map(({ key, name, available }) =>
    h("option", { value: key, disabled: !available }, name),
  );
  return h(
    "select",
    {
      value: quantity.key,
      "aria-label": "Colour shows",
      title: quantity.about,
      onchange: (e) => state.pick({ quantity: e.target.value }),
    },
    options,
  );
}

function axes({ blocks, linears, wide }, narrow) {
  const at = (i, many, side) => `${side}:${((i + 0.5) / many) * 100}%`;
  return [
    h(
      "div",
      { class: "blocks" },
      namedBlocks(blocks).map((i) => h("span", { style: at(i, blocks, narrow ? "left" : "top") }, i)),
    ),
    h(
      "div",
      { class: "linears" },
      linears.map((linear, i) => h("span", { style: at(i, wide, narrow ? "top" : "left") }, column(linear))),
    ),
  ];
}

function cells({ state, shown, top, power, blocks, linears, wide, focus, at: chosen }) {
  const { narrow } = state;
  const place = (at) => (narrow ? [Math.floor(at / wide), at % wide] : [at % wide, Math.floor(at / wide)]);
  const box = (at, attributes, inset = 0) => {
    const [x, y] = place(at);
    return h("rect", { x: x + inset, y: y + inset, width: 1 - 2 * inset, height: 1 - 2 * inset, ...attributes });
  };
  const cell = (at) => {
    const v = shown[at],
      open = v === undefined || Number.isNaN(v);
    const said = `${layerName(at, linears)}, ${open ? (state.data.live ? "not yet" : "not recorded") : percent(v)}`;
    const style = open ? "" : `--t:${((Math.max(0, Math.min(v, top)) / top) ** (1 / power)).toFixed(3)}`;
    const role = { role: "gridcell", "aria-label": said, "aria-selected": at === chosen };
    return box(at, { id: `layer-${at}`, class: open ? "open" : "known", style, "data-at": at, ...role }, 0.04);
  };
  const row = (_, block) =>
    h(
      "g",
      { role: "row" },
      Array.from({ length: wide }, (__, i) => cell(block * wide + i)),
    );
  const choose = (at) => ((state.focus = null), state.pick({ at, follow: false }));
  const hover = (at) => at !== state.hover && ((state.hover = at), state.draw());
  const under = (e) => (e.target.dataset.at === undefined ? null : Number(e.target.dataset.at));
  const move = ([dx, dy]) => {
    const x = Math.min(wide - 1, Math.max(0, (focus % wide) + (narrow ? dy : dx)));
    const y = Math.min(blocks - 1, Math.max(0, Math.floor(focus / wide) + (narrow ? dx : dy)));
    state.focus = y * wide + x;
    state.draw();
  };
  return h(
    "svg",
    {
      viewBox: narrow ? `0 0 ${blocks} ${wide}` : `0 0 ${wide} ${blocks}`,
      preserveAspectRatio: "none",
      role: "grid",
      tabindex: 0,
      "aria-label": "Layers, blocks by linears",
      "aria-activedescendant": `layer-${focus}`,
      onclick: (e) => under(e) !== null && choose(under(e)),
      onmousemove: (e) => hover(under(e)),
      onmouseleave: () => hover(null),
      onblur: () => ((state.focus = null), state.draw()),
      onkeydown: (e) => {
        if (e.key === "Enter" || e.key === " ") choose(focus);
        else if (KEYS[e.key]) move(KEYS[e.key]);
        else return;
        e.preventDefault();
      },
    },
    h("g", {}, Array.from({ length: blocks }, row)),
    box(chosen, { class: "halo" }),
    box(chosen, { class: "chosen" }),
    focus !== chosen && [box(focus, { class: "halo" }), box(focus, { class: "focus" })],
  );
}
