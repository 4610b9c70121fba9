// The lineage page: draws the graph that the service has laid out. No build step, no inline code.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const CARD = { width: 264, dataset: 88, job: 80 };
const POLL_MS = 2500;
const ZOOM = { min: 0.08, max: 2.5, step: 1.25 };
const RANK = ["Unclassified", "Restricted", "PCI", "PII", "Internal", "Public"];
const $ = (id) => document.getElementById(id);

const state = {
  graph: null,
  text: "",
  node: null, // the node the graph is drawn around; null draws everything
  selected: null,
  openRun: null,
  view: { x: 0, y: 0, scale: 1 },
  moved: false,
  places: new Map(),
  elements: new Map(),
  request: 0,
};

// ---- small pieces -----------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const badge = (text, kind = text) => element("span", { class: `badge ${kind.toLowerCase().replace(/[^a-z]/g, "")}` }, text);
const word = (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

const ruler = document.createElement("canvas").getContext("2d");

function widthOf(text, font) {
  ruler.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

// The middle goes first: the end of a name tells more than its middle.
function shorten(text, width, font) {
  let kept = text.length;
  let shown = text;
  while (kept > 4 && widthOf(shown, font) > width) {
    kept -= 1;
    const head = Math.ceil(kept * 0.4);
    shown = `${text.slice(0, head)}…${text.slice(text.length - (kept - head))}`;
  }
  return shown;
}

function shortName(node) {
  if (node.kind === "job") return node.name.replace(/^(route|publish)\./, "");
  return node.name.split(".").slice(-2).join(".");
}

function subtitle(node) {
  if (node.kind === "job") {
    if (node.name.startsWith("route.")) return "CDC route";
    if (node.name.startsWith("publish.")) return "Schema publish";
    return node.namespace;
  }
  const version = node.facets.version?.datasetVersion;
  const subject = node.aliases[0]?.name;
  if (subject) return `${subject}${version ? ` · v${version}` : ""}`;
  const space = node.namespace.replace(/^spine:\/\/[^/]+\//, "");
  return version ? `${space} · v${version}` : space;
}

function when(text) {
  if (!text) return "";
  const at = new Date(text);
  return Number.isNaN(at.getTime())
    ? text
    : at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = new Error(body.title || `The service answered ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return body;
}

// ---- drawing ----------------------------------------------------------------------------------

const heightOf = (node) => (node.kind === "job" ? CARD.job : CARD.dataset);

function tags(node) {
  if (node.kind === "job") {
    const marks = [];
    if (node.state) marks.push([word(node.state), node.state]);
    if (node.result) marks.push([node.result === "allow" ? "Allowed" : "Denied", node.result]);
    return marks;
  }
  const known = Object.entries(node.labels.classifications);
  known.sort((a, b) => rank(a[0]) - rank(b[0]));
  const marks = known.map(([label, count]) => [count > 1 ? `${label} ${count}` : label, label]);
  if (node.labels.region) marks.push([node.labels.region, "region"]);
  return marks;
}

const rank = (label) => (RANK.includes(label) ? RANK.indexOf(label) : RANK.length);

function drawTags(node, y) {
  const group = shape("g");
  let x = 14;
  for (const [text, kind] of tags(node)) {
    const width = Math.round(widthOf(text, "650 10.5px") + 13);
    if (x + width > CARD.width - 6) break;
    const tag = shape("g", { class: `tag ${kind.toLowerCase().replace(/[^a-z]/g, "")}`, transform: `translate(${x} ${y})` });
    const label = shape("text", { x: 7, y: 12.5 });
    label.textContent = text;
    tag.append(shape("rect", { width, height: 18, rx: 9 }), label);
    group.append(tag);
    x += width + 4;
  }
  return group;
}

function drawIcon(node) {
  const group = shape("g", { transform: "translate(16 13)" });
  group.append(shape("rect", { class: "icon-back", width: 28, height: 28, rx: node.kind === "job" ? 14 : 7 }));
  const path = node.kind === "job"
    ? "M8 14h9M13.5 10l4 4-4 4M20.5 9.5v9"
    : "M8 9.5c0-3 12-3 12 0v9c0 3-12 3-12 0zM8 9.5c0 3 12 3 12 0M8 14c0 3 12 3 12 0";
  group.append(shape("path", { class: "icon", d: path }));
  return group;
}

function drawMore(node, count, left) {
  const text = `+${count}`;
  const width = text.length * 7 + 12;
  const x = left ? -width / 2 : CARD.width - width / 2;
  const y = heightOf(node) / 2 - 10;
  const group = shape("g", { class: "beyond", "data-testid": left ? "more-upstream" : "more-downstream" });
  const label = shape("text", { class: "more-text", x: x + width / 2, y: y + 14 });
  label.textContent = text;
  const title = shape("title");
  title.textContent = `${count} more ${left ? "upstream" : "downstream"}: show the graph around this node`;
  group.append(shape("rect", { class: "more", x, y, width, height: 20, rx: 10 }), label, title);
  group.addEventListener("click", (event) => {
    event.stopPropagation();
    around(node.id);
  });
  return group;
}

function describe(node) {
  const marks = tags(node).map(([text]) => text).join(", ");
  return `${node.kind === "job" ? "Job" : "Dataset"} ${node.name}${marks ? `: ${marks}` : ""}`;
}

function drawNode(node) {
  const height = heightOf(node);
  const group = shape("g", {
    class: `node ${node.kind}`,
    transform: `translate(${node.x} ${node.y - height / 2})`,
    tabindex: "-1",
    role: "button",
    "aria-label": describe(node),
    "data-testid": `node-${node.id}`,
    "data-id": node.id,
  });
  const round = node.kind === "job" ? 22 : 11;
  group.append(shape("rect", { class: "card", width: CARD.width, height, rx: round }));
  const title = shape("text", { class: "title", x: 54, y: 25 });
  title.textContent = shorten(shortName(node), CARD.width - 70, "620 14px");
  const space = shape("text", { class: "space", x: 54, y: 41 });
  space.textContent = shorten(subtitle(node), CARD.width - 70, "11.5px");
  const full = shape("title");
  full.textContent = `${node.namespace}\n${node.name}`;
  group.append(drawIcon(node), title, space, drawTags(node, node.kind === "job" ? 52 : 58), full);
  if (node.hidden.upstream) group.append(drawMore(node, node.hidden.upstream, true));
  if (node.hidden.downstream) group.append(drawMore(node, node.hidden.downstream, false));
  return group;
}

function drawEdge(edge) {
  const from = state.places.get(edge.source);
  const to = state.places.get(edge.target);
  const x1 = from.x + CARD.width;
  const x2 = to.x - 3;
  const bend = Math.max(40, Math.abs(x2 - x1) / 2);
  const masked = edge.masked.length > 0;
  const group = shape("g", {
    class: `edge${masked ? " masked" : ""}`,
    "data-testid": masked ? "edge-masked" : "edge",
    "data-source": edge.source,
    "data-target": edge.target,
  });
  group.append(shape("path", {
    d: `M${x1} ${from.y} C${x1 + bend} ${from.y} ${x2 - bend} ${to.y} ${x2} ${to.y}`,
    "marker-end": `url(#arrow${masked ? "-masked" : ""})`,
  }));
  if (masked) {
    const text = `${edge.masked.length} masked`;
    const width = Math.round(widthOf(text, "600 11px") + 18);
    const pill = shape("g", { transform: `translate(${(x1 + x2) / 2} ${(from.y + to.y) / 2})` });
    const label = shape("text", { y: 4 });
    label.textContent = text;
    const title = shape("title");
    title.textContent = `Masked: ${edge.masked.join(", ")}`;
    pill.append(shape("rect", { class: "pill", x: -width / 2, y: -10, width, height: 20, rx: 10 }), label, title);
    group.append(pill);
  }
  return group;
}

function draw() {
  const graph = state.graph;
  const focused = document.activeElement?.dataset?.id;
  state.places = new Map(graph.nodes.map((node) => [node.id, node]));
  state.elements = new Map();
  const nodes = graph.nodes.map((node) => {
    const drawn = drawNode(node);
    state.elements.set(node.id, drawn);
    return drawn;
  });
  $("edges").replaceChildren(...graph.edges.map(drawEdge));
  $("nodes").replaceChildren(...nodes);
  $("empty").hidden = graph.nodes.length > 0;
  const root = graph.root && state.places.get(graph.root);
  $("trail").hidden = !root;
  if (root) $("trail-name").textContent = shortName(root);
  mark();
  const start = state.elements.get(focused) || state.elements.get(state.selected) || nodes[0];
  start?.setAttribute("tabindex", "0");
  if (focused && state.elements.has(focused)) state.elements.get(focused).focus({ preventScroll: true });
}

function mark() {
  const near = new Set([state.selected]);
  for (const drawn of $("edges").children) {
    const touches = state.selected !== null
      && (drawn.dataset.source === state.selected || drawn.dataset.target === state.selected);
    const masked = drawn.classList.contains("masked");
    drawn.classList.toggle("lit", touches && !masked);
    drawn.querySelector("path").setAttribute("marker-end", `url(#arrow${masked ? "-masked" : touches ? "-lit" : ""})`);
    drawn.classList.toggle("faded", state.selected !== null && !touches);
    if (touches) near.add(drawn.dataset.source).add(drawn.dataset.target);
  }
  for (const [id, drawn] of state.elements) {
    drawn.classList.toggle("selected", id === state.selected);
    drawn.classList.toggle("faded", state.selected !== null && !near.has(id));
    drawn.setAttribute("aria-pressed", String(id === state.selected));
  }
}

// ---- view: pan, zoom, fit ---------------------------------------------------------------------

function place() {
  const { x, y, scale } = state.view;
  $("view").setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
  $("dots").setAttribute("patternTransform", `translate(${x} ${y}) scale(${Math.max(scale, 0.5)})`);
}

function fit() {
  const nodes = state.graph?.nodes || [];
  if (!nodes.length) return;
  const box = $("graph").getBoundingClientRect();
  const left = Math.min(...nodes.map((n) => n.x)) - 30;
  const right = Math.max(...nodes.map((n) => n.x)) + CARD.width + 30;
  const top = Math.min(...nodes.map((n) => n.y)) - 70;
  const bottom = Math.max(...nodes.map((n) => n.y)) + 70;
  const scale = Math.max(ZOOM.min, Math.min(1.15, box.width / (right - left), (box.height - 90) / (bottom - top)));
  state.view = {
    scale,
    x: (box.width - (right - left) * scale) / 2 - left * scale,
    y: (box.height - 40 - (bottom - top) * scale) / 2 - top * scale,
  };
  state.moved = false;
  place();
}

function zoom(factor, x, y) {
  const view = state.view;
  const box = $("graph").getBoundingClientRect();
  const at = { x: x ?? box.width / 2, y: y ?? box.height / 2 };
  const scale = Math.max(ZOOM.min, Math.min(ZOOM.max, view.scale * factor));
  const ratio = scale / view.scale;
  state.view = { scale, x: at.x - (at.x - view.x) * ratio, y: at.y - (at.y - view.y) * ratio };
  state.moved = true;
  place();
}

function reveal(id) {
  const node = state.places.get(id);
  if (!node) return;
  const { scale } = state.view;
  const box = $("graph").getBoundingClientRect();
  const left = node.x * scale + state.view.x;
  const top = node.y * scale + state.view.y;
  if (left < 20) state.view.x += 20 - left;
  if (left + CARD.width * scale > box.width - 20) state.view.x -= left + CARD.width * scale - box.width + 20;
  if (top < 80) state.view.y += 80 - top;
  if (top > box.height - 120) state.view.y -= top - box.height + 120;
  place();
}

function listenView() {
  const graph = $("graph");
  const pointers = new Map();
  let distance = 0;
  graph.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = graph.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  graph.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, event);
    distance = 0;
  });
  graph.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last.clientX;
    const dy = event.clientY - last.clientY;
    distance += Math.abs(dx) + Math.abs(dy);
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
      const box = graph.getBoundingClientRect();
      zoom(apart(event) / apart(last), (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
    } else if (distance > 4) {
      // Captured only once it is a drag: a captured click would not reach the node.
      graph.setPointerCapture(event.pointerId);
      graph.classList.add("dragging");
      state.view.x += dx;
      state.view.y += dy;
      state.moved = true;
      place();
    }
    pointers.set(event.pointerId, event);
  });
  const end = (event) => {
    pointers.delete(event.pointerId);
    graph.classList.remove("dragging");
  };
  graph.addEventListener("pointerup", end);
  graph.addEventListener("pointercancel", end);
  graph.addEventListener("click", (event) => {
    if (distance > 4) return;
    const node = event.target.closest?.(".node");
    select(node ? node.dataset.id : null);
  });
  graph.addEventListener("dblclick", (event) => {
    const node = event.target.closest?.(".node");
    if (node) around(node.dataset.id);
  });
  $("zoom-in").addEventListener("click", () => zoom(ZOOM.step));
  $("zoom-out").addEventListener("click", () => zoom(1 / ZOOM.step));
  $("fit").addEventListener("click", fit);
  new ResizeObserver(() => { if (!state.moved) fit(); }).observe(graph);
}

