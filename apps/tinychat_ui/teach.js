// How much there is to learn from, and what goes on, over all parts of the tab.

const PAUSE = 3000;  // milliseconds
const counts = h("strong", {});
const more = h("span", {});
element.append(h("p", { class: "teach-counts" }, counts, more));

follow(props, watch, (value) => {
  counts.textContent = value.counts || "";
  more.textContent = (value.more || []).map((each) => ` · ${each}`).join("");
});
setInterval(() => { if (props.value?.live && element.offsetParent !== null && !document.hidden) trigger("tick", {}); }, PAUSE);
trigger("look", {});
