// The head of the page: its name, the model's passport, and two switches that need no server.

const passport = h("p", { class: "tc-passport" });
const menu = h("button", {
  type: "button", class: "tc-button tc-menu", "aria-controls": "tc-rail", "aria-expanded": "false",
  "aria-label": "Model and settings", onclick: () => rail(menu.getAttribute("aria-expanded") !== "true"),
}, icon("M4 7h16M4 12h16M4 17h16"));
const dark = h("button", {
  type: "button", class: "tc-button", "aria-label": "Dark colours",
  onclick: () => colours(!document.body.classList.contains("dark")),
}, icon("M21 13A9 9 0 1 1 11 3a7 7 0 0 0 10 10z"));

function rail(open) {
  document.getElementById("tc-rail").classList.toggle("tc-open", open);
  menu.setAttribute("aria-expanded", String(open));
}

function colours(wanted) {
  document.body.classList.toggle("dark", wanted);
  dark.setAttribute("aria-pressed", String(wanted));
  try { localStorage.setItem("tc-dark", wanted ? "1" : ""); } catch { /* a private window */ }
}

let kept = null;
try { kept = localStorage.getItem("tc-dark"); } catch { /* a private window */ }
if (kept !== null && !new URLSearchParams(location.search).has("__theme")) colours(kept === "1");
dark.setAttribute("aria-pressed", String(document.body.classList.contains("dark")));
document.documentElement.lang = "en";

const away = h("p", { class: "tc-away", role: "status" });
element.append(h("header", { class: "tc-head" }, menu, h("h1", {}, "tinychat"), passport, dark), away);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && menu.getAttribute("aria-expanded") === "true") rail(false); });
window.addEventListener("tc-close-rail", () => rail(false));
// Gradio hides its menu of more tabs with the focus in it, some frames after the click.
const FRAMES = 60;
function keepFocus(more, frames) {
  if (frames === FRAMES || document.activeElement === document.body) more.focus({ preventScroll: true });
  if (frames) requestAnimationFrame(() => keepFocus(more, frames - 1));
}
document.addEventListener("click", ({ target }) => {
  const menu = target.closest?.(".overflow-dropdown button") && target.closest(".overflow-menu");
  if (menu) requestAnimationFrame(() => keepFocus(menu.querySelector("button"), FRAMES));
}, true);
document.addEventListener("click", (event) => {
  // the path as it was: a click may have redrawn what it hit
  const inside = event.composedPath().some((each) => each instanceof Element && each.matches("#tc-rail, .tc-menu"));
  if (!inside && menu.getAttribute("aria-expanded") === "true") rail(false);
});

// A server that is gone says nothing, so it is asked again and again. Gradio begins the page anew
// once it is back, if it has noticed that it was away.
const PAUSE = 2000, PATIENCE = 8000;  // milliseconds
let app = null;  // which server it was

async function look() {
  let there = true;
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
    const { app_id } = await (await fetch("gradio_api/app_id", options)).json();
    if (app !== null && app !== app_id) location.reload();  // another one, which knows nothing
    app = app_id;
  } catch { there = false; }
  away.textContent = there ? "" : "This page cannot reach its server and goes on once it is back. What you typed is kept.";
  if (document.body.classList.toggle("tc-is-away", !there) !== wasAway) {
    wasAway = !there;
    window.dispatchEvent(new CustomEvent("tc-away", { detail: wasAway }));
  }
  setTimeout(look, PAUSE);
}

let wasAway = false;
look();

follow(props, watch, (value) => {
  const parts = value.passport || [];
  passport.replaceChildren(...parts.map((part, place) =>
    h(place ? "span" : "strong", { title: part[1] }, part[0])));
});