// ---- keyboard ---------------------------------------------------------------------------------

function neighbour(node, key) {
  const edges = state.graph.edges;
  const near = (ids) => ids.map((id) => state.places.get(id)).sort((a, b) => Math.abs(a.y - node.y) - Math.abs(b.y - node.y))[0];
  if (key === "ArrowLeft") return near(edges.filter((e) => e.target === node.id).map((e) => e.source));
  if (key === "ArrowRight") return near(edges.filter((e) => e.source === node.id).map((e) => e.target));
  const side = key === "ArrowUp" ? -1 : 1;
  return state.graph.nodes
    .filter((n) => n.x === node.x && (n.y - node.y) * side > 0)
    .sort((a, b) => Math.abs(a.y - node.y) - Math.abs(b.y - node.y))[0];
}

function focusNode(id) {
  for (const drawn of state.elements.values()) drawn.setAttribute("tabindex", "-1");
  const drawn = state.elements.get(id);
  if (!drawn) return;
  drawn.setAttribute("tabindex", "0");
  drawn.focus({ preventScroll: true });
  reveal(id);
}

function listenKeys() {
  $("graph").addEventListener("keydown", (event) => {
    const node = state.places.get(event.target.dataset?.id);
    if (!node) return;
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = neighbour(node, event.key);
      if (next) focusNode(next.id);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      select(node.id, true);
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input");
    if (event.key === "Escape" && !typing) closePanel();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      $("search").focus();
    } else if (event.key === "+" || event.key === "=") zoom(ZOOM.step);
    else if (event.key === "-") zoom(1 / ZOOM.step);
    else if (event.key === "0") fit();
  });
}

