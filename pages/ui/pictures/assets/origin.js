// Where in the model a difference comes from: one run's output error less the other's, layer by layer.
//
// Drawn from the two runs' `map` (output errors of the final layers) and the pair's `layers_lower`.

import { column, decimal, dot, layerName, namedBlocks, percent, values } from "./marks.js";
import { h } from "./render.js";

const MINUS = "−";
const points = (v) => `${v > 0 ? "+" : MINUS}${decimal(Math.abs(100 * v), 1)} points`;

export function origin(shown) {
  const { state, data, a, ref, pair } = shown;
  if (!a.map || !ref.map)
    return h(
      "section",
      { class: "layers" },
      h("h3", {}, "Where in the model does it come from?"),
      h("p", {}, data.no_map),
    );
  const [mine, its] = [values(a.map), values(ref.map)];
  const change = mine.map((v, i) => v - its[i]); // NaN where a block has no such layer, or it is not pruned
  const pruned = (at) => !Number.isNaN(change[at]);
  const known = [...change.keys()].filter(pruned);
  const largest = known.reduce((best, i) => (Math.abs(change[i]) > Math.abs(change[best]) ? i : best), known[0] ?? 0);
  const focus = state.focus ?? (data.view.at >= 0 ? data.view.at : largest);
  const read = state.hover ?? focus;
  const errors = (at) => `${percent(mine[at])} against ${percent(its[at])}`;
  const all = { ...shown, change, pruned, most: Math.max(1e-4, ...known.map((i) => Math.abs(change[i]))), focus, read };
  const lower = `${a.label} has the lower output error in ${pair.layers_lower} of ${known.length} layers.`;
  return h(
    "section",
    { class: "layers", style: `--run:var(--${a.color});--other:var(--${ref.color})` },
    h("h3", {}, "Where in the model does it come from?"),
    h("p", { title: data.map_note }, lower, data.map_note && ` ${data.map_note}`),
    board(all),
    scale(all),
    h(
      "div",
      { class: "read" },
      h("span", {}, h("b", {}, layerName(read, data.linears)), " ", pruned(read) ? errors(read) : "not pruned"),
      pruned(read) && h("button", { class: "more", onclick: () => open(all, read) }, "Open this layer →"),
    ),
  );
}

function open({ state, a }, at) {
  state.focus = at;
  state.send("open", { run: a.key, at });
}

function board(all) {
  const { state, data, change, pruned, most, focus, read } = all;
  const { linears, blocks } = data;
  const wide = linears.length;
  const box = (at, attributes, inset = 0) =>
    h("rect", {
      x: Math.floor(at / wide) + inset,
      y: (at % wide) + inset,
      width: 1 - 2 * inset,
      height: 1 - 2 * inset,
      ...attributes,
    });
  const cell = (v, at) =>
    box(
      at,
      {
        class: v < 0 ? "mine" : "its",
        style: `--t:${Math.sqrt(Math.abs(v) / most).toFixed(3)}`,
        "data-at": at,
      },
      0.05,
    );
  const under = (event) => (event.target.dataset.at === undefined ? undefined : Number(event.target.dataset.at));
  const turn = (at) => {
    if (at === state.hover) return;
    state.hover = at;
    state.draw();
  };
  const said = pruned(focus) ? points(change[focus]) : "not pruned";
  const moves = { ArrowLeft: -wide, ArrowRight: wide, ArrowUp: -1, ArrowDown: 1 };
  const keys = (event) => {
    if (event.key === "Enter") pruned(focus) && open(all, focus);
    else if (moves[event.key]) {
      state.focus = Math.min(change.length - 1, Math.max(0, focus + moves[event.key]));
      state.draw();
    } else return;
    event.preventDefault();
  };
  const signs = change.map((v, at) => (v > 0 ? `M${Math.floor(at / wide) + 0.5} ${(at % wide) + 0.5}h.001` : ""));
  const svg = h(
    "svg",
    {
      viewBox: `0 0 ${blocks} ${wide}`,
      preserveAspectRatio: "none",
      role: "application",
      tabindex: 0,
      "aria-label": `Layers. ${layerName(focus, linears)}, ${said}. Arrow keys move, Enter opens.`,
      onclick: (event) => under(event) !== undefined && open(all, under(event)),
      onmousemove: (event) => turn(under(event)),
      onmouseleave: () => turn(undefined),
      onkeydown: keys,
    },
    h(
      "g",
      {},
      change.map((v, at) => pruned(at) && cell(v, at)),
    ),
    h("path", { class: "sign", d: signs.join("") }),
    box(read, { class: "halo" }),
    box(read, { class: "chosen" }),
  );
  return h(
    "div",
    { class: "board" },
    svg,
    linears.map((one, i) =>
      h("span", { class: "tick side-tick", style: `top:${(100 * (i + 0.5)) / wide}%` }, column(one)),
    ),
    namedBlocks(blocks).map((i) =>
      h("span", { class: "tick", style: `left:${(100 * (i + 0.5)) / blocks}%;top:100%` }, i || "block 0"),
    ),
  );
}

function scale({ a, ref, most }) {
  const at = [0, 0.25, 0.5, 0.75, 1];
  const tick = (t) =>
    h("span", { class: "tick", style: `left:${100 * t}%` }, +(400 * most * (t - 0.5) ** 2).toFixed(1));
  return h(
    "div",
    { class: "scale" },
    h("small", {}, h("b", {}, dot(a), a.label), h("br"), "lower, percentage points"),
    h("div", {}, at.map(tick)),
    h("small", {}, h("b", {}, dot(ref), ref.label), h("br"), "lower, with a dot"),
  );
}
