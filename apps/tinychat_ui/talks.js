// The conversations on disk. Titles and excerpts are text that people and models wrote.

const search = h("input", {
  type: "search", class: "tc-input", placeholder: "Search conversations", maxlength: 200,
  "aria-label": "Search conversations", oninput: soon,
});
const create = h("button", {
  type: "button", class: "tc-button", onclick: () => trigger("do", { do: "new" }),
}, icon("M12 5v14M5 12h14"), "New");
const list = h("ul", { class: "talks-list" });
const more = h("p", { class: "tc-note" });
const notice = h("p", { class: "tc-note", role: "status" });
const gone = h("span", {});
const restore = h("button", { type: "button", class: "tc-link", onclick: () => trigger("do", { do: "restore" }) }, "Undo");
const deleted = h("p", { class: "tc-note", role: "status", hidden: true }, gone, " ", restore);
element.append(h("section", { class: "talks", "aria-label": "Conversations" },
  h("div", { class: "talks-head" }, h("h2", {}, "Conversations"), create), search, notice, deleted, list, more));

const drawn = new Map();  // id -> the parts of its row
let waiting = 0;
let unfolded = null;  // the conversation whose tools are shown
let editing = null;   // the one that is being renamed
let saved = null;     // the last document
let deleting = false; // its row, and the button that was pressed, will be gone

function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger("find", { words: search.value }), 200);
}

function open(row) {
  if (row.broken) return;
  trigger("do", { do: "open", id: row.id });
  window.dispatchEvent(new CustomEvent("tc-close-rail"));  // on a phone it covers the conversation
}

// Rows stay the same nodes while what they say changes, so that no click falls between two of them.

function make(id) {
  const kept = { id, row: null };
  const act = (what) => () => trigger("do", { do: what, id });
  const tool = (words, onclick) => h("button", { type: "button", class: "tc-link", "data-words": words, onclick }, words);
  kept.title = h("span", { class: "talks-title" });
  kept.about = h("span", { class: "talks-about" });
  kept.name = h("button", { type: "button", class: "talks-open", onclick: () => open(kept.row) }, kept.title, kept.about);
  kept.fold = h("button", {
    type: "button", class: "tc-tool", onclick: () => { unfolded = unfolded === id ? null : id; editing = null; redraw(); },
  }, icon("M5 12h.01M12 12h.01M19 12h.01"));
  kept.whole = [tool("Rename", () => rename(kept)), tool("Markdown", act("markdown")), tool("JSON", act("json"))];
  kept.tools = h("div", { class: "talks-tools" }, kept.whole,
    tool("Delete", () => { unfolded = null; deleting = true; trigger("do", { do: "delete", id }); }));
  kept.line = h("div", { class: "talks-line" }, kept.name, kept.fold);
  kept.node = h("li", { class: "talks-row" }, kept.line, kept.tools);
  return kept;
}

function tell(kept, row) {
  kept.row = row;
  kept.title.textContent = kept.name.title = row.title;
  kept.about.textContent = row.excerpt || row.about;
  kept.node.classList.toggle("talks-current", row.current);
  if (row.current) kept.name.setAttribute("aria-current", "true"); else kept.name.removeAttribute("aria-current");
  kept.fold.setAttribute("aria-label", `More about: ${row.title}`);
  kept.fold.setAttribute("aria-expanded", String(unfolded === row.id));
  kept.tools.hidden = unfolded !== row.id;
  for (const each of kept.whole) each.hidden = row.broken;
  for (const each of kept.tools.children) each.setAttribute("aria-label", `${each.dataset.words}: ${row.title}`);
  if (editing !== row.id && kept.line.firstChild !== kept.name) kept.line.firstChild.replaceWith(kept.name);
}

function rename(kept) {
  const close = () => { editing = null; redraw(); kept.fold.focus(); };
  const field = h("input", {
    type: "text", class: "tc-input", maxlength: 200, value: kept.row.title, "aria-label": "New title",
    onkeydown: (event) => {
      if (event.key === "Escape") { event.stopPropagation(); close(); }
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();  // or it would press the button that gets the focus next
      const title = field.value.trim();
      if (title && title !== kept.row.title) trigger("do", { do: "rename", id: kept.id, title });
      close();
    },
  });
  editing = kept.id;
  kept.name.replaceWith(field);
  field.select();
}

function redraw() {
  const rows = (props.value || {}).rows || [];
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const ids = new Set(rows.map((row) => row.id));
  for (const id of drawn.keys()) if (!ids.has(id)) drawn.delete(id);
  if (editing !== null && !ids.has(editing)) editing = null;
  const nodes = rows.map((row) => {
    if (!drawn.has(row.id)) drawn.set(row.id, make(row.id));
    tell(drawn.get(row.id), row);
    return drawn.get(row.id).node;
  });
  arrange(list, nodes);
  if (focused && focused.isConnected && focused !== document.activeElement) focused.focus();
}

function save(file) {
  if (!file || file.n === saved) return;
  saved = file.n;
  const address = URL.createObjectURL(new Blob([file.text], { type: file.type }));
  h("a", { href: address, download: file.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

follow(props, watch, (value) => {
  save(value.document);
  notice.textContent = value.notice || value.nothing || "";
  notice.hidden = !notice.textContent;
  deleted.hidden = !value.deleted;
  gone.textContent = value.deleted ? `Deleted “${value.deleted}”.` : "";
  more.textContent = value.more || "";
  more.hidden = !value.more;
  redraw();
  if (!deleting || !value.deleted) return;
  deleting = false;
  restore.focus();
});
trigger("find", { words: "" });
