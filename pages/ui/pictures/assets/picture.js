// The life of a picture: its state, what is picked in it, and when it is drawn.
//
// A pick is applied at once and sent to the page, which answers with new numbers. Every pick has a number of its own:
// an answer to an older pick brings numbers, but does not undo the newer choice.

import { patch } from "./render.js";

const NARROW = 900; // CSS pixels under which a picture stacks its parts
const states = new WeakMap();

export const still = matchMedia("(prefers-reduced-motion: reduce)");

// The default export of a picture's module. `draw(state)` returns its elements; `opened(state)` starts what moves by
// itself and may return a function that stops it.
export function picture(name, draw, opened = () => undefined) {
  return (component) => {
    const {
      parentElement,
      data: [data],
      setStateValue,
      setTriggerValue,
    } = component;
    const root = parentElement.querySelector(`.${name}`);
    let state = states.get(parentElement);
    const first = !state;
    if (first) {
      state = { view: data.view, n: data.n };
      states.set(parentElement, state);
      state.observer = new ResizeObserver(() => state.draw());
    }
    if (data.n >= state.n) state.view = data.view;
    else if (data.view.follow && state.view.follow) state.view = { ...state.view, at: data.view.at };
    Object.assign(state, { data, n: Math.max(state.n, data.n) });
    root.classList.toggle("present", data.present);
    state.draw = () => {
      // A dialog hangs outside the app's element, whose colour scheme says which of two colours is meant.
      root.style.colorScheme = getComputedStyle(app()).colorScheme;
      if (data.present) root.style.setProperty("--zoom", fitting(root));
      state.narrow = root.getBoundingClientRect().width / zoom(root) < NARROW;
      root.classList.toggle("narrow", state.narrow);
      patch(root, draw(state));
    };
    // Until a slider is let go nothing is sent; answers under way must not turn it back.
    state.turn = (change) => {
      state.view = { ...state.view, ...change };
      state.n += 1;
      state.draw();
    };
    state.pick = (change) => {
      state.turn(change);
      setStateValue("pick", { ...state.view, n: state.n });
    };
    state.send = (event, value) => setTriggerValue(event, value);
    state.draw();
    if (first) {
      state.observer.observe(root);
      state.theme = new MutationObserver(() => state.draw());
      state.theme.observe(app(), { attributeFilter: ["class"] });
      state.stop = opened(state);
    }
    return () => {
      state.observer.disconnect();
      state.theme.disconnect();
      state.stop?.();
      states.delete(parentElement);
    };
  };
}

// On a projector: as much larger as the picture says, or as its window has room for.
function fitting(root) {
  const style = getComputedStyle(root);
  const pixels = (name) => parseFloat(style.getPropertyValue(name));
  const wide = root.parentElement.getBoundingClientRect().width / NARROW;
  const high = (innerHeight - (pixels("--above") || 0)) / pixels("--least");
  return Math.max(1, Math.floor(1000 * Math.min(pixels("--present"), wide, high)) / 1000);
}

const app = () => document.querySelector("[data-testid=stApp]");
const zoom = (root) => Number(getComputedStyle(root).zoom) || 1;
