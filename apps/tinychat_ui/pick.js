// Four answers to one prompt in a row; a button or the keys 1 to 4 name the best.

const notice = h("p", { class: "teach-notice", role: "status" });
const row = h("div", { class: "teach-four" });
const own = h("textarea", { class: "tc-input", rows: 3, maxlength: 100000, "aria-label": "Your own answer" });
const keep = h("button", {
  type: "button", class: "tc-button", onclick: () => { if (own.value.trim()) trigger("better", { text: own.value }); },
}, "Keep my answer");
const better = h("details", { class: "teach-better", hidden: true },
  h("summary", {}, "None of them? Write a better one"), own, keep);
element.append(notice, row, better);

const cards = [1, 2, 3, 4].map((number) => {
  const text = h("div", { class: "teach-text", tabindex: 0, role: "group", "aria-label": `Answer ${number}` });
  const facts = h("p", { class: "teach-facts" });
  const best = h("button", {
    type: "button", class: "tc-button", "aria-label": `Answer ${number} is the best`, "aria-keyshortcuts": String(number),
    onclick: () => pick(number),
  }, h("kbd", {}, String(number)), "Best");
  return { number, text, facts, best, node: h("article", { class: "teach-card" }, text, facts, best) };
});

let can = false;

function pick(number) {
  if (can) trigger("pick", { number });
}

document.addEventListener("keydown", (event) => {
  if (!can || event.ctrlKey || event.metaKey || event.altKey || element.offsetParent === null) return;
  if (!/^[1-4]$/.test(event.key) || event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  pick(Number(event.key));
});

let asked = "";

follow(props, watch, (value) => {
  const answers = value.answers || [];
  notice.textContent = value.notice || (value.can_pick ? "Which is best? Press 1 to 4, or its button." : "");
  row.hidden = answers.length === 0;
  arrange(row, cards.slice(0, answers.length).map((card) => card.node));
  answers.forEach((answer, place) => {
    const card = cards[place];
    card.text.textContent = answer.text;
    card.text.classList.toggle("teach-waiting", Boolean(value.busy && !answer.text));
    card.facts.textContent = answer.trouble || answer.facts;
    card.best.disabled = !value.can_pick;
    card.best.setAttribute("aria-pressed", String(answer.chosen));
    card.node.classList.toggle("teach-chosen", answer.chosen);
  });
  better.hidden = !value.can_pick;
  if (value.can_pick && !can) {  // four new answers: hold the keys ready
    if (asked !== JSON.stringify(answers)) { own.value = answers[0].text; better.open = false; }
    if (!element.contains(document.activeElement) && element.offsetParent !== null) cards[0].best.focus({ preventScroll: true });
  }
  if (value.can_pick) asked = JSON.stringify(answers);
  can = Boolean(value.can_pick);
});
