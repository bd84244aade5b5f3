// The conversation and the box below it. The server sends all that is shown as one value; what has
// not changed is not drawn again, so that a selection, an open editor and the keyboard's place stay.

const touch = matchMedia("(pointer: coarse)").matches;
const drawn = new Map();  // id -> { told, node, body }
let busy = false;
let shown = {};  // the newest value
let stuck = true;  // to the end; a person who scrolls up lets go
let lastTop = 0;
let sent = null;  // a message on its way to the server
let sentAfter = 0;  // turns that were shown before it
let sentBegin = "";
let away = false;  // the server

const list = h("div", { class: "tc-turns", role: "log", "aria-live": "off", "aria-label": "Conversation" });
const empty = h("div", { class: "tc-empty" });
const scroller = h("div", { class: "tc-scroller", tabindex: 0, role: "region", "aria-label": "Conversation, scrolls" },
  h("div", { class: "tc-column" }, empty, list));
const toEnd = h("button", {
  type: "button", class: "tc-button tc-to-end", hidden: true, onclick: () => { stuck = true; settle(); },
}, icon("M12 5v14M6 13l6 6 6-6"), "To the end");
const announced = h("p", { class: "tc-sr", role: "status" });

const box = h("textarea", {
  class: "tc-box", rows: 1, dir: "auto", maxlength: 100000, "aria-label": "Message", onkeydown: pressed,
  oninput: () => { fit(); saveDraft(); },
});
const begin = h("input", { class: "tc-input", type: "text", maxlength: 2000, "aria-label": "Start the answer with" });
const beginLine = h("div", { class: "tc-begin", hidden: true }, h("span", { class: "tc-note" }, "Answer starts with"), begin);
const beginToggle = h("button", {
  type: "button", class: "tc-link", "aria-expanded": "false",
  onclick: () => { unfold(beginLine.hidden); if (!beginLine.hidden) begin.focus(); },
}, "Start the answer with…");
const pinned = h("button", {
  type: "button", class: "tc-link tc-pinned", hidden: true, title: "Draw another seed for each answer again",
  onclick: () => window.dispatchEvent(new CustomEvent("tc-keep-seed", { detail: null })),
});
const send = h("button", { type: "button", class: "tc-button tc-primary tc-send", disabled: true, onclick: sendBox }, "Send");
const halt = h("button", { type: "button", class: "tc-button tc-stop", hidden: true, onclick: stop },
  icon("M7 7h10v10H7z"), "Stop");
const fresh = h("button", {
  type: "button", class: "tc-link", onclick: () => trigger("act", { do: "new" }),
}, "New conversation");
const hint = h("p", { class: "tc-hint" });
const notice = h("p", { class: "tc-notice", role: "status" });

element.append(h("div", { class: "tc-chat" }, scroller, toEnd, announced,
  h("div", { class: "tc-composer" },
    notice, beginLine,
    h("div", { class: "tc-entry" }, box, send, halt),
    h("div", { class: "tc-under" }, hint, h("span", { class: "tc-links" }, pinned, beginToggle, fresh)))));

// --- asking and stopping ---

function ask(data) {
  if (busy || away) return;
  setBusy(true);  // at once: the server says the same a moment later
  stuck = true;
  trigger("ask", { ...data, conversation: addressed() });
}

function sendBox() {
  const text = box.value;
  if (busy || !text.trim() || send.disabled) return;
  sent = text;
  sentAfter = (shown.turns || []).length;
  sentBegin = begin.value;
  box.value = "";
  fit();
  ask({ do: "send", text, begin: begin.value });
  unfold(false);  // it was for this answer
}

function unfold(wanted) {
  beginLine.hidden = !wanted;
  beginToggle.setAttribute("aria-expanded", String(wanted));
  if (!wanted) begin.value = "";
}

/** What was typed outlives a reload; what was sent, until the server has it. */
function saveDraft() {
  store("draft", sent ?? box.value, ["sessionStorage"]);
}

