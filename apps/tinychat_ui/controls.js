// The sampling controls. Their value goes to the server with each question.

const { presets, order, compact } = props;
const id = `tc-${Math.random().toString(36).slice(2)}`;
const fields = {};

function change(changed) {
  const value = { ...props.value, ...changed };
  if (!compact) store("rules", value);
  props.value = value;
  show();
}

/** Also when the page, once it is put together, brings the value that it was made with. */
function restore() {
  const { n, ...rules } = (compact ? null : stored("rules")) || {};
  const value = { ...props.value, ...rules };
  if (JSON.stringify(value) !== JSON.stringify(props.value)) props.value = value;
}

function preset(name) {
  const { seed, system, ...rules } = presets[name];
  change({ ...rules, preset: name });
}

function range(key, label, low, high, step, off) {
  const slider = h("input", {
    type: "range", id: `${id}-${key}`, min: low, max: high, step,
    oninput: () => change({ [key]: Number(slider.value), preset: "custom" }),
  });
  const number = h("output", { for: slider.id, class: "tc-number" });
  fields[key] = (value) => {
    slider.value = value;
    number.textContent = value === off ? "off" : String(Math.round(value * 100) / 100);
    slider.setAttribute("aria-valuetext", number.textContent);
    slider.style.setProperty("--tc-share", `${(100 * (slider.value - low)) / (high - low)}%`);
  };
  return h("div", { class: "tc-field" },
    h("div", { class: "tc-field-head" }, h("label", { for: slider.id }, label), number), slider);
}

function whole(key, label, low, high, extra) {
  const box = h("input", {
    type: "number", id: `${id}-${key}`, min: low, max: high, step: 1, class: "tc-input",
    onchange: () => {
      const usual = key === "seed" ? null : presets[names[0]][key];
      const given = Math.round(Number(box.value));
      const usable = box.value !== "" && Number.isFinite(given);
      const value = usable ? Math.min(high, Math.max(low, given)) : usual;
      box.value = value ?? "";
      change({ [key]: value });
    },
  });
  fields[key] = (value) => { if (document.activeElement !== box) box.value = value ?? ""; };
  return h("div", { class: "tc-field" }, h("label", { for: box.id }, label),
    h("div", { class: "tc-with" }, box, extra));
}

const names = Object.keys(presets);
const choices = names.map((name) =>
  h("button", { type: "button", class: "tc-choice", onclick: () => preset(name) }, name));
const custom = h("span", { class: "tc-custom" }, "custom");

const unlock = h("button", {
  type: "button", class: "tc-button", onclick: () => change({ seed: null }),
}, "Draw anew");
fields.unlock = () => { unlock.disabled = (props.value.seed ?? null) === null; };

const system = h("textarea", {
  id: `${id}-system`, rows: 2, maxlength: 4000, class: "tc-input",
  onchange: () => change({ system: system.value }),
});
fields.system = (value) => { if (document.activeElement !== system) system.value = value || ""; };

element.append(h("section", { "aria-label": props.name },
  h("div", { class: "tc-presets", role: "group", "aria-label": "Preset" }, choices, custom),
  range("temperature", "Temperature", 0, 2, 0.05),
  range("top_k", "Top-k", 0, 200, 1, 0),
  h("details", { class: "tc-fold" },
    h("summary", {}, "More rules"),
    range("top_p", "Top-p", 0.05, 1, 0.05, 1),
    range("min_p", "Min-p", 0, 0.5, 0.01, 0),
    range("repetition_penalty", "Repetition penalty", 1, 2, 0.05, 1),
    whole("max_new_tokens", "Longest answer, in tokens", 1, 4096),
    compact ? null : whole("seed", "Seed (empty: a new one each time)", 0, 4294967295, unlock),
    h("p", { class: "tc-note" }, `Applied in this order: ${order}.`)),
  compact ? null : h("details", { class: "tc-fold" },
    h("summary", {}, "System text"),
    h("label", { for: system.id, class: "tc-note" }, "What the model is told before the talk"),
    system)));

function show() {
  const value = props.value || {};
  for (const [key, draw] of Object.entries(fields)) draw(value[key]);
  choices.forEach((button, place) =>
    button.setAttribute("aria-pressed", String(value.preset === names[place])));
  custom.hidden = value.preset !== "custom";
  if (!compact) {  // it is folded away here, so the box for messages shows it
    window.tcSeed = value.seed ?? null;
    window.dispatchEvent(new Event("tc-seed"));
  }
}

if (!compact) window.addEventListener("tc-keep-seed", (event) => change({ seed: event.detail }));
follow(props, watch, () => { restore(); show(); });
