// The steps of a run and what each says: a slider through them, the chosen one large, all in a list.

const id = `tc-${Math.random().toString(36).slice(2)}`;
let rows = [];
let place = 0;
let follows = true;  // the newest row, until a person takes the slider

const notice = h("p", { class: "travel-notice", role: "status" });
const slider = h("input", {
  type: "range", id, min: 0, max: 0, step: 1, oninput: () => { follows = false; go(Number(slider.value)); },
});
const stepper = (by, name, path) => h("button", {
  type: "button", class: "tc-button", "aria-label": name,
  onclick: () => { follows = false; go(place + by); },
}, icon(path));
const large = h("article", { class: "travel-large" });
const list = h("ol", { class: "travel-rows" });
const through = h("div", { class: "travel-through tc-controls" },
  h("label", { for: id }, "Step through"), stepper(-1, "Earlier step", "M15 5l-7 7 7 7"), slider,
  stepper(1, "Later step", "M9 5l7 7-7 7"));
const all = h("section", { class: "travel-all", hidden: true, "aria-label": "All steps" },
  through, large, h("h2", {}, "All steps"), list);
element.append(notice, all);

const states = { waiting: "waits", loading: "is loaded …", answering: "answers …", failed: "cannot answer", done: "" };

function head(row) {
  return h("p", { class: "travel-head" },
    h("strong", {}, `step ${row.step}`), h("span", {}, row.val_loss),
    row.marks.map((mark) => h("span", { class: "travel-mark" }, mark)),
    states[row.state] ? h("span", { class: `travel-${row.state}` }, states[row.state]) : null);
}

function body(row) {
  return row.trouble
    ? h("p", { class: "travel-trouble" }, row.trouble)
    : h("div", { class: "travel-text" }, row.text);
}

function go(to) {
  place = Math.max(0, Math.min(rows.length - 1, to));
  const row = rows[place];
  slider.max = String(Math.max(0, rows.length - 1));
  slider.value = String(place);
  slider.style.setProperty("--tc-share", `${rows.length > 1 ? (100 * place) / (rows.length - 1) : 0}%`);
  if (!row) return;
  slider.setAttribute("aria-valuetext", `step ${row.step}, ${row.val_loss}`);
  large.replaceChildren(head(row), body(row), h("p", { class: "travel-facts" }, row.facts));
  [...list.children].forEach((each, at) =>
    at === place ? each.setAttribute("aria-current", "step") : each.removeAttribute("aria-current"));
}

follow(props, watch, (value) => {
  notice.textContent = value.notice || "";
  const begun = value.busy && rows.length === 0;
  rows = value.rows || [];
  all.hidden = rows.length === 0;
  if (begun || rows.length === 0) follows = true;
  const told = rows.map((row) => JSON.stringify(row));
  while (list.children.length > rows.length) list.lastElementChild.remove();
  rows.forEach((row, at) => {  // a row that says what it said stays as it is, with its selection
    let item = list.children[at];
    if (item && item.dataset.told === told[at]) return;
    if (!item) item = list.appendChild(h("li", { onclick: () => { follows = false; go(at); } }));
    item.dataset.told = told[at];
    item.replaceChildren(head(row), body(row));
  });
  const newest = rows.findLastIndex((row) => row.state !== "waiting");
  go(follows ? Math.max(0, newest) : place);
});
