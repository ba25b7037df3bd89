// Asks the agent every two seconds while the page is looked at, and hands what it says to the panels.

import { el, show } from "./dom.js";
import * as panels from "./panels.js";

const PERIOD = 2000;
const SERVICES_EVERY = 30000;

const by = (id) => document.getElementById(id);
const filter = by("filter");
const form = by("explain-form");
const state = { figures: null, services: [], servicesOf: "", servicesAt: 0, heard: 0, timer: 0, first: "" };

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(4000) });
  const value = await response.json();
  if (!response.ok) throw new Error(value.error ?? `${path} answered ${response.status}`);
  return value;
}

async function tick() {
  clearTimeout(state.timer);
  let period = PERIOD;
  try {
    const figures = await ask("/figures");
    if (!state.figures) period = PERIOD / 2; // rates need a second look
    state.figures = figures;
    state.heard = Date.now();
    back(figures.status);
    const { applied, agent } = figures.status;
    const of = `${agent.pid} ${applied.generation}`;
    if (of !== state.servicesOf || Date.now() - state.servicesAt > SERVICES_EVERY) {
      state.services = await ask("/services");
      [state.servicesOf, state.servicesAt] = [of, Date.now()];
      destinations();
    }
    draw();
  } catch (error) {
    away(error);
  }
  clearTimeout(state.timer);
  if (!document.hidden) state.timer = setTimeout(tick, period);
}

function draw() {
  const { figures } = state;
  if (!figures) return;
  const wanted = filter.value.trim().toLowerCase();
  panels.header(figures);
  panels.attention(figures);
  panels.tiles(figures);
  for (const name of ["traffic", "http", "pods", "verdicts"]) panels[name](figures, wanted);
  panels.services(state.services, wanted);
  panels.node(figures);
  pods(figures.pods);
}

function away(error) {
  const since = state.heard ? ` since ${new Date(state.heard).toLocaleTimeString([], { hour12: false })}` : "";
  const note = state.heard ? " What you see is from then." : "";
  by("away").hidden = false;
  show(by("away"), el("b", {}, `The agent has not answered${since}.`), `${note} Asking again every two seconds. (${error.message})`);
  by("health").className = "pill";
  show(by("health"), "no answer");
  document.title = "⚠ no answer · tidegate";
  document.body.classList.add("stale");
}

function back(status) {
  by("away").hidden = true;
  document.body.classList.remove("stale");
  state.first ||= status.version;
  if (state.first !== status.version) location.reload(); // another version has another page
}

// --- explain

function pods(list) {
  const names = list.map((pod) => `${pod.namespace}/${pod.name}`).sort();
  const select = form.elements.pod;
  if (names.join() === [...select.options].map((option) => option.value).join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  if (names.includes(chosen)) select.value = chosen;
}

function destinations() {
  const names = new Set(state.services.filter((row) => row.service).map((row) => panels.short(row.service)));
  show(by("destinations"), [...names].sort().map((name) => el("option", { value: name })));
}

async function explain(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const name of ["pod", "destination", "method", "path"]) query.set(name, form.elements[name].value.trim());
  form.elements.headers.value.split("\n").filter((line) => line.includes(":")).forEach((line, i) => {
    const at = line.indexOf(":");
    query.append(`header.${i}.${line.slice(0, at).trim().toLowerCase()}`, line.slice(at + 1).trim());
  });
  const place = by("explain-answer");
  try {
    const answer = await ask(`/explain?${query}`);
    show(place, answer ? panels.explanation(answer) : el("p.empty", {}, "That pod does not run on this node."));
  } catch (error) {
    show(place, el("p.away", {}, error.message));
  }
}

form.addEventListener("submit", explain);
filter.addEventListener("input", draw);
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "Escape" && event.target === filter) {
    filter.value = "";
    draw();
  }
});
tick();
