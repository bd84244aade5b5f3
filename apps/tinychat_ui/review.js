// What was said about answers: how much of it there is, the newest first, each to be taken back.

const counts = h("strong", {});
const last = h("button", { type: "button", class: "tc-button", onclick: () => trigger("undo", { id: null }) }, "Take back the last");
const notice = h("p", { class: "teach-notice", role: "status" });
const list = h("ol", { class: "teach-said" });
const where = h("p", { class: "tc-note" });
element.append(h("section", { class: "teach-review", "aria-label": "Feedback so far" },
  h("div", { class: "teach-counts" }, h("h2", {}, "Feedback so far"), counts, last), notice, list, where));

function line(entry) {
  const told = [entry.asked, entry.said].map((text, place) =>
    h("p", { class: place ? "teach-answer" : "teach-asked" }, text));
  return h("li", { "data-id": entry.id },
    h("p", { class: "teach-verdict" }, h("strong", {}, entry.verdict), h("span", {}, `${entry.model} · ${entry.when}`),
      h("button", {
        type: "button", class: "tc-link", onclick: () => trigger("undo", { id: entry.id }),
        "aria-label": `Take back: ${entry.verdict}, ${entry.asked}`,
      }, "Take back")), ...told);
}

follow(props, watch, (value) => {
  const entries = value.entries || [];
  counts.textContent = value.counts || "";
  last.disabled = entries.length === 0;
  notice.textContent = value.notice || "";
  list.replaceChildren(...entries.map(line));
  const hidden = value.hidden ? `${value.hidden} older ones are not shown. ` : "";
  where.textContent = value.file ? `${hidden}All of it is in ${value.file}, one line each.` : "";
});
trigger("look", {});
