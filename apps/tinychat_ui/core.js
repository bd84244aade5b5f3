// Put before every script of ours. Text reaches the page by `textContent` only, so that nothing a
// model or a person wrote is ever read as HTML.

/** An element: attributes by name, listeners by function (onclick), children as nodes or text. */
function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, name.startsWith("aria-") ? "true" : "");
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Give an element these children, moving only those that stand elsewhere. */
function arrange(parent, wanted) {
  wanted.forEach((node, place) => {
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

/** Keep something in this browser: a reload of this tab finds what this tab had, a new tab what was
 * kept last by any. A private window may forbid it. */
function store(name, value, places = ["sessionStorage", "localStorage"]) {
  for (const place of places)
    try { window[place].setItem(`tinychat.${name}`, JSON.stringify(value)); } catch { /* forbidden */ }
}

function stored(name, places = ["sessionStorage", "localStorage"]) {
  for (const place of places) {
    try {
      const found = JSON.parse(window[place].getItem(`tinychat.${name}`));
      if (found !== null) return found;
    } catch { /* forbidden, or not ours */ }
  }
  return null;
}

/** A small drawing; its paths are ours. */
function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({
    viewBox: "0 0 24 24", width: 16, height: 16, fill: "none", stroke: "currentColor",
    "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": true,
  })) svg.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Call `draw` now and whenever the server sends a new value. One that was made before the one
 * that is shown (`n` is when) came late, and is left out. */
function follow(props, watch, draw) {
  let newest = 0;
  const take = () => {
    const value = props.value || {};
    if ((value.n || 0) < newest) return;
    newest = value.n || 0;
    keepPlace(() => draw(value));
  };
  watch("value", take);
  take();
}

/** Where what has the focus is drawn away, or cannot be pressed any more, what stood around it gets
 * the focus: whoever uses the keyboard keeps the place on the page. */
function keepPlace(draw) {
  const before = document.activeElement, around = [];
  if (element.contains(before))
    for (let node = before; node && node !== document.body; node = node.parentElement) around.push(node);
  draw();
  const usable = (node) => node.isConnected && node.getClientRects().length > 0 && !node.disabled;
  const isLost = document.activeElement === before || document.activeElement === document.body;
  if (around.length === 0 || usable(before) || !isLost) return;
  const place = around.find(usable);
  if (!place) return;
  if (!place.hasAttribute("tabindex")) place.setAttribute("tabindex", "-1");
  place.focus({ preventScroll: true });
}
