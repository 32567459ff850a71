"use strict";
// Opens calls in place, and lights up a tensor wherever it is passed on. This runs once for each
// piece of annotated source on a page; the first one listens for all of them.
(window.clipnotesNotes ??= (() => {
  const ROOT = ".clipnotes-notes";
  const NAME = "code [data-m]"; // one that keys can reach; the margin has others
  let number = 0;
  const lit = { root: null, hovered: null, focused: null, pinned: null };

  const inside = (event, selector) => event.target.closest?.(ROOT) && event.target.closest(selector);
  // Of this function, and not of one that it called.
  const own = (part) => [
    ...part.querySelectorAll(`:scope > .cn-row ${NAME}, :scope > .cn-fold > .cn-row ${NAME}`),
  ];
  const calls = (button) => [
    ...button.closest(ROOT).querySelectorAll(`.cn-in[data-o="${button.dataset.o}"]`),
  ];
  const buttonOf = (call) =>
    call.closest(ROOT).querySelector(`button.cn-call[data-o="${call.dataset.o}"]`);

  function prepare(root) {
    root.classList.add("cn-js");
    for (const span of root.querySelectorAll(".cn-call")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = span.className;
      button.dataset.o = span.dataset.o;
      button.append(...span.childNodes);
      span.replaceWith(button);
      const ids = calls(button).map((call) => (call.id = `clipnotes-call-${++number}`));
      button.setAttribute("aria-controls", ids.join(" "));
      showState(button);
    }
    for (const name of root.querySelectorAll(NAME)) {
      name.setAttribute("role", "button");
      name.setAttribute("aria-pressed", "false");
      name.tabIndex = -1;
    }
    // One stop of the tab key for each function; arrows go on from there.
    for (const part of root.querySelectorAll(".cn-fn")) own(part)[0]?.setAttribute("tabindex", 0);
  }

  // Calls

  function showState(button) {
    button.setAttribute("aria-expanded", calls(button).some((call) => call.open));
  }

  function turn(some, open) {
    for (const call of some) {
      call.open = open;
      showState(buttonOf(call));
    }
    if (lit.root) show();
  }

  function reveal(element) {
    for (let one = element.closest("details"); one; one = one.parentElement.closest("details")) {
      one.open = true;
    }
  }

  // Of those that the browser's own search opens, too.
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.(`${ROOT} .cn-in`)) return;
    showState(buttonOf(event.target));
    if (lit.root) show();
  }, true);

  document.addEventListener("click", (event) => {
    const button = inside(event, "button.cn-call");
    if (button) {
      const its = calls(button);
      turn(its, !its.some((call) => call.open));
    }
    const all = inside(event, ".cn-bar button");
    if (all) {
      const root = all.closest(ROOT), open = all.dataset.do === "open";
      turn(root.querySelectorAll(".cn-in"), open);
      // A call can be in what is folded.
      for (const fold of open ? root.querySelectorAll(".cn-fold") : []) fold.open = true;
    }
    const title = inside(event, ".cn-in[open] > summary");
    if (title) {
      // It goes out of sight with what it closes, and the focus must not go with it.
      event.preventDefault();
      turn([title.parentElement], false);
      buttonOf(title.parentElement).focus();
    }
    const name = inside(event, "[data-m]");
    if (name) keep(name);
  });

  // Tensors

  function show() {
    const { root } = lit;
    const name = lit.hovered ?? lit.focused ?? lit.pinned;
    const said = root.querySelector(":scope > .cn-said");
    for (const one of root.querySelectorAll(".cn-lit, .cn-has, [aria-pressed=true]")) {
      one.classList.remove("cn-lit", "cn-has");
      if (one.hasAttribute("aria-pressed")) one.setAttribute("aria-pressed", "false");
    }
    said.replaceChildren();
    if (!name) return;
    const rows = new Set();
    const closed = new Set();
    for (const one of root.querySelectorAll(`[data-m="${name.dataset.m}"]`)) {
      one.classList.add("cn-lit");
      const row = one.closest(".cn-row");
      rows.add(row);
      const call = outermostClosed(row);
      if (!call) continue;
      closed.add(row);
      buttonOf(call)?.classList.add("cn-has");
    }
    if (lit.pinned?.matches(NAME)) lit.pinned.setAttribute("aria-pressed", "true");
    const hidden = closed.size ? `, ${closed.size} of them in calls that are closed` : "";
    const text = document.createElement("span");
    text.textContent = `${name.textContent}: the same tensor in ${rows.size} places${hidden}`;
    said.append(text);
  }

  function outermostClosed(element) {
    let found = null;
    for (let one = element.closest(".cn-in"); one; one = one.parentElement.closest(".cn-in")) {
      if (!one.open) found = one;
    }
    return found;
  }

  function set(root, changes) {
    if (lit.root && lit.root !== root) {
      Object.assign(lit, { hovered: null, focused: null, pinned: null });
      show();
    }
    Object.assign(lit, { root, ...changes });
    show();
  }

  function keep(name) {
    const again = lit.pinned?.dataset.m === name.dataset.m && lit.root === name.closest(ROOT);
    set(name.closest(ROOT), { pinned: again ? null : name, hovered: null, focused: null });
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const name = inside(event, "[data-m]") || null;
    if (name) set(name.closest(ROOT), { hovered: name });
    else if (lit.hovered) set(lit.root, { hovered: null });
  });

  document.addEventListener("focusin", (event) => {
    const name = inside(event, NAME);
    if (name) {
      for (const other of own(name.closest(".cn-fn"))) other.tabIndex = other === name ? 0 : -1;
    }
    if (name) set(name.closest(ROOT), { focused: name });
    else if (lit.focused) set(lit.root, { focused: null });
  });
  document.addEventListener("focusout", () => {
    if (lit.focused) set(lit.root, { focused: null });
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && lit.root) {
      set(lit.root, { hovered: null, focused: null, pinned: null });
      return;
    }
    const name = inside(event, NAME);
    if (!name) return;
    if (event.key === "Enter" || event.key === " ") {
      keep(name);
    } else {
      const next = neighbour(name, event.key);
      if (!next) return;
      reveal(next);
      next.focus();
    }
    event.preventDefault();
  });

  function neighbour(name, key) {
    const along = key === "ArrowLeft" || key === "ArrowRight" || key === "Home" || key === "End";
    if (!along && key !== "ArrowUp" && key !== "ArrowDown") return null;
    const all = along
      ? own(name.closest(".cn-fn"))
      : [...name.closest(ROOT).querySelectorAll(`code [data-m="${name.dataset.m}"]`)];
    if (key === "Home" || key === "End") return all.at(key === "Home" ? 0 : -1);
    const step = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
    return all[(all.indexOf(name) + step + all.length) % all.length];
  }

  return () => {
    for (const root of document.querySelectorAll(`${ROOT}:not(.cn-js)`)) prepare(root);
  };
})())();
