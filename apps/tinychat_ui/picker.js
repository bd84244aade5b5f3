// Which model answers: its run and step, what happens to it, and the training beside it.

const id = `tc-${Math.random().toString(36).slice(2)}`;
const run = h("select", {
  id: `${id}-run`, class: "tc-input", onchange: () => trigger("pick", { run: run.value }),
});
const step = h("select", {
  id: `${id}-step`, class: "tc-input", onchange: () => trigger("pick", { step: step.value }),
});
const newest = h("input", {
  type: "checkbox", id: `${id}-newest`,
  onchange: () => trigger("pick", { step: newest.checked ? "newest" : props.value.shown_step }),
});
const status = h("p", { class: "tc-status", role: "status" });
const trouble = h("p", { class: "tc-trouble", role: "status" });
const training = h("div", { class: "tc-training" });

element.append(h("section", { "aria-label": "Model" },
  h("div", { class: "tc-field" }, h("label", { for: run.id }, "Run"), run),
  h("div", { class: "tc-field" }, h("label", { for: step.id }, "Step"), step),
  h("div", { class: "tc-check" }, newest, h("label", { for: newest.id }, "Follow newest")),
  status, trouble, training));

function options(select, wanted, chosen) {
  const told = JSON.stringify(wanted);
  if (select.dataset.told !== told) {  // an open list must not be drawn again
    select.replaceChildren(...wanted.map(([text, value]) => h("option", { value }, text)));
    select.dataset.told = told;
  }
  if (document.activeElement !== select || select.value === "") select.value = chosen ?? "";
  select.disabled = wanted.length === 0;
}

function sparkline(values) {
  if (!values || values.length < 2) return null;
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const points = values.map((value, place) =>
    `${((place * 100) / (values.length - 1)).toFixed(1)} ${(22 - (20 * (value - low)) / span).toFixed(1)}`);
  const drawn = icon(`M${points.join("L")}`);
  drawn.setAttribute("viewBox", "0 0 100 24");
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("class", "tc-spark");
  return drawn;
}

// A reload changes nothing. A page that is opened anew begins with what was chosen last, unless another
// model would be the first choice by now; and a server that was begun with another RUN means that one.
const here = stored("model", ["sessionStorage"]), before = here || stored("model") || {};
const ours = before.begun === props.begun_with;
trigger("pick", ours ? { run: before.run, step: before.step || undefined, first: here ? undefined : before.first } : {});
let last = "";

follow(props, watch, (value) => {
  const now = JSON.stringify([value.run, value.step]);
  if (value.run && now !== last) {
    store("model", { begun: props.begun_with, first: value.first, run: value.run, step: value.step });
    last = now;
  }
  options(run, value.runs || [], value.run);
  options(step, value.steps || [], value.step);
  newest.checked = value.step === "newest";
  newest.disabled = step.disabled;
  status.textContent = value.status || "";
  trouble.textContent = value.trouble || "";
  const about = value.training;
  training.replaceChildren(...(about ? [
    h("p", { class: `tc-state tc-is-${about.colour}` }, about.state,
      h("span", { class: "tc-soft" }, about.progress)),
    sparkline(about.recent),
    h("p", { class: "tc-note" }, about.words)].filter(Boolean) : []));
});
