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

function tool(row, words, onclick) {
  return h("button", { type: "button", class: "tc-link", onclick, "aria-label": `${words}: ${row.title}` }, words);
}

function tools(row) {
  const act = (what) => () => trigger("do", { do: what, id: row.id });
  return h("div", { class: "talks-tools" },
    row.broken ? null : tool(row, "Rename", () => { editing = row.id; redraw(); list.querySelector("input")?.select(); }),
    row.broken ? null : tool(row, "Markdown", act("markdown")),
    row.broken ? null : tool(row, "JSON", act("json")),
    tool(row, "Delete", () => { unfolded = null; deleting = true; trigger("do", { do: "delete", id: row.id }); }));
}

function rename(row) {
  const close = () => { editing = null; redraw(); };
  const field = h("input", {
    type: "text", class: "tc-input", maxlength: 200, value: row.title, "aria-label": "New title",
    onkeydown: (event) => {
      if (event.key === "Escape") { event.stopPropagation(); close(); }
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();  // or it would press the button that gets the focus next
      const title = field.value.trim();
      if (title && title !== row.title) trigger("do", { do: "rename", id: row.id, title });
      close();
    },
  });
  return field;
}

function line(row) {
  const about = h("span", { class: "talks-about" }, row.excerpt || row.about);
  const name = editing === row.id ? rename(row) : h("button", {
    type: "button", class: "talks-open", "aria-current": row.current ? "true" : null, title: row.title,
    onclick: () => open(row),
  }, h("span", { class: "talks-title" }, row.title), about);
  const fold = h("button", {
    type: "button", class: "tc-tool", "aria-label": `More about: ${row.title}`,
    "aria-expanded": String(unfolded === row.id),
    onclick: () => { unfolded = unfolded === row.id ? null : row.id; editing = null; redraw(row.id); },
  }, icon("M5 12h.01M12 12h.01M19 12h.01"));
  return h("li", { class: row.current ? "talks-row talks-current" : "talks-row", "data-id": row.id },
    h("div", { class: "talks-line" }, name, fold), unfolded === row.id ? tools(row) : null);
}

function redraw(focused) {
  const value = props.value || {};
  const active = focused || (list.contains(document.activeElement) && document.activeElement.closest("li").dataset.id);
  const label = document.activeElement?.getAttribute("aria-label");
  list.replaceChildren(...(value.rows || []).map(line));
  const place = active && [...list.children].find((item) => item.dataset.id === active);
  if (!place || editing === active) return;
  const same = label && [...place.querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === label);
  (same || place.querySelector("button")).focus();
}

function save(file) {
  if (!file || file.n === saved) return;
  saved = file.n;
  const address = URL.createObjectURL(new Blob([file.text], { type: file.type }));
  h("a", { href: address, download: file.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

let told = "";

follow(props, watch, (value) => {
  save(value.document);
  notice.textContent = value.notice || value.nothing || "";
  notice.hidden = !notice.textContent;
  deleted.hidden = !value.deleted;
  gone.textContent = value.deleted ? `Deleted “${value.deleted}”.` : "";
  more.textContent = value.more || "";
  more.hidden = !value.more;
  const now = JSON.stringify(value.rows || []);
  if (now === told || editing !== null) return;  // an open editor stays
  told = now;
  redraw();
  if (!deleting || !value.deleted) return;
  deleting = false;
  restore.focus();
});
trigger("find", { words: "" });
