// How a step of the Walk is predicted: one of a few sketches or names, or a number on a slider with three presets.
//
// Drawn from an answer's `options` (with a `sketch`, a curve over the dense one) or its `presets`, `unit` and `top`.

import { curve } from "./marks.js";
import { h } from "./render.js";
import { trace } from "./well.js";

export const guess = (shown, answer) => (answer.options ? choices(shown, answer) : slider(shown, answer));

// How a class has guessed: a bar a value, over the slider's axis.
function heights(votes, top) {
  const every = Object.entries(votes);
  const most = Math.max(1, ...every.map(([, many]) => many));
  const bar = ([value, many]) =>
    h("i", {
      title: `${value}: ${many}`,
      style: `left:${(100 * Math.min(value, top)) / top}%;height:${(100 * many) / most}%`,
    });
  return h("div", { class: "votes", role: "img", "aria-label": counted(votes) }, every.map(bar));
}

function counted(votes) {
  const many = Object.values(votes).reduce((sum, one) => sum + one, 0);
  return `${many} of the class ${many === 1 ? "has" : "have"} guessed`;
}

function choices({ view, told, pick, votes }, answer) {
  const every = votes ? Object.values(votes).reduce((sum, one) => sum + one, 0) : 0;
  const option = ({ name, note, sketch }, i) => {
    const key = answer.presets[i].guess;
    const mine = view.guess === key;
    const hit = told && answer.right === key;
    const state = `${hit ? "hit" : told ? "wrong" : ""}${mine ? " picked" : ""}`;
    return h(
      "button",
      {
        class: `option ${state}${sketch ? "" : " plain"}`,
        style: votes && `--voted:${(100 * (votes[key] ?? 0)) / Math.max(1, every)}%`,
        "aria-pressed": String(mine),
        disabled: view.shown,
        onclick: () => pick({ guess: key }),
      },
      h("span", { class: "key" }, hit ? "✓" : i + 1),
      sketch && drawn(answer, sketch),
      h("span", {}, h("b", {}, name), note && h("small", {}, note)),
      h("small", {}, every ? `${votes[key] ?? 0} of ${every}` : told && mine ? "your guess" : ""),
    );
  };
  return h("div", { class: "options", role: "group", "aria-label": "Your guess" }, answer.options.map(option));
}

function drawn({ dense }, sketch) {
  const list = curve(dense);
  const top = 1.05 * Math.max(...list);
  return h(
    "svg",
    { viewBox: `0 0 ${list.length - 1} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { class: "outline", d: trace(list, top) }),
    h("path", { class: "sketch", d: trace(curve(sketch), top) }),
  );
}

function slider({ view, pick, turn, votes }, { presets, unit, top, start, about }) {
  const said = view.guess === "" ? null : Number(view.guess);
  const to = (event) => ({ guess: event.target.value });
  const preset = ({ name, guess: value }, i) =>
    h(
      "button",
      {
        class: view.guess === value ? "picked" : "",
        "aria-pressed": String(view.guess === value),
        disabled: view.shown,
        onclick: () => pick({ guess: value }),
      },
      h("span", { class: "key" }, i + 1),
      name,
    );
  return h(
    "div",
    { class: "slide" },
    votes && h("p", { class: "voted" }, counted(votes)),
    votes && heights(votes, top),
    h("p", {}, h("b", {}, said === null ? "?" : `${said}${unit}`), said === null ? "Drag, or press 1, 2 or 3." : about),
    h("input", {
      type: "range",
      min: 0,
      max: Math.round(top),
      step: 1,
      value: String(said ?? start),
      disabled: view.shown,
      "aria-label": "Your guess",
      "aria-valuetext": `${said ?? start}${unit}`,
      oninput: (event) => turn(to(event)),
      onchange: (event) => pick(to(event)),
    }),
    h("div", { class: "presets", role: "group", "aria-label": "Guesses" }, presets.map(preset)),
  );
}

// The guess as a dashed line through all bars.
export function guessLine({ view }, { top, start, unit }) {
  if (view.shown && !view.guess) return null;
  const said = view.guess === "" ? null : view.guess;
  return h(
    "div",
    { class: `over mine${view.shown ? " done" : ""}` },
    h(
      "div",
      { class: "guess", style: `left:${(100 * (said ?? start)) / top}%` },
      h("b", {}, said === null ? "drag to your guess" : `your guess: ${said}${unit}`),
    ),
  );
}

export function dragging({ view, pick, turn }, { top }) {
  const drag = (event) => {
    if (view.shown || (event.type === "pointermove" && !event.buttons)) return;
    const box = event.currentTarget.getBoundingClientRect();
    if (event.type === "pointerdown") event.currentTarget.setPointerCapture(event.pointerId);
    const value = Math.round(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * top);
    (event.type === "pointerup" ? pick : turn)({ guess: String(Math.max(1, value)) });
  };
  return { onpointerdown: drag, onpointermove: drag, onpointerup: drag };
}
