// How much there is to learn from, over all parts of the tab.

const counts = h("strong", {});
const fresh = h("span", {});
const waiting = h("span", {});
element.append(h("p", { class: "teach-counts" }, counts, fresh, waiting));

follow(props, watch, (value) => {
  counts.textContent = value.counts || "";
  fresh.textContent = value.fresh || "";
  waiting.textContent = value.waiting || "";
});
trigger("look", {});
