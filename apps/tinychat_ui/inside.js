// Look inside: the tokens are one stop of the tab order. Arrow keys move, Enter or Space chooses.

const tokens = () => [...element.querySelectorAll(".inside-token[data-index]")];
const choose = (index) => trigger("choose", { index: Number(index) });

function focus(token) {
  for (const other of tokens()) other.tabIndex = other === token ? 0 : -1;
  token.focus();
}

/** The token on the nearest line below (or above) whose beginning is nearest. */
function beside(token, below) {
  const from = token.getClientRects()[0];
  const far = (box) => 1000 * Math.abs(box.top - from.top) + Math.abs(box.left - from.left);
  return tokens()
    .map((other) => [other, other.getClientRects()[0]])
    .filter(([, box]) => (below ? box.top > from.top + 4 : box.top < from.top - 4))
    .reduce((best, each) => (best && far(best[1]) <= far(each[1]) ? best : each), null)?.[0];
}

element.addEventListener("click", ({ target }) => {
  const token = target.closest("[data-index]");
  const go = target.closest("[data-go]");
  const fork = target.closest("[data-fork]");
  if (token) {
    focus(token);
    choose(token.dataset.index);
  } else if (go) {
    choose(go.dataset.go);
  } else if (fork) {
    trigger("fork", { id: Number(fork.dataset.fork) });
  }
});

element.addEventListener("keydown", (event) => {
  const token = event.target.closest("[data-index]");
  if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = tokens();
  const at = all.indexOf(token);
  const to = {
    ArrowRight: () => all[at + 1],
    ArrowLeft: () => all[at - 1],
    ArrowDown: () => beside(token, true),
    ArrowUp: () => beside(token, false),
    Home: () => all[0],
    End: () => all[all.length - 1],
  }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(token.dataset.index);
  else if (!to) return;
  event.preventDefault();
  const next = to && to();
  if (next) focus(next);
});
