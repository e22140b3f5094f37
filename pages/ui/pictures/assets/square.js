// A square of cells with a cursor: by mouse, or by the arrow keys once it has the focus. What lies under the cursor is
// said by the picture, in a line of its own.

import { h } from "./render.js";

// Steps across and downwards.
export const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Cells as one path: a square of 4,096 would be as many nodes.
export const cells = (list) => list.map(([x, y]) => `M${x} ${y}h1v1h-1z`).join("");

// `name` is the cursor's place in the state, [x, y] or nothing; `content` the cells as paths.
export function square(state, { name, wide, high, label, content, ticks }) {
  const at = state[name];
  const turn = (place) => {
    if (String(place) === String(state[name])) return;
    state[name] = place;
    state.draw();
  };
  const limit = (v, many) => Math.min(many - 1, Math.max(0, v));
  const follow = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = limit(Math.floor((wide * (event.clientX - box.left)) / box.width), wide);
    turn([x, limit(Math.floor((high * (event.clientY - box.top)) / box.height), high)]);
  };
  const keys = (event) => {
    const move = KEYS[event.key];
    if (!move) return;
    const [x, y] = at ?? [Math.floor(wide / 2), Math.floor(high / 2)];
    turn([limit(x + move[0], wide), limit(y + move[1], high)]);
    event.preventDefault();
  };
  const cursor = at && h("rect", { class: "cursor", x: at[0], y: at[1], width: 1, height: 1 });
  return h(
    "div",
    {
      class: "square",
      tabindex: 0,
      role: "application",
      "aria-label": `${label}. Arrow keys move from cell to cell.`,
      onmousemove: follow,
      onmouseleave: () => turn(undefined),
      onblur: () => turn(undefined),
      onkeydown: keys,
    },
    h(
      "svg",
      { viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      h("g", {}, content),
      cursor,
    ),
    ticks,
  );
}
