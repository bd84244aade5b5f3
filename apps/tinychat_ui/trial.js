// Old against new: the prompt, the panes of compare.js below it, and the way to the next one.

const trialTitle = h("h3", {});
const trialWords = h("p", { class: "teach-question", dir: "auto" });
const trialKind = h("p", { class: "tc-note" });
const trialSame = h("p", { class: "tc-note" });
const trialTally = h("p", { class: "train-words", role: "status" });
const trialBlind = h("input", { type: "checkbox", id: "trial-blind", onchange: () => trigger("act", { do: "blind", on: trialBlind.checked }) });
const trialNext = h("button", { type: "button", class: "tc-button tc-primary", onclick: () => trigger("next", {}) }, "Next prompt");
const trialStop = h("button", { type: "button", class: "tc-button", onclick: () => trigger("halt", {}) }, "Stop");
element.classList.add("trial");
element.prepend(h("div", { class: "train-head" }, trialTitle,
  h("label", { class: "teach-switch" }, trialBlind, "Blind")), trialKind, trialWords);
element.append(trialSame, trialTally, h("div", { class: "train-buttons" }, trialNext, trialStop,
  h("button", { type: "button", class: "tc-button", onclick: () => trigger("act", { do: "close" }) }, "Close")));

const ballots = { 1: "a", 2: "b", 0: "tie", x: "both bad" };
document.addEventListener("keydown", (event) => {
  if (element.offsetParent === null || event.defaultPrevented || event.repeat) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  const verdict = ballots[event.key.toLowerCase()], value = props.value || {};
  if (verdict && value.can_vote) trigger("vote", { verdict });
  else if (event.key.toLowerCase() === "n" && !value.busy && !value.is_over) trigger("next", {});
  else return;
  event.preventDefault();
});

follow(props, watch, (value) => {
  element.hidden = !value.open;
  trialTitle.textContent = value.title ? `Compare ${value.title}` : "";
  trialWords.textContent = value.question || "";
  trialKind.textContent = value.kind || "";
  trialSame.textContent = value.same || "";
  trialTally.textContent = value.voted ? "" : value.tally || "";
  trialBlind.checked = Boolean(value.blind);
  trialNext.disabled = Boolean(value.busy || value.is_over);
  trialStop.hidden = !value.busy;
});
