// All that was said about answers, the newest first; what visitors said stands apart until somebody here has read it.

const names = { all: "All", pick: "Picks", thumb: "Thumbs", rewrite: "Rewrites" };
const act = (what, more) => () => trigger("act", { do: what, ...more });
const chips = Object.keys(names).map((kind) => ({
  kind, count: h("span", { class: "tc-soft" }),
  node: h("button", { type: "button", class: "tc-choice", onclick: act("filter", { kind }) }),
}));
for (const chip of chips) chip.node.append(names[chip.kind], " ", chip.count);
const last = h("button", { type: "button", class: "tc-button", onclick: act("last") }, "Delete the last");
const restore = h("button", { type: "button", class: "tc-link", onclick: act("restore") }, "Undo");
const words = h("span", {});
const notice = h("p", { class: "review-notice", role: "status" }, words, " ", restore);
const list = h("ol", { class: "review-list", "aria-label": "Judgements" });
const empty = h("p", { class: "teach-intro" });
const more = h("button", { type: "button", class: "tc-button", onclick: act("more") }, "Show more");
const where = h("p", { class: "tc-note" });
const waitingWords = h("h3", {});
const waiting = h("ol", { class: "review-list", "aria-label": "Judgements of visitors" });
const apart = h("section", { class: "review-apart", "aria-label": "From visitors" },
  h("div", { class: "review-head" }, waitingWords,
    h("button", { type: "button", class: "tc-button", onclick: act("accept all") }, "Accept all"),
    h("button", { type: "button", class: "tc-button", onclick: act("delete all") }, "Delete all")),
  h("p", { class: "tc-note" }, "Nothing is learnt from them before you accept them."), waiting);
const tools = h("div", { class: "review-head" },
  h("div", { class: "tc-presets", role: "group", "aria-label": "Show" }, chips.map((chip) => chip.node)), last);
element.append(h("section", { class: "review", "aria-label": "Review" }, notice, apart, tools, list, more, empty, where));

function line(entry, buttons) {
  return h("li", { "data-id": entry.id },
    h("p", { class: "review-verdict" }, h("strong", {}, entry.verdict), h("span", {}, `${entry.model} · ${entry.when}`),
      h("span", { class: "review-tools" }, buttons.map(([what, name]) => h("button", {
        type: "button", class: "tc-link", onclick: act(what, { id: entry.id }), "aria-label": `${name}: ${entry.verdict}, ${entry.asked}`,
      }, name)))),
    h("p", { class: "review-asked", dir: "auto" }, entry.asked),
    h("p", { class: "review-said", dir: "auto" }, entry.said));
}

follow(props, watch, (value) => {
  const entries = value.entries || [], apartOnes = value.waiting || [], kinds = value.kinds || {};
  const focused = document.activeElement?.closest?.("li")?.dataset.id;
  for (const chip of chips) {
    chip.count.textContent = kinds[chip.kind] ?? "";
    chip.node.setAttribute("aria-pressed", String(value.kind === chip.kind));
  }
  words.textContent = value.notice || "";
  restore.hidden = !value.can_restore;
  notice.hidden = !value.notice;
  tools.hidden = !value.local || !kinds.all;
  last.disabled = !kinds.all;
  waitingWords.textContent = value.waiting_words || "";
  apart.hidden = apartOnes.length === 0;
  waiting.replaceChildren(...apartOnes.map((entry) => line(entry, [["accept", "Accept"], ["delete", "Delete"]])));
  list.replaceChildren(...entries.map((entry) => line(entry, [["delete", "Delete"]])));
  more.hidden = !value.hidden;
  more.textContent = `Show more of ${value.hidden}`;
  empty.textContent = value.local === false
    ? "What was said about answers is reviewed at the machine itself: open tinychat-ui there, without a token."
    : value.local && entries.length === 0 ? "Nothing here yet. Pick answers, or judge them below each answer in the Chat tab." : "";
  where.textContent = value.file && (kinds.all || value.unread) ? `One line each in ${value.file}. ${value.unread}`.trim() : "";
  if (focused && !element.contains(document.activeElement)) (list.querySelector("button") || last).focus({ preventScroll: true });
});
trigger("act", { do: "look" });