function takeBack(text) {
  sent = null;
  if (!box.value.startsWith(text)) box.value = [text, box.value].filter(Boolean).join("\n");
  if (text && sentBegin && !begin.value) {
    unfold(true);
    begin.value = sentBegin;
  }
  sentBegin = "";
  fit();
  saveDraft();
}

function reach() {
  send.disabled = away || shown.closed !== false;
  if (!away || sent === null) return;
  takeBack(sent);  // it has never arrived
  setBusy(false);
}

function tellSeed() {
  const seed = window.tcSeed ?? null;
  pinned.hidden = seed === null;
  pinned.textContent = `Seed ${seed} is kept: let go`;
}

function stop() {
  if (!busy) return;
  trigger("halt", {});
  if (!shown.busy) setBusy(false);  // the server has never begun
}

function setBusy(now) {
  const before = document.activeElement;
  busy = now;
  send.hidden = now;
  halt.hidden = !now;
  if (now && before === send) halt.focus();
  if (!now && before === halt) box.focus();
}

function pressed(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch) return;
  event.preventDefault();
  sendBox();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && busy && element.isConnected) stop();
});

function fit() {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.35)}px`;
}

// --- staying at the end ---

function settle() {
  if (stuck) {
    scroller.scrollTop = scroller.scrollHeight;
    lastTop = scroller.scrollTop;
  }
  toEnd.hidden = stuck;
}

scroller.addEventListener("wheel", (event) => {
  if (event.deltaY < 0 && scroller.scrollHeight > scroller.clientHeight) { stuck = false; settle(); }
}, { passive: true });
scroller.addEventListener("scroll", () => {
  const top = scroller.scrollTop;
  const atEnd = scroller.scrollHeight - scroller.clientHeight - top < 24;
  if (top < lastTop - 1) stuck = atEnd;
  else if (top > lastTop + 1 && atEnd) stuck = true;
  lastTop = top;
  toEnd.hidden = stuck;
}, { passive: true });

// --- one message ---

function words(text) {
  // between lines of ``` stands code; all else is text as it is
  return text.split(/^```.*\n?/m).map((part, place) => place % 2
    ? h("pre", { class: "tc-code", tabindex: 0 }, part.replace(/\n$/, ""))
    : h("div", { class: "tc-words", dir: "auto" }, part)).filter((node) => node.textContent || text === "");
}

function button(label, path, onclick, attributes) {
  return h("button", { type: "button", class: "tc-tool", title: label, "aria-label": label, onclick, ...attributes }, icon(path));
}

function arrows(turn) {
  if (turn.versions.length < 2) return null;
  const place = turn.versions.indexOf(turn.id);
  const go = (to) => trigger("act", { do: "choose", id: turn.versions[to] });
  return h("span", { class: "tc-versions" },
    button("Earlier version", "M15 6l-6 6 6 6", () => go(place - 1), { disabled: place === 0 }),
    h("span", {}, `${place + 1}/${turn.versions.length}`),
    button("Later version", "M9 6l6 6-6 6", () => go(place + 1), { disabled: place === turn.versions.length - 1 }));
}

function tools(turn) {
  const answer = turn.role === "assistant";
  const id = turn.id;
  const given = (word) => ({ "aria-pressed": String(turn.mark === word), "data-do": word });
  return h("div", { class: "tc-tools" },
    arrows(turn),
    button("Copy", "M9 9h11v11H9zM5 15H4V4h11v1", (event) => copy(event.currentTarget, turn.text)),
    answer ? button("Answer again", "M20 11a8 8 0 1 0-2 6M20 5v6h-6", () => ask({ do: "again", id })) : null,
    answer ? button("Continue", "M5 5l7 7-7 7M13 5l7 7-7 7", () => ask({ do: "continue", id })) : null,
    answer && turn.model ? button("Good answer", "M7 11v9H4v-9zM7 11l4-7c2 0 2 2 1 6h6c2 0 2 1 1.500 3l-1 5c-.3 1-1 2-2 2H7", () => mark("up"), given("up")) : null,
    answer && turn.model ? button("Bad answer", "M7 13V4H4v9zM7 13l4 7c2 0 2-2 1-6h6c2 0 2-1 1.500-3l-1-5c-.3-1-1-2-2-2H7", () => mark("down"), given("down")) : null,
    button(answer ? "Rewrite the answer" : "Edit", "M4 20h4L19 9l-4-4L4 16zM13 7l4 4", () => edit(turn)),
    answer && turn.model ? button("Look inside", "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5", () => lookInside(id)) : null,
    !answer && turn.unanswered ? button("Answer again", "M20 11a8 8 0 1 0-2 6M20 5v6h-6", () => ask({ do: "again", id })) : null);

  function mark(word) { trigger("act", { do: word, id }); }
}

function lookInside(id) {
  const panel = document.getElementById("tc-inside");
  if (!panel.querySelector(".tc-close")) panel.prepend(h("button", {
    type: "button", class: "tc-button tc-close", onclick: () => panel.classList.remove("tc-open"),
  }, "Close"));
  panel.classList.add("tc-open");
  trigger("act", { do: "inside", id });
}

async function copy(from, text) {
  try { await navigator.clipboard.writeText(text); } catch { return; }
  from.classList.add("tc-done");
  setTimeout(() => from.classList.remove("tc-done"), 1200);
}

function edit(turn) {
  const kept = drawn.get(turn.id);
  const answer = turn.role === "assistant";
  const field = h("textarea", { class: "tc-input tc-editor", "aria-label": answer ? "Better answer" : "Message", rows: 3 });
  field.value = turn.text;
  const close = () => { kept.told = ""; kept.editing = false; draw(shown); };
  const save = () => {
    const text = field.value;
    if (!text.trim() || busy || away) return;  // the editor keeps it until the server is back
    close();
    if (answer) trigger("act", { do: "rewrite", id: turn.id, text });
    else ask({ do: "edit", id: turn.id, text });
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !touch) { event.preventDefault(); save(); }
    if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(); }
  });
  kept.editing = true;
  kept.body.replaceChildren(field, h("div", { class: "tc-editor-buttons" },
    h("button", { type: "button", class: "tc-button tc-primary", onclick: save }, answer ? "Keep as better answer" : "Send"),
    h("button", { type: "button", class: "tc-button", onclick: close }, "Cancel")));
  field.focus();
}

const REASONS = ["repeats", "off topic", "garbled", "wrong", "other"];

function reasons(turn) {
  if (!turn.ask_reason) return null;
  return h("div", { class: "tc-reasons", role: "group", "aria-label": "What is wrong with it" },
    h("span", { class: "tc-note" }, "What is wrong with it?"),
    REASONS.map((word) => h("button", {
      type: "button", class: "tc-choice", onclick: () => trigger("act", { do: "reason", id: turn.id, reason: word }),
    }, word)));
}

function seed(turn) {
  if (turn.seed === undefined || turn.seed === null) return null;
  return h("button", {
    type: "button", class: "tc-link", title: "Keep this seed for the next answers",
    onclick: () => window.dispatchEvent(new CustomEvent("tc-keep-seed", { detail: turn.seed })),
  }, `seed ${turn.seed}`);
}

function make(turn, kept) {
  const answer = turn.role === "assistant";
  kept.body = h("div", { class: "tc-body" }, turn.text || !turn.live ? words(turn.text)
    : h("span", { class: "tc-waiting" }, turn.waiting || "…"));
  kept.foot = h("div", { class: "tc-foot" });
  const node = kept.node || h("article", {});
  node.className = `tc-turn tc-${turn.role}${turn.dropped ? " tc-dropped" : ""}${turn.live ? " tc-live" : ""}`;
  node.dataset.id = turn.id;
  node.replaceChildren(
    h("h2", { class: "tc-who" }, answer ? turn.model || "you, as the model" : "you",
      turn.dropped ? h("span", { class: "tc-soft" }, " · no longer seen by the model") : null),
    kept.body, kept.foot);
  kept.node = node;
  foot(turn, kept);
  return node;
}

function foot(turn, kept) {
  kept.foot.replaceChildren(...[
    turn.stats ? h("p", { class: "tc-stats" }, turn.stats, turn.live ? null : [" ", seed(turn)]) : null,
    turn.remark ? h("p", { class: "tc-remark" }, turn.remark,
      turn.looped ? h("button", { type: "button", class: "tc-link", onclick: () => ask({ do: "again", id: turn.id, repetition_penalty: 1.2 }) }, "Try with repetition penalty 1.2") : null) : null,
    turn.live ? null : tools(turn), reasons(turn)].filter(Boolean));
}

function turnNode(turn) {
  let kept = drawn.get(turn.id);
  if (!kept) drawn.set(turn.id, kept = { told: "" });
  const told = JSON.stringify(turn);
  if (told === kept.told || kept.editing) return kept.node;
  const before = kept.turn;
  kept.told = told;
  kept.turn = turn;
  const focused = kept.node && kept.node.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  if (before && before.live && turn.live && before.text && turn.text.startsWith(before.text)) {
    kept.body.replaceChildren(...words(turn.text));  // the rest stays, so that nothing flickers
    foot(turn, kept);
    return kept.node;
  }
  const node = make(turn, kept);
  if (focused) node.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  return node;
}

// --- the whole value ---

function welcome(about) {
  if (!about) return [];
  return [h("h2", {}, about.title), ...about.lines.map((line) => h("p", {}, line)),
    about.command ? h("pre", { class: "tc-code", tabindex: 0 }, about.command) : null,
    about.after ? h("p", {}, about.after) : null,
    about.prompts && about.prompts.length ? h("div", { class: "tc-prompts" }, about.prompts.map((text) =>
      h("button", { type: "button", class: "tc-prompt", onclick: () => ask({ do: "send", text, begin: "" }) }, text))) : null,
  ].filter(Boolean);
}

function draw(value) {
  shown = value;
  const turns = value.turns || [];
  const ids = new Set(turns.map((turn) => turn.id));
  for (const id of drawn.keys()) if (!ids.has(id)) drawn.delete(id);
  const nodes = turns.map(turnNode);
  if (value.hidden_turns) nodes.unshift(h("p", { class: "tc-note" }, value.hidden_turns));
  arrange(list, nodes);
  const told = JSON.stringify(value.empty || null);
  if (empty.dataset.told !== told) {
    empty.dataset.told = told;
    empty.replaceChildren(...welcome(value.empty));
  }
  empty.hidden = !value.empty;
  notice.textContent = value.notice || "";
  notice.hidden = !value.notice;
  hint.textContent = value.hint || (touch ? "" : "Enter sends, Shift+Enter breaks the line, Esc stops");
  box.placeholder = value.placeholder || "Message";
  // an answer that was stopped at once is never shown as busy
  if (sent !== null && (value.busy || turns.length > sentAfter)) { sent = null; saveDraft(); }
  reach();
  if (busy && !value.busy) announced.textContent = value.announce || "";
  if (busy !== Boolean(value.busy)) setBusy(Boolean(value.busy));
  if (value.give_back) takeBack(value.give_back);
  if (value.conversation !== undefined) remember(value.conversation);
  document.title = value.title ? `${value.title} · tinychat` : "tinychat";
  settle();
}

function addressed() {
  return (location.hash.match(/^#c=([\w-]+)$/) || [])[1] || null;
}

function remember(conversation) {
  const hash = conversation ? `#c=${conversation}` : "";
  if (location.hash !== hash) history.replaceState(null, "", location.pathname + location.search + hash);
}

new ResizeObserver(settle).observe(scroller);
window.addEventListener("hashchange", () => {
  if (addressed() !== (shown.conversation ?? null)) trigger("open", { conversation: addressed() });
});
window.addEventListener("tc-seed", tellSeed);
window.addEventListener("tc-away", (event) => { away = event.detail; reach(); });
tellSeed();
takeBack(stored("draft") || "");
trigger("open", { conversation: addressed() });
follow(props, watch, draw);
box.focus({ preventScroll: true });
