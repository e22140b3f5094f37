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
      state.stop = opened(state);
    }
    return () => {
      state.observer.disconnect();
      state.stop?.();
      states.delete(parentElement);
    };
  };
}

const zoom = (root) => Number(getComputedStyle(root).zoom) || 1;
