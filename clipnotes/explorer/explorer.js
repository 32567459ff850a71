"use strict";
// What the explorers of an image and of a text share: the weights, the choice of layer, head and
// token, and the two maps. `kind`, in the script of the kind, lays the cells out and names them.

const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const weights = bytes(data.weights); // (layer, head, from, to), in 255ths
const byId = (id) => document.getElementById(id);
const MEAN = -1;
const SHOWN = 5; // entries of a list of the largest weights

// `layer` counts within data.layers. `pinned` is the token that was clicked, tapped or reached by
// keys; while a mouse is over another one, that is `hovered`.
const state = { layer: data.layers.length - 1, head: MEAN, pinned: 0, hovered: null };
const token = () => state.hovered ?? state.pinned;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function weight(head, from, to) {
  const at = (h) => weights[((state.layer * data.heads + h) * kind.n + from) * kind.n + to];
  if (head !== MEAN) return at(head) / 255;
  let sum = 0;
  for (let h = 0; h < data.heads; h++) sum += at(h);
  return sum / data.heads / 255;
}

const everyone = () => [...Array(kind.n).keys()];
const looks = {
  from: (head, one) => everyone().map((other) => weight(head, one, other)),
  to: (head, one) => everyone().map((other) => weight(head, other, one)),
};

// The maps

const views = ["from", "to"].map((name) => {
  const section = byId(name);
  return { name, map: section.querySelector(".map"), top: section.querySelector(".top"), cells: [] };
});

function makeCell(i, role) {
  return element("div", { class: "cell", role, "data-token": i, tabindex: -1 });
}

function drawMap(view) {
  const values = looks[view.name](state.head, token());
  const possible = (i) => kind.possible(view.name, token(), i);
  const shares = kind.shares(values);
  view.cells.forEach((cell, i) => {
    const chosen = i === token();
    const said = possible(i) ? values[i].toFixed(3) : kind.hidden(view.name);
    cell.style.setProperty("--share", shares[i].toFixed(4));
    cell.setAttribute("aria-selected", chosen);
    cell.setAttribute("aria-label", `${kind.name(i)}: ${said}`);
    cell.title = cell.getAttribute("aria-label");
    cell.classList.toggle("impossible", !possible(i));
    cell.tabIndex = i === state.pinned ? 0 : -1;
    const number = cell.querySelector(".number");
    if (number) number.textContent = possible(i) ? values[i].toFixed(3) : "–";
  });
  const order = everyone().filter(possible).sort((a, b) => values[b] - values[a] || a - b);
  view.largest = order.slice(0, SHOWN);
  const most = values[view.largest[0]] || 1;
  view.top.replaceChildren(
    ...view.largest.map((i) => {
      const bar = element("i", { style: `--share: ${values[i] / most}` });
      const number = element("b", {}, values[i].toFixed(3));
      return element("li", { "data-token": i }, element("span", {}, kind.name(i)), bar, number);
    }),
  );
  view.said = view.largest.slice(0, 3).map((i) => `${kind.name(i)} ${values[i].toFixed(3)}`);
}

// The controls

function makeControls() {
  byId("layer").max = data.layers.length - 1;
  byId("layer").value = state.layer;
  byId("layer").addEventListener("input", (event) => setLayer(Number(event.target.value)));
  for (let head = MEAN; head < data.heads; head++) {
    const radio = element("input", { type: "radio", name: "head", value: head });
    radio.checked = head === state.head;
    const title = head === MEAN ? "mean" : String(head);
    byId("heads").append(element("label", {}, radio, kind.thumbnail(), element("span", {}, title)));
  }
  byId("heads").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    render();
  });
  byId("views").addEventListener("change", (event) => {
    byId("maps").dataset.view = event.target.value;
  });
}

function setLayer(layer) {
  state.layer = Math.max(0, Math.min(data.layers.length - 1, layer));
  byId("layer").value = state.layer;
  kind.layerChanged?.();
  render();
}

