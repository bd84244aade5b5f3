// Two answers side by side, the vote between them, and the tallies so far.

const told = [["a", "A is better"], ["b", "B is better"], ["tie", "Tie"], ["both bad", "Both bad"]];
const panes = ["A", "B"].map((name) => {
  const label = h("span", { class: "compare-label" });
  const text = h("div", { class: "compare-text", tabindex: 0, role: "group", "aria-label": `Answer ${name}` });
  const facts = h("p", { class: "compare-facts" });
  const node = h("article", { class: "compare-pane", "aria-label": name },
    h("h2", {}, h("span", { class: "compare-name" }, name), label), text, facts);
  return { node, label, text, facts };
});
const votes = told.map(([verdict, words]) =>
  h("button", { type: "button", class: "tc-button", onclick: () => trigger("vote", { verdict }) }, words));
const undo = h("button", { type: "button", class: "tc-button", onclick: () => trigger("undo", {}) }, "Take back");
const notice = h("p", { class: "compare-notice", role: "status" });
const result = h("span", { class: "compare-won" });
const outcome = h("p", { class: "compare-outcome", role: "status" }, result, undo);
const question = h("div", { class: "compare-votes", role: "group", "aria-label": "Which answer is better?" }, votes);
const list = h("ul", { class: "compare-tallies" });
const tallies = h("details", { class: "compare-all" }, h("summary", {}, "All tallies"), list);

element.append(notice, h("div", { class: "compare-panes" }, panes.map((pane) => pane.node)),
  question, outcome, tallies);

follow(props, watch, (value) => {
  panes.forEach((pane, place) => {
    const about = (value.panes || [])[place] || {};
    pane.label.textContent = about.label || "";
    pane.text.textContent = about.text || "";
    pane.text.classList.toggle("compare-waiting", Boolean(value.busy && !about.text));
    pane.facts.textContent = about.trouble || about.facts || "";
    pane.facts.classList.toggle("compare-trouble", Boolean(about.trouble));
    pane.node.classList.toggle("compare-winner", Boolean(about.won));
  });
  notice.textContent = value.notice || "";
  question.hidden = Boolean(value.voted || value.alike);
  for (const button of votes) button.disabled = !value.can_vote;
  outcome.hidden = !value.voted;
  result.textContent = value.result || "";
  const words = value.tallies || [];
  list.replaceChildren(...words.map((each) => h("li", {}, each)));
  tallies.hidden = words.length === 0;
});
