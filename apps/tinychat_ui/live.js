// Learn after each answer: a switch, what each step costs, and the way back.

const PAUSE = 1500;  // milliseconds
const act = (what) => () => trigger("act", { do: what });
const id = `tc-${Math.random().toString(36).slice(2)}`;
const toggle = h("input", { type: "checkbox", role: "switch", id, onchange: () => { toggle.disabled = true; act(toggle.checked ? "on" : "off")(); } });
const about = h("p", { class: "train-words" });
const words = h("p", { class: "train-words", role: "status" });
const curve = h("div", { "aria-hidden": true });
const notice = h("p", { class: "train-notice", role: "status" });
const undo = h("button", { type: "button", class: "tc-button", onclick: act("undo") }, "Take the last step back");
const use = h("button", { type: "button", class: "tc-button", onclick: act("use") });
const part = h("section", { class: "live", "aria-label": "Learn after each answer" },
  h("div", { class: "live-head" }, toggle, h("label", { for: id }, "Learn after each answer")), about, words, curve,
  h("div", { class: "train-buttons" }, use, undo), notice);
element.append(part);

function line(values) {
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const points = values.map((value, place) =>
    `${((place * 100) / (values.length - 1)).toFixed(1)} ${(22 - (20 * (value - low)) / span).toFixed(1)}`);
  const drawn = icon(`M${points.join("L")}`);
  drawn.setAttribute("viewBox", "0 0 100 24");
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("class", "tc-spark");
  return drawn;
}

follow(props, watch, (value) => {
  part.hidden = !value.local;
  toggle.checked = Boolean(value.on);
  toggle.disabled = Boolean(value.starting) || !value.label;
  about.textContent = value.on ? "" : `Each judgement is one small step at once, on a copy: ${value.label || "the model"} stays as it is.`;
  words.textContent = value.starting ? "The copy is being made …" : value.words || "";
  const values = value.curve || [];
  curve.replaceChildren(...(values.length > 1 ? [line(values)] : []));
  undo.hidden = !value.on || value.starting;
  undo.disabled = !value.can_undo;
  use.hidden = !value.answers;
  use.textContent = `Let ${value.answers} answer`;
  notice.textContent = value.notice || "";
});
setInterval(() => { if (props.value?.on && element.offsetParent !== null && !document.hidden) act("look")(); }, PAUSE);
act("look")();