function drawControls() {
  const number = data.layers[state.layer];
  byId("layer-name").textContent = number;
  byId("layer").setAttribute("aria-valuetext", `layer ${number}`);
  const canvases = byId("heads").querySelectorAll("canvas");
  canvases.forEach((canvas, i) => kind.drawThumbnail(canvas, i + MEAN));
}

// One byte of transparency a pixel; the colour is the style's. The browser enlarges it.
function drawMask(canvas, columns, shares) {
  canvas.width = columns;
  canvas.height = shares.length / columns;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const [red, green, blue] = getComputedStyle(canvas).color.match(/\d+/g);
  shares.forEach((share, i) => image.data.set([red, green, blue, Math.round(255 * share)], 4 * i));
  context.putImageData(image, 0, 0);
}

// Hand, finger, keys

const tokenAt = (target) => {
  const cell = target?.closest?.(".cell, li[data-token]");
  return cell ? Number(cell.dataset.token) : null;
};

function hover(i) {
  if (i === state.hovered) return;
  state.hovered = i;
  render();
}

function pin(i, view = null) {
  state.pinned = i;
  state.hovered = null;
  render();
  if (view) view.cells[i].focus({ preventScroll: true });
  say();
}

function listen(view) {
  view.map.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") hover(tokenAt(event.target));
    // A finger keeps the first cell as its target wherever it slides.
    else if (event.buttons) {
      const i = tokenAt(document.elementFromPoint(event.clientX, event.clientY));
      if (i !== null && i !== state.pinned) pin(i);
    }
  });
  view.map.addEventListener("pointerleave", () => hover(null));
  view.map.addEventListener("click", (event) => {
    const i = tokenAt(event.target);
    if (i !== null) pin(i, view);
  });
  view.top.addEventListener("click", (event) => {
    const i = tokenAt(event.target);
    if (i !== null) pin(i);
  });
  view.map.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const by = { PageUp: 1, PageDown: -1 }[event.key];
    const next = kind.move(state.pinned, event.key);
    if (by) setLayer(state.layer + by);
    else if (next !== null) pin(next, view);
    else return;
    say();
    event.preventDefault();
  });
}

function say() {
  const head = state.head === MEAN ? "mean over heads" : `head ${state.head}`;
  const [from, to] = views;
  byId("said").textContent =
    `Layer ${data.layers[state.layer]}, ${head}. ${kind.name(token())} looks most at ` +
    `${from.said.join(", ")}. It is looked at most by ${to.said.join(", ")}.`;
}

function render() {
  drawControls();
  views.forEach(drawMap);
  document.querySelectorAll(".chosen").forEach((place) => {
    place.textContent = kind.name(token());
  });
  kind.draw?.();
}

// Inside a notebook or a book: take its theme, and as much height as the page needs.

function hostTheme() {
  const { documentElement: root, body } = parent.document;
  const jupyter = { true: "light", false: "dark" }[body?.dataset.jpThemeLight];
  const found = root.dataset.theme ?? jupyter ?? root.getAttribute("theme");
  return ["light", "dark"].includes(found) ? found : null;
}

function takeTheme() {
  const theme = hostTheme();
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  render();
}

function settleIn() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  if (window === parent) return;
  try {
    takeTheme();
    const { documentElement: root, body } = parent.document;
    const watcher = new MutationObserver(takeTheme);
    const attributeFilter = ["data-theme", "theme", "data-jp-theme-light"];
    for (const place of [root, body]) watcher.observe(place, { attributes: true, attributeFilter });
    document.documentElement.classList.add("framed");
    new ResizeObserver(() => {
      frameElement.style.height = `${Math.ceil(document.body.getBoundingClientRect().height)}px`;
    }).observe(document.body);
  } catch {
    // The page around is a stranger's: keep the browser's theme and the height that was given.
  }
}

function start() {
  views.forEach((view) => {
    view.cells = kind.makeCells(view.map);
    listen(view);
  });
  makeControls();
  kind.start?.();
  render();
  settleIn();
}
