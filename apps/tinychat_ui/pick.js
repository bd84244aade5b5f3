// One prompt, four answers, in a row: keys or taps say which is best, or write one of them better.

const TYPING = "input, textarea, select, [contenteditable]";
const PRESSED = "button, a, summary, [role=tab], [role=button]";  // Enter is theirs
const touch = matchMedia("(pointer: coarse)").matches;
const narrow = matchMedia("(max-width: 640px)");

const box = h("textarea", {
  class: "tc-box", rows: 1, dir: "auto", maxlength: 100000, "aria-label": "Prompt for four answers",
  placeholder: props.suggests ? "Type a prompt, or let one be suggested" : "Type a prompt", onkeydown: typed,
  oninput: () => write(box.value),
});
const send = h("button", { type: "button", class: "tc-button tc-primary", id: "teach-ask", onclick: askOwn }, "Ask");
const propose = h("button", { type: "button", class: "tc-button", id: "teach-suggest", hidden: !props.suggests, onclick: () => ask("") }, "Suggest a prompt");
const question = h("p", { class: "teach-question", dir: "auto" });
const row = h("div", { class: "teach-four" });
const notice = h("p", { class: "teach-notice", role: "status" });
const announced = h("p", { class: "tc-sr", role: "status" });

/** A button whose key does the same. */
function key(letter, words, act, name) {
  return h("button", { type: "button", class: "tc-button", onclick: act, "aria-keyshortcuts": name || letter },
    h("kbd", { "aria-hidden": true }, letter), words);
}

const onward = key("N", "Next prompt", next);
const skip = key("S", "Skip", passOver);
const halt = key("Esc", "Stop", stop, "Escape");
halt.id = "teach-stop";
const rewrite = key("R", "Rewrite", () => edit(current()));
const undo = key("U", "Undo", () => trigger("judge", { do: "undo" }));
const own = key("P", "Own prompt", () => box.focus());
const keys = h("input", { type: "checkbox", id: "teach-keys", checked: stored("teach-keys") !== false, onchange: () => {
  store("teach-keys", keys.checked, ["localStorage"]);
  element.classList.toggle("teach-no-keys", !keys.checked);
} });
element.classList.toggle("teach-no-keys", touch || !keys.checked);
const legend = h("div", { class: "teach-legend", role: "group", "aria-label": "What to do with them" },
  onward, skip, halt, touch ? null : rewrite, undo, touch ? null : own,
  touch ? null : h("label", { class: "teach-switch" }, keys, "Keys"));
const intro = h("p", { class: "teach-intro" }, touch
  ? "One prompt, four answers: tap the best, or write one of them better. A better model is made of what you say."
  : "One prompt, four answers: pick the best with the keys 1 to 4, or write one of them better. A better model is made of what you say.");
const stage = h("section", { class: "teach-stage", tabindex: -1, "aria-label": "Four answers" },
  intro, question, notice, row, announced);
element.append(h("div", { class: "tc-entry teach-entry", id: "teach-prompt" }, box, propose, send), stage, legend);

const cards = [1, 2, 3, 4].map((number) => {
  const text = h("div", { class: "teach-text", tabindex: 0, role: "group", "aria-label": `Answer ${number}`, dir: "auto" });
  const best = h("button", {
    type: "button", class: "tc-button teach-best", "aria-label": `Answer ${number} is the best`, "aria-keyshortcuts": String(number),
    onclick: () => pick(number),
  }, h("kbd", { "aria-hidden": true }, String(number)), "Best");
  const pen = h("button", { type: "button", class: "tc-tool", "aria-label": `Write answer ${number} better`, title: "Write it better", onclick: () => edit(card) },
    icon("M12 20h9M16.5 3.5a2.1 2.1 0 0 1 3 3L7 19l-4 1 1-4z"));
  const mark = h("span", { class: "teach-mark" });
  const foot = h("div", { class: "teach-foot" }, best, mark, pen);
  const card = { number, text, best, pen, mark, foot, node: h("article", { class: "teach-card" }, text, foot) };
  return card;
});

let shown = {};
let editing = null;  // { card, field }
let round = 0;
let scrolled = 0;  // the round that was brought into view

function current() {
  return cards.find((card) => card.node.contains(document.activeElement)) || cards[0];
}

