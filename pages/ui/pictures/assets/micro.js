// The 8×8 example: its matrices two abreast, a number in every cell, coloured by sign and size.
//
// Drawn from `matrices`: values by row, and the cells that have no colour, or a frame.

import { decimal } from "./marks.js";
import { picture } from "./picture.js";
import { h } from "./render.js";

const GROUP = 4; // columns up to a gap
const track = (column) => 2 + column + Math.floor(column / GROUP); // after that of the row's number
const written = (v) => decimal(v).replace(/^−?0\.00$/, "0");

function draw({ data }) {
  const places = [];
  for (const one of data.matrices)
    if (one.below) places.at(-1).push(one);
    else places.push([one]);
  return [
    places.map((list) => h("section", { class: "place" }, list.map(matrix))),
    data.note && h("p", { class: "place note" }, data.note),
    h("i", { class: data.low ? "low" : "", hidden: "" }),
  ];
}

function matrix(one) {
  const wide = one.rows[0].length;
  const most = Math.max(...one.rows.flat().map(Math.abs)) || 1;
  const kinds = { faded: new Set(one.faded), lost: new Set(one.lost), returned: new Set(one.returned) };
  const groups = Array.from({ length: Math.ceil(wide / GROUP) }, (_, i) => Math.min(GROUP, wide - GROUP * i));
  const columns = groups.map((many) => `repeat(${many}, minmax(0, 1fr))`).join(" 10px ");
  const first = one.numbered ? 2 : 1; // the row of tracks that the values begin in
  const cell = (v, i, j) => {
    const at = i * wide + j;
    const kind = Object.keys(kinds).filter((name) => kinds[name].has(at));
    const shade = `--t:${(Math.abs(v) / most).toFixed(3)}`;
    const place = `grid-area:${first + i} / ${track(j)};${shade}`;
    return h("span", { role: "cell", class: `entry ${sign(v)} ${kind.join(" ")}`, style: place }, written(v));
  };
  const head = (role, number, area) => h("span", { role, class: "head", style: `grid-area:${area}` }, number);
  const heads = one.numbered && one.rows[0].map((_, j) => head("columnheader", j + 1, `1 / ${track(j)}`));
  const row = (values, i) =>
    h(
      "div",
      { role: "row" },
      one.numbered && head("rowheader", i + 1, `${first + i} / 1`),
      values.map((v, j) => cell(v, i, j)),
    );
  const last = track(wide - 1) + 1;
  const frames = [
    one.row !== undefined && [first + one.row, track(0), first + one.row + 1, last],
    one.column !== undefined && [first, track(one.column), first + one.rows.length, track(one.column) + 1],
  ];
  return [
    h("h2", {}, one.title),
    h(
      "div",
      { role: "table", "aria-label": one.alt, class: "matrix", style: `grid-template-columns:26px ${columns}` },
      heads && h("div", { role: "row" }, heads),
      one.rows.map(row),
      frames.map((area) => area && h("i", { class: "frame", style: `grid-area:${area.join(" / ")}` })),
    ),
  ];
}

const sign = (v) => (v < 0 ? "negative" : v > 0 ? "positive" : "");

export default picture("micro", draw);
