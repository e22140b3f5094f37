// A slider over the recorded rounds of a layer: turns the picture while dragged, picks when released.

import { h } from "./render.js";

export function slider(state, rounds, at) {
  const round = (event) => ({ round: rounds[event.target.value].number });
  return h("input", {
    type: "range",
    min: 0,
    max: rounds.length - 1,
    step: 1,
    value: String(at),
    "aria-label": "Round",
    "aria-valuetext": `round ${rounds[at].number}`,
    disabled: rounds.length < 2,
    oninput: (event) => state.turn(round(event)),
    onchange: (event) => state.pick(round(event)),
  });
}
