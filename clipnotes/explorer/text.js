// The explorer of a text: a strip of tokens. In CLIP each looks at itself and at those before it, in
// SigLIP and BERT at all.

const kind = {
  n: data.tokens.length,
  label(i) {
    if (i === data.read) return data.mark;
    if (i === 0 && data.causal) return "start";
    return data.tokens[i].replace(/<\/w>$/, "").replace(/^<\|(start|end)oftext\|>$/, "$1");
  },
  name: (i) => `${i} ${kind.label(i)}`,
  // CLIP's causal mask: nobody looks at what comes later. SigLIP and BERT have none.
  hidden: (view) => (view === "from" ? "later, so it is hidden" : "earlier, so it cannot look here"),
  possible: (view, one, other) =>
    !data.causal || (view === "from" ? other <= one : other >= one),

  makeCells(map) {
    map.setAttribute("role", "listbox");
    map.setAttribute("aria-orientation", "horizontal");
    map.setAttribute("aria-label", "The tokens of the text");
    const cells = everyone().map((i) => {
      const cell = makeCell(i, "option");
      if (i === data.read) cell.classList.add("eos");
      const place = element("span", { class: "place" }, String(i));
      cell.append(place, element("span", { class: "token" }, kind.label(i)));
      cell.append(element("span", { class: "number" }));
      return cell;
    });
    map.append(...cells);
    return cells;
  },

  shares: (values) => values,

  move(i, key) {
    if (key === "ArrowLeft" || key === "ArrowUp") return Math.max(0, i - 1);
    if (key === "ArrowRight" || key === "ArrowDown") return Math.min(kind.n - 1, i + 1);
    if (key === "Home") return 0;
    if (key === "End") return kind.n - 1;
    return null;
  },

  // All tokens at once: a row looks, a column is looked at.
  thumbnail: () => element("div", { class: "matrix" }, element("canvas", { "aria-hidden": true })),
  drawThumbnail(canvas, head) {
    drawMask(canvas, kind.n, everyone().flatMap((one) => looks.from(head, one)));
  },
};

state.pinned = data.read;
state.layer = 0;
byId("help").textContent =
  "Point at a token; a click, a tap or the arrow keys keep it. Page up and page down change the " +
  "layer. " +
  (data.causal
    ? "EOS is the token whose state becomes the text's vector. A token looks at itself and at what " +
      "stands before it, so dashed ones have no part. "
    : data.read === 0
      ? "CLS is the first token; its state becomes the text's vector, and every token looks at all. "
      : "The text is read out at the last place, padding or not, and every token looks at all. ") +
  "In the small figures of the heads a row looks at a column.";
start();
