// Training on what was said: what there is to learn, the plan, the run as it goes, and the decision.

const PAUSE = 1500;  // milliseconds
const act = (what, more) => () => trigger("act", { do: what, ...more });
const button = (words, onclick, primary) => h("button", { type: "button", class: `tc-button${primary ? " tc-primary" : ""}`, onclick }, words);

const notice = h("p", { class: "train-notice", role: "status" });
const trouble = h("p", { class: "train-trouble", role: "alert" });

// what there is to learn
const words = h("p", { class: "train-words" });
const from = h("p", { class: "train-words" });
const later = h("p", { class: "train-words" });
const go = button("Train on this", act("plan"), true);
const idle = h("section", { class: "train-card", "aria-label": "Train" }, h("h3", {}, "A better model of what you said"), words, from, later,
  h("div", { class: "train-buttons" }, go));

// the plan
const stage = h("p", { class: "train-words" });
const asking = h("section", { class: "train-card", "aria-label": "Planning" }, h("h3", {}, "Making a plan"),
  h("div", { class: "train-bar train-unknown" }, h("div", {})), stage,
  h("div", { class: "train-buttons" }, button("Cancel", act("cancel"))));
const rows = h("dl", { class: "train-rows" });
const remarks = h("ul", { class: "train-remarks" });
const begin = button("Start training", act("start"), true);
const plan = h("section", { class: "train-card", "aria-label": "Plan" }, h("h3", {}, "The plan"), rows, remarks,
  h("div", { class: "train-buttons" }, begin, button("Back", act("cancel"))));
const startingWords = h("p", { class: "train-words" });
const starting = h("section", { class: "train-card", "aria-label": "Starting" }, h("h3", {}, "Starting"),
  h("div", { class: "train-bar train-unknown" }, h("div", {})), startingWords);

// the run
const title = h("h3", {});
const state = h("span", { class: "train-state" });
const bar = h("div", {});
const meter = h("div", { class: "train-bar", role: "progressbar", "aria-label": "Training", "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
const line = h("p", { class: "train-words" });
const why = h("p", { class: "train-why" });
const figures = h("dl", { class: "train-figures" });
const note = h("p", { class: "tc-note" });
const stop = button("Stop", act("stop"));
const look = button("Compare old and new", () => trigger("compare", {}), true);
const accept = button("Accept", act("accept"));
const resume = button("Go on", act("resume"));
const back = button("Go back", act("back"));
const run = h("section", { class: "train-card", "aria-label": "Training" }, h("div", { class: "train-head" }, title, state), meter, line, why,
  figures, h("div", { class: "train-buttons" }, stop, look, accept, resume, back), note);

const list = h("ol", { class: "review-list" });
const earlier = h("details", { class: "train-earlier" }, h("summary", {}, "Earlier trainings"), list);
const visitor = h("p", { class: "teach-intro" },
  "Training is for whoever is at the machine itself: open tinychat-ui there, without a token.");
const parts = { idle, planning: asking, plan, starting, run, visitor };
element.append(h("div", { class: "train" }, notice, trouble, Object.values(parts), earlier));

function past(each) {
  const verdict = each.accepted ? "accepted" : "put aside";
  const turn = each.accepted ? [`Go back to ${each.parent}`, "back"] : ["Accept after all", "accept"];
  return h("li", { "data-label": each.label }, h("p", { class: "review-verdict" }, h("strong", {}, each.label),
    h("span", {}, `from ${each.parent} · ${verdict} · ${each.when}`),
    each.there ? h("span", { class: "review-tools" }, h("button", {
      type: "button", class: "tc-link", onclick: act(turn[1], { label: each.label }), "aria-label": `${turn[0]}: ${each.label}`,
    }, turn[0])) : h("span", { class: "review-tools" }, "its checkpoint is gone")));
}

function drawRun(about) {
  title.textContent = about.title;
  state.textContent = about.state;
  state.className = `train-state tc-is-${about.colour}`;
  bar.style.width = `${100 * about.share}%`;
  meter.setAttribute("aria-valuenow", String(Math.round(100 * about.share)));
  meter.hidden = about.is_whole;
  line.textContent = about.is_whole && !about.live ? "" : about.progress;
  why.textContent = about.why;
  figures.replaceChildren(...about.figures.flatMap((each) =>
    h("div", {}, h("dt", {}, each.name), h("dd", {}, each.value, h("small", {}, each.beside)))));
  stop.hidden = !about.live;
  look.hidden = accept.hidden = about.live || !about.result;
  accept.textContent = `Accept ${about.result}`;
  back.hidden = about.live;
  back.textContent = about.parent ? `Go back to ${about.parent}` : "Go back";
  resume.hidden = !about.can_resume;
  note.textContent = about.live
    ? "It is a run of its own: it goes on when this page is closed, and tinychat-monitor shows it."
    : "Either way both models are kept: nothing is deleted.";
}

function drawBase(base) {
  words.textContent = base.words;
  from.textContent = base.can ? `Starts from ${base.label}, which stays as it is. Another model is chosen at the left, in Run and Step.` : "";
  later.replaceChildren(...(base.later ? [`${base.later} was accepted and comes from this model. `,
    h("button", { type: "button", class: "tc-link", onclick: act("use", { label: base.later }) }, "Start from it")] : []));
  go.disabled = !base.can;
}

let phase = "";

follow(props, watch, (value) => {
  const before = document.activeElement, was = phase;
  phase = value.phase || "idle";
  notice.textContent = value.notice || "";
  trouble.textContent = value.trouble || "";
  for (const [name, part] of Object.entries(parts)) part.hidden = name !== phase;
  if (value.base) drawBase(value.base);
  stage.textContent = value.stage || "";
  startingWords.textContent = value.starting ? `${value.starting} reads what it is to learn …` : "";
  if (value.plan) {
    rows.replaceChildren(...value.plan.rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
    remarks.replaceChildren(...value.plan.remarks.map((each) => h("li", {}, each)));
  }
  if (value.run) drawRun(value.run);
  const past_ = value.earlier || [];
  const turned = before?.closest?.("li")?.dataset.label;  // its button says the opposite now
  list.replaceChildren(...past_.map(past));
  if (turned) list.querySelector(`[data-label="${CSS.escape(turned)}"] button`)?.focus({ preventScroll: true });
  earlier.hidden = past_.length === 0 || phase !== "idle";
  if (was && was !== phase && element.contains(before)) {  // the button that was pressed is gone
    parts[phase].setAttribute("tabindex", "-1");
    parts[phase].focus({ preventScroll: true });
  }
});

// what happens by itself is looked at while somebody sees it
const live = () => ["planning", "starting"].includes(phase) || Boolean(props.value?.run?.live);
setInterval(() => { if (live() && element.offsetParent !== null && !document.hidden) trigger("act", { do: "look" }); }, PAUSE);
trigger("act", { do: "look" });