// ---- search -----------------------------------------------------------------------------------

function listenSearch() {
  const input = $("search");
  const list = $("results");
  let timer = 0;
  let chosen = -1;
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    chosen = -1;
  };
  const choose = (index) => {
    const options = [...list.querySelectorAll("[data-id]")];
    if (!options.length) return;
    chosen = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    options[chosen].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[chosen].id);
  };
  const open = async (id) => {
    close();
    input.value = "";
    await around(id);
    select(state.graph.root, false);
    focusNode(state.graph.root);
  };
  const show = async () => {
    const text = input.value.trim();
    if (!text) return close();
    const found = await ask(`/api/v1/search?q=${encodeURIComponent(text)}&limit=12`).catch(() => null);
    if (!found || input.value.trim() !== text) return undefined;
    list.replaceChildren(...found.results.map((one, index) => {
      const item = element("li", { id: `result-${index}`, role: "option", "data-id": one.id, "data-testid": "result", "aria-selected": "false" },
        element("span", { class: "kind" }, badge(one.kind === "job" ? "Job" : "Dataset")),
        element("span", { class: "name" }, one.name),
        element("span", { class: "space" }, one.namespace));
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        open(one.id);
      });
      return item;
    }));
    if (!found.results.length) list.append(element("li", { class: "none" }, "Nothing has that name."));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(0);
    return undefined;
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 120);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      const option = list.querySelector('[aria-selected="true"]');
      if (option && !list.hidden) open(option.dataset.id);
    } else if (event.key === "Escape") {
      close();
      input.blur();
    }
  });
  input.addEventListener("blur", close);
}

