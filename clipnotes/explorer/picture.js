// The explorer of an image: what it is read out of (CLIP's class token, SigLIP's pooling head), a
// grid of patches, and texts to compare with.

const SVG_WIDTH = 100;
const SVG_HEIGHT = 24;

const headAlone = data.reader !== "class token";

const kind = {
  n: data.grid * data.grid + 1,
  name: (i) => (i === 0 ? data.reader : `patch ${i}`),
  // The pooling head comes behind the layers: it looks at patches, and nobody looks at it.
  hidden: () => "the head comes behind the layers, so nobody looks at it",
  possible: (view, one, other) => !headAlone || (view === "from" ? other : one) !== 0,

  makeCells(map) {
    map.setAttribute("role", "grid");
    map.setAttribute("aria-label", `The ${data.reader} and the patches of the image`);
    const first = makeCell(0, "gridcell");
    first.append(`${data.reader} `, element("span", { class: "number" }));
    map.append(element("div", { role: "row", class: "class-token" }, first));
    const patches = element("div", { class: "patches", role: "rowgroup" });
    const cells = [first];
    for (let row = 0; row < data.grid; row++) {
      const line = element("div", { role: "row" });
      for (let column = 0; column < data.grid; column++) {
        cells.push(makeCell(row * data.grid + column + 1, "gridcell"));
        line.append(cells.at(-1));
      }
      patches.append(line);
    }
    map.append(element("div", { class: "picture" }, patches));
    return cells;
  },

  // Patches are as bright as their weight, relative to the largest one of a patch: the class token
  // often gets so much that the image would be black.
  shares(values) {
    const most = Math.max(...values.slice(1), 1 / 255);
    return values.map((value, i) => (i === 0 ? value : value / most));
  },

  move(i, key) {
    const columns = data.grid;
    const column = (i - 1) % columns;
    if (key === "Home") return 0;
    if (key === "End") return kind.n - 1;
    if (i === 0 && (key === "ArrowDown" || key === "ArrowRight")) return 1;
    if (i === 0) return key.startsWith("Arrow") ? 0 : null;
    if (key === "ArrowUp") return Math.max(0, i - columns);
    if (key === "ArrowDown") return i + columns < kind.n ? i + columns : i;
    if (key === "ArrowLeft") return column > 0 ? i - 1 : i;
    if (key === "ArrowRight") return column < columns - 1 ? i + 1 : i;
    return null;
  },

  thumbnail: () => element("div", { class: "picture" }, element("canvas", { "aria-hidden": true })),
  drawThumbnail(canvas, head) {
    const shares = kind.shares(looks.from(head, token())).slice(1);
    drawMask(canvas, data.grid, shares.map(shade));
  },
};

const shade = (share) => 0.85 * (1 - share); // as in clipnotes.plots.attention_over

// Texts: `depth` counts the layers that a hidden state has gone through.

const similarity = data.texts.length ? new Float32Array(bytes(data.similarity).buffer) : null;
const texts = { cards: [], depth: 0 };
const cosine = (depth, text, i) => similarity[(depth * data.texts.length + text) * kind.n + i];
const depths = () => similarity.length / data.texts.length / kind.n;

function softmax(logits) {
  const most = Math.max(...logits);
  const parts = logits.map((logit) => Math.exp(logit - most));
  const sum = parts.reduce((a, b) => a + b);
  return parts.map((part) => part / sum);
}