/** What was typed outlives a reload. */
function write(text) {
  if (box.value !== text) box.value = text;
  store("teach", text, ["sessionStorage"]);
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function ask(text) {
  if (shown.busy) return;
  stage.focus({ preventScroll: true });
  shown = { ...shown, busy: true, can_pick: false };  // until the server says more
  trigger("ask", { text });
}

function askOwn() {
  const text = box.value;
  if (shown.busy) return;
  write("");
  ask(text);
}

function next() {
  if (shown.busy) return;
  if (shown.can_pick) notice.textContent = "Which is best? Press 1 to 4, R to write it better, or S to skip.";
  else if (props.suggests || box.value.trim()) askOwn();
  else box.focus();
}

/** None of them; who is suggested nothing types the next prompt. */
function passOver() {
  if (!shown.can_pick) return;
  if (props.suggests) ask("");
  else box.focus();
}

function stop() {
  if (shown.busy) trigger("halt", {});
}

function pick(number) {
  if (!shown.can_pick || editing) return;
  stage.focus({ preventScroll: true });
  shown = { ...shown, can_pick: false };
  trigger("judge", { number });
}

function typed(event) {
  if (event.key === "Escape") stage.focus({ preventScroll: true });
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch) return;
  event.preventDefault();
  askOwn();
}

// --- writing an answer better, where it stands ---

function edit(card) {
  if (!shown.can_pick || editing) return;
  const field = h("textarea", {
    class: "tc-input teach-field", maxlength: 100000, dir: "auto", "aria-label": `Answer ${card.number}, written better`,
    onkeydown: (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") { event.preventDefault(); close(); }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); keep(); }
    },
  });
  const tools = h("div", { class: "teach-foot" },
    h("button", { type: "button", class: "tc-button tc-primary", onclick: keep, title: "Ctrl+Enter" }, "Keep"),
    h("button", { type: "button", class: "tc-button", onclick: close }, "Cancel"));
  field.value = card.text.textContent;
  editing = { card, field };
  card.node.replaceChildren(field, tools);
  field.style.height = `${Math.max(96, field.scrollHeight + 4)}px`;
  field.focus();
  field.select();
}

function close() {
  if (!editing) return;
  const { card } = editing;
  editing = null;
  card.node.replaceChildren(card.text, card.foot);
  stage.focus({ preventScroll: true });
}

function keep() {
  const { card, field } = editing;
  if (!field.value.trim()) return;
  trigger("judge", { do: "better", number: card.number, text: field.value });
}

// --- the keys ---

const acts = { n: next, s: passOver, r: () => edit(current()), p: () => box.focus(),
  u: () => { if (shown.can_undo) trigger("judge", { do: "undo" }); } };

document.addEventListener("keydown", (event) => {
  if (!keys.checked || element.offsetParent === null || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.target.closest(TYPING)) return;
  if (event.key === "Escape") { stop(); return; }
  const does = event.key === "Enter" ? !event.target.closest(PRESSED) && next
    : /^[1-4]$/.test(event.key) ? () => pick(Number(event.key)) : acts[event.key.toLowerCase()];
  if (!does || event.repeat) return;
  event.preventDefault();
  does();
});

follow(props, watch, (value) => {
  const fresh = value.round !== round, ready = value.can_pick && !shown.can_pick;
  shown = value;
  const answers = value.answers || [];
  if (editing && (fresh || !value.can_pick)) close();
  round = value.round;
  if (value.give_back && !value.busy && !box.value) write(value.give_back);
  question.textContent = value.question || "";
  question.hidden = !value.question;
  notice.textContent = value.notice || (value.can_pick ? "Which is best?" : "");
  intro.hidden = Boolean(value.question || value.notice);
  notice.hidden = !intro.hidden;
  row.hidden = answers.length === 0;
  row.classList.toggle("teach-judged", Boolean(value.kept));
  arrange(row, cards.slice(0, answers.length).map((card) => card.node));
  answers.forEach((answer, place) => {
    const card = cards[place];
    card.text.textContent = answer.text;
    card.text.classList.toggle("teach-waiting", Boolean(value.busy && !answer.text));
    card.best.disabled = !value.can_pick;
    card.best.setAttribute("aria-pressed", String(answer.chosen));
    card.pen.hidden = !value.can_pick;
    card.mark.textContent = answer.mark;
    card.mark.classList.toggle("teach-own", answer.own);
    card.node.classList.toggle("teach-chosen", answer.chosen);
  });
  halt.hidden = !value.busy;
  skip.hidden = rewrite.hidden = !value.can_pick;
  onward.hidden = Boolean(value.busy || value.can_pick);
  onward.classList.toggle("tc-primary", Boolean(value.kept));
  undo.disabled = !value.can_undo;
  send.disabled = propose.disabled = Boolean(value.busy);
  if (announced.textContent !== value.announce) announced.textContent = value.announce || "";
  if (answers.length && scrolled !== round && narrow.matches) {
    scrolled = round;
    stage.scrollIntoView({ block: "start" });
  }
  // four new answers: the keys are theirs, unless the person types
  if (ready && element.offsetParent !== null && !document.activeElement?.closest(TYPING)) stage.focus({ preventScroll: true });
});
write(stored("teach") || "");