// ---- panel ------------------------------------------------------------------------------------

function closePanel() {
  const last = state.selected;
  select(null);
  if (last) focusNode(last);
}

function select(id, moveFocus = false) {
  const changed = id !== state.selected;
  state.selected = id;
  if (changed) state.openRun = null;
  mark();
  remember();
  if (id === null) {
    $("panel").hidden = true;
    return;
  }
  showPanel(moveFocus);
}

function columns(node) {
  const fields = node.facets.schema?.fields || [];
  if (!fields.length) return null;
  const labels = new Map();
  for (const tag of node.facets.tags?.tags || []) {
    if (tag.key !== "classification" || !tag.field) continue;
    labels.set(tag.field, [...(labels.get(tag.field) || []), tag.value]);
  }
  const lineage = node.facets.columnLineage?.fields || {};
  const masked = (name) => (lineage[name]?.inputFields || []).some((f) => (f.transformations || []).some((t) => t.masking));
  const rows = fields.slice(0, 300).map((field) => {
    const marks = masked(field.name) ? [badge("Masked")] : (labels.get(field.name) || []).map((label) => badge(label));
    return element("tr", { title: field.description },
      element("td", {}, element("code", {}, field.name)),
      element("td", {}, field.type || ""),
      element("td", {}, ...marks));
  });
  return [
    element("h3", {}, `${fields.length} ${fields.length === 1 ? "column" : "columns"}`),
    element("table", { class: "columns", "data-testid": "columns" }, element("tbody", {}, ...rows)),
  ];
}

