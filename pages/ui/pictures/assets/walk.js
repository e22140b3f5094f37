// A step of the Walk: a question, a prediction, the answer with its picture, and why.
//
// Drawn from `pictures.walk.Walk`: `step` is the one that was chosen when it was sent, its `answer` is one of four
// kinds. What was guessed at other steps is remembered while the page stands; the address knows the present one's.

import { bars, rank } from "./bars.js";
import { guess } from "./guess.js";
import { picture, still } from "./picture.js";
import { h } from "./render.js";
import { share } from "./share.js";
import { shapes } from "./shapes.js";

const ANSWERS = { bars, rank, share, shape: shapes };
const REVEAL = 2200; // milliseconds
const TOLD = 0.6; // of them, until the answer is said in words

function opened(state) {
  state.seen = {};
  const onkeydown = (event) => keys(event, state);
  addEventListener("keydown", onkeydown);
  return () => {
    removeEventListener("keydown", onkeydown);
    cancelAnimationFrame(state.timer);
  };
}

function reveal(state) {
  state.pick({ shown: true });
  if (still.matches) return;
  const since = performance.now();
  const tick = (now) => {
    state.t = Math.min(1, Math.max(0, (now - since) / REVEAL));
    state.draw();
    if (state.t < 1) state.timer = requestAnimationFrame(tick);
  };
  cancelAnimationFrame(state.timer);
  state.t = 0;
  state.timer = requestAnimationFrame(tick);
  state.draw();
}

function go(state, step) {
  const { view, data } = state;
  if (step < 1 || step > data.titles.length) return;
  state.seen[view.step] = { guess: view.guess, shown: view.shown };
  cancelAnimationFrame(state.timer);
  state.t = 1;
  state.pick({ guess: "", shown: false, ...state.seen[step], step });
}

const again = (state) => {
  cancelAnimationFrame(state.timer);
  state.pick({ shown: false, guess: "" });
};
const on = (state) => (state.view.shown || !here(state) ? go(state, state.view.step + 1) : reveal(state));
const here = ({ data, view }) => data.step?.number === view.step && data.step;

const PRESSED = "a, button, summary, [role^=menuitem], [role=option]";

function keys(event, state) {
  const target = event.composedPath()[0];
  const typed = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && target.type !== "range";
  if (event.ctrlKey || event.metaKey || event.altKey || typed || event.defaultPrevented) return;
  const step = here(state);
  const preset = step && !state.view.shown && step.answer.presets[Number(event.key) - 1];
  if (preset) state.pick({ guess: preset.guess });
  else if (event.key === "Enter" && !target.closest?.(PRESSED)) on(state);
  else if (event.key === "ArrowRight" && target.type !== "range") go(state, state.view.step + 1);
  else if (event.key === "ArrowLeft" && target.type !== "range") go(state, state.view.step - 1);
  else return;
  event.preventDefault();
}

function draw(state) {
  const step = here(state);
  const t = !state.view.shown ? 0 : (state.t ?? 1);
  const { pick, data } = state;
  const shown = { state, step, view: state.view, t, told: t > TOLD, pick, turn: state.turn, votes: data.votes };
  return [
    h("section", { class: "left" }, way(state), step && asked(shown), turn(state, step)),
    h("section", { class: "right", "aria-label": "Picture" }, step && ANSWERS[step.answer.kind](shown, step.answer)),
  ];
}

function asked(shown) {
  const { step, told } = shown;
  return [
    h("p", { class: "before" }, step.before),
    h("h2", {}, step.question),
    guess(shown, step.answer),
    h(
      "div",
      { class: "answer", "aria-live": "polite" },
      told && [h("h3", {}, step.said), verdict(shown), h("p", {}, step.why)],
    ),
  ];
}

function verdict({ step, view }) {
  const { right, value, unit } = step.answer;
  if (!view.guess) return null;
  if (right) return h("b", {}, view.guess === right ? "You were right." : "");
  const off = Math.round(value) - Number(view.guess);
  const how = off ? `${Math.abs(off)} too ${off > 0 ? "low" : "high"}` : "exactly";
  return h("b", {}, `You said ${view.guess}${unit}: ${how}.`);
}

function way(state) {
  const { view, data } = state;
  const at = (number) => (number === view.step ? "here" : number < view.step ? "past" : "");
  const link = (title, i) =>
    h("button", {
      class: at(i + 1),
      title: `${i + 1} · ${title}`,
      "aria-label": `Step ${i + 1}: ${title}`,
      "aria-current": i + 1 === view.step ? "step" : null,
      onclick: () => go(state, i + 1),
    });
  return h(
    "nav",
    { class: "way", "aria-label": "Steps" },
    h("span", {}, `${view.step} of ${data.titles.length}`),
    data.titles.map(link),
  );
}

function turn(state, step) {
  const { view, data } = state;
  const { shown, guess: said } = view;
  const last = view.step === data.titles.length;
  const next = last ? null : "Next";
  const label = shown || !step ? next : said ? "Reveal" : "Reveal without a guess";
  return h(
    "div",
    { class: "turn" },
    h("button", { class: "back", onclick: () => go(state, view.step - 1), disabled: view.step === 1 }, "Back"),
    shown && last
      ? h("a", { class: "go", href: data.present ? "studio?present=1" : "studio", target: "_self" }, "On to the Studio")
      : h(
          "button",
          { class: `go${step && !shown && !said ? " quiet" : ""}`, disabled: !label, onclick: () => on(state) },
          label,
          label && h("kbd", {}, "↵"),
        ),
    h("button", { class: "again", onclick: () => again(state), disabled: !shown }, "Ask again"),
  );
}

export default picture("walk", draw, opened);