function makeTexts() {
  const slider = element("input", { id: "depth", type: "range", min: 0, max: depths() - 1 });
  slider.addEventListener("input", () => setDepth(Number(slider.value)));
  const depthName = element("output", { id: "depth-name" });
  const label = element("label", { for: "depth" }, "Depth: ", depthName);
  const cards = element("div", { id: "cards" });
  const note = element("p", { class: "note" });
  note.textContent =
    "Each map shows the cosine between the text and the state of each patch, bright is more; the " +
    `range below is that of its patches. Logit and percentage (${data.bias ? "sigmoid of each logit" : "softmax over these texts"}) are the ` +
    `${data.reader}'s, and the line is its logit from depth to depth. The model was trained to do ` +
    `this with the ${data.reader} after the last layer only; the rest is a way of looking.`;
  data.texts.forEach((text, t) => {
    const canvas = element("canvas", { role: "img" });
    const frame = element("div", { class: "frame" });
    const picture = element("div", { class: "picture" }, canvas, frame);
    const card = element("article", { "data-text": t }, element("h3", {}, text), picture);
    card.insertAdjacentHTML(
      "beforeend",
      `<p class="range"></p><p><span class="chosen"></span> <b class="cosine"></b></p>` +
        `<p>logit <b class="logit"></b></p>` +
        `<div class="share"><div class="bar"><i></i></div><b class="percent"></b></div>` +
        `<svg viewBox="0 -2 ${SVG_WIDTH} ${SVG_HEIGHT + 4}" preserveAspectRatio="none" aria-hidden="true">` +
        `<line y2="${SVG_HEIGHT}"/><polyline points="${curve(t)}"/></svg>`,
    );
    const at = (event) => {
      const box = picture.getBoundingClientRect();
      const place = (distance, size) => Math.floor(distance / size / data.patch);
      const column = place(event.clientX - box.left, box.width);
      const row = place(event.clientY - box.top, box.height);
      const inside = Math.min(row, column) >= 0 && Math.max(row, column) < data.grid;
      return inside ? row * data.grid + column + 1 : null;
    };
    picture.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") hover(at(event));
    });
    picture.addEventListener("pointerleave", () => hover(null));
    picture.addEventListener("click", (event) => {
      if (at(event) !== null) pin(at(event));
    });
    texts.cards.push(card);
    cards.append(card);
  });
  const title = element("h2", {}, "Which text each patch resembles");
  const section = element("section", { id: "texts" }, title);
  section.append(element("div", { id: "depths", class: "slider" }, label, slider), cards, note);
  document.querySelector("main").append(section);
}

const logit = (depth, text) => data.scale * cosine(depth, text, 0) + data.bias;

function curve(text) {
  const at = (depth) => data.texts.map((_, t) => logit(depth, t));
  const all = Array.from({ length: depths() }, (_, depth) => at(depth));
  const [low, high] = [Math.min(...all.flat()), Math.max(...all.flat())];
  const y = (value) => SVG_HEIGHT * (1 - (value - low) / (high - low || 1));
  const x = (depth) => (SVG_WIDTH * depth) / (depths() - 1);
  const points = all.map((logits, depth) => [x(depth).toFixed(1), y(logits[text]).toFixed(1)]);
  return points.join(" ");
}

function setDepth(depth) {
  texts.depth = depth;
  byId("depth").value = depth;
  drawTexts();
}

function drawTexts() {
  const { depth } = texts;
  const said = depth === 0 ? "before layer 0" : `after layer ${depth - 1}`;
  byId("depth-name").textContent = said;
  byId("depth").setAttribute("aria-valuetext", said);
  const logits = data.texts.map((_, t) => logit(depth, t));
  const shares = data.bias ? logits.map((one) => 1 / (1 + Math.exp(-one))) : softmax(logits);
  texts.cards.forEach((card, t) => {
    const values = everyone().slice(1).map((i) => cosine(depth, t, i));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const put = (name, text) => (card.querySelector(name).textContent = text);
    const canvas = card.querySelector("canvas");
    drawMask(canvas, data.grid, values.map((value) => shade((value - low) / (high - low || 1))));
    const [least, most] = [low, high].map((value) => value.toFixed(3));
    const best = values.indexOf(high) + 1;
    const range = `from ${least} to ${most}, most at patch ${best}`;
    canvas.setAttribute("aria-label", `Similarity of the patches to ${data.texts[t]}: ${range}`);
    put(".range", `${least} … ${most}`);
    put(".cosine", cosine(depth, t, token()).toFixed(3));
    put(".logit", logit(depth, t).toFixed(2));
    put(".percent", `${(100 * shares[t]).toFixed(1)} %`);
    card.querySelector(".bar i").style.setProperty("--share", shares[t].toFixed(4));
    const line = card.querySelector("line");
    for (const end of ["x1", "x2"]) line.setAttribute(end, (SVG_WIDTH * depth) / (depths() - 1));
    const frame = card.querySelector(".frame");
    frame.hidden = token() === 0;
    frame.style.setProperty("--column", (token() - 1) % data.grid);
    frame.style.setProperty("--row", Math.floor((token() - 1) / data.grid));
  });
}

if (similarity) {
  kind.start = makeTexts;
  kind.draw = drawTexts;
  kind.layerChanged = () => setDepth(data.layers[state.layer] + 1);
  texts.depth = depths() - 1;
}
document.documentElement.style.setProperty("--picture", `url("${data.picture}")`);
document.documentElement.style.setProperty("--patch", data.patch);
document.documentElement.style.setProperty("--grid", data.grid);
byId("help").textContent =
  `Point at a patch or at the ${data.reader}; a click, a tap or the arrow keys keep it. ` +
  "Page up and page down change the layer. A patch is as bright as its weight, relative to the " +
  "brightest.";
start();
if (similarity) byId("depth").value = texts.depth;