async function showPanel(moveFocus) {
  const node = state.places.get(state.selected);
  const panel = $("panel");
  if (!node) {
    panel.hidden = true;
    return;
  }
  const id = node.id;
  let runs = [];
  let problem = null;
  try {
    runs = (await ask(`/api/v1/runs?nodeId=${encodeURIComponent(id)}&limit=30`)).runs;
  } catch (error) {
    problem = error.message;
  }
  if (state.selected !== id) return;
  const close = element("button", { class: "close", type: "button", "aria-label": "Close details", "data-testid": "close" }, "×");
  close.addEventListener("click", closePanel);
  const focus = element("button", { class: "plain", type: "button", "data-testid": "focus" }, "Show around this");
  focus.addEventListener("click", () => around(id));
  const { region } = node.labels;
  const marks = tags(node).filter(([, kind]) => kind !== "region").map(([text, kind]) => badge(text, kind));
  const aliases = node.aliases.map((alias) => element("div", { class: "space" }, `also ${alias.namespace}, ${alias.name}`));
  const list = element("ul", { class: "runs", "data-testid": "runs" }, ...runs.map(runItem));
  const scrolled = panel.dataset.node === id ? panel.scrollTop : 0;
  panel.dataset.node = id;
  panel.replaceChildren(
    element("div", { class: "panel-head" }, badge(node.kind === "job" ? "Job" : "Dataset"), close),
    element("h2", { "data-testid": "panel-title" }, node.name),
    element("div", { class: "space" }, node.namespace),
    ...aliases,
    element("div", { class: "row" }, ...marks, region ? badge(region, "region") : null, focus),
    ...(columns(node) || []),
    element("h3", {}, "Runs"),
    runs.length ? list : element("p", { class: "quiet" }, problem || "None was reported."),
  );
  panel.hidden = false;
  panel.scrollTop = scrolled;
  if (moveFocus) panel.focus();
  if (state.openRun) openRun(state.openRun);
}

function runItem(run) {
  const marks = element("span", { class: "marks" }, badge(word(run.state), run.state));
  if (run.decision) marks.append(badge(run.decision.result === "allow" ? "Allowed" : "Denied", run.decision.result));
  const button = element("button", { type: "button", "aria-expanded": "false", "data-testid": "run" },
    element("span", { class: "what" }, run.operation || "Run"),
    marks,
    element("span", { class: "when" }, when(run.ended_at || run.started_at)));
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-expanded") === "true";
    state.openRun = shown ? null : run.id;
    if (shown) closeRuns();
    else openRun(run.id);
  });
  return element("li", { class: "run", "data-run": run.id }, button);
}

function closeRuns() {
  for (const item of document.querySelectorAll(".run")) {
    item.querySelector(".detail")?.remove();
    item.querySelector("button").setAttribute("aria-expanded", "false");
  }
}

async function openRun(id) {
  let run;
  try {
    run = await ask(`/api/v1/runs/${encodeURIComponent(id)}`);
  } catch (error) {
    report(error);
    return;
  }
  const item = document.querySelector(`.run[data-run="${CSS.escape(id)}"]`);
  if (!item || state.openRun !== id) return;
  closeRuns();
  item.querySelector("button").setAttribute("aria-expanded", "true");
  item.append(element("div", { class: "detail", "data-testid": "run-detail" },
    run.decision ? verdict(run.decision) : null, facts(run), steps(run.events)));
}

