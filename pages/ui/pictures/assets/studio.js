// The Studio: phases with their perplexities, the model map, one layer's distributions by stage and run, its rounds.
//
// Drawn from `pictures.studio.Studio`: `view` is what is chosen; `layer`, `map` and `rounds` say which layer, run and
// stage their numbers belong to, which may be those of the choice before while an answer is under way.

import { grid } from "./grid.js";
import { map } from "./map.js";
import { PHASES } from "./marks.js";
import { phases } from "./phases.js";
import { picture } from "./picture.js";
import { h } from "./render.js";
import { rounds } from "./rounds.js";

function draw(state) {
  const { data, view } = state;
  const run = data.runs.find((one) => one.key === view.run) ?? data.runs.at(-1);
  // A run that ends early shows its last stage.
  const stage = run?.cells[view.stage] ? view.stage : PHASES.findLast((one) => run?.cells[one]);
  const played = data.rounds && data.runs.find((one) => one.key === data.rounds.run);
  const turned = played && data.rounds.list.slice(0, -1).find((one) => one.number === view.round);
  const shown = { state, data, view, run, stage, played, turned };
  return [
    h("section", { class: "strip", "aria-label": "Phases" }, phases(shown)),
    h("section", { class: "map", "aria-label": "Model map" }, map(shown)),
    h("section", { class: "layer", "aria-label": "Distributions of the chosen layer" }, grid(shown, rounds(shown))),
  ];
}

export default picture("studio", draw, (state) => () => clearInterval(state.playing));