function verdict(decision) {
  const allowed = decision.result === "allow";
  const reasons = (decision.reasons || []).map((reason) => element("li", {},
    element("code", {}, reason.code), element("div", {}, reason.message)));
  return element("div", { class: `verdict ${allowed ? "allow" : "deny"}`, "data-testid": "decision" },
    element("strong", {}, allowed ? "Allowed by policy" : "Denied by policy"),
    reasons.length ? element("ul", {}, ...reasons) : null,
    table([
      ["Revision", decision.bundleRevision || "no policy answered"],
      ["Policy", decision.policyPackage],
      ["Decision", decision.decisionId],
      ["Evaluated", when(decision.evaluatedAt)],
    ]));
}

function facts(run) {
  const details = run.facets.dataSpine_operation || {};
  const rows = Object.entries(details.counts || {}).map(([key, value]) => [word(key.replace(/_/g, " ")), String(value)]);
  if (details.version) rows.push(["Version", details.version]);
  if (run.facets.errorMessage) rows.push(["Error", run.facets.errorMessage.message]);
  rows.push(["Run", run.id]);
  return table(rows);
}

function table(rows) {
  const cells = rows.filter(([, value]) => value).flatMap(([key, value]) => [
    element("dt", {}, key), element("dd", {}, value),
  ]);
  return element("dl", { class: "facts" }, ...cells);
}

function steps(events) {
  return element("ul", { class: "steps", "data-testid": "events", "aria-label": "Events" }, ...events.map((event) => {
    const kind = event.eventType || "OTHER";
    return element("li", { class: kind.toLowerCase() }, element("strong", {}, word(kind)), element("span", { class: "quiet" }, when(event.eventTime)));
  }));
}

// ---- loading and live updates -----------------------------------------------------------------

function report(error) {
  $("fault").textContent = error.message;
  $("fault").hidden = false;
}

function status(on) {
  const live = $("live");
  live.className = `live ${on ? "on" : "off"}`;
  if (!on) {
    live.textContent = "Reconnecting";
    return;
  }
  const { pending, dead } = state.graph.delivery;
  const shown = state.graph.nodes.length;
  const parts = [`${shown} ${shown === 1 ? "node" : "nodes"}`];
  if (state.graph.hidden) parts.push(`${state.graph.hidden} hidden`);
  if (state.graph.cut) parts.push("more edges hidden");
  if (pending) parts.push(`${pending} pending`);
  if (dead) parts.push(`${dead} undeliverable`);
  live.textContent = `Live · ${parts.join(" · ")}`;
}

async function load({ refit = false } = {}) {
  const request = ++state.request;
  const query = state.node ? `?node=${encodeURIComponent(state.node)}&depth=4` : "";
  let graph;
  try {
    graph = await ask(`/lineage/graph${query}`);
  } catch (error) {
    if (request !== state.request) return;
    if (error.status === 404 && state.node) {
      state.node = null;
      await load({ refit: true });
      report(new Error("That node is not known here. Everything is shown instead."));
      return;
    }
    status(false);
    if (error.status) report(error);
    return;
  }
  if (request !== state.request) return;
  $("fault").hidden = true;
  const text = JSON.stringify([graph.nodes, graph.edges, graph.root]);
  const changed = text !== state.text;
  const first = state.graph === null;
  state.graph = graph;
  state.text = text;
  status(true);
  if (changed) {
    draw();
    if (!state.moved || refit) fit();
    if (state.selected) showPanel(false);
  } else if (refit) fit();
  if (first) document.body.dataset.ready = "true";
}

async function around(id) {
  state.node = id;
  remember();
  await load({ refit: true });
}

function remember() {
  const parts = new URLSearchParams();
  if (state.node) parts.set("node", state.node);
  if (state.selected) parts.set("selected", state.selected);
  const query = parts.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}

async function poll() {
  if (!document.hidden) await load();
  setTimeout(poll, POLL_MS);
}

function start() {
  const given = new URLSearchParams(location.search);
  state.node = given.get("node");
  state.selected = given.get("selected");
  listenView();
  listenKeys();
  listenSearch();
  $("show-all").addEventListener("click", () => around(null));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
  poll();
}

start();
