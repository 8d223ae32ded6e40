// Everything works without this file. It keeps the part of a view that moves up to date, and
// adds keys: g and the first letter of a view opens it, / goes to the first field.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  const source = new EventSource(live.dataset.live);
  source.addEventListener("update", (e) => {
    // What a person holds stays: a field or a link with the focus, and selected text.
    const held = live.contains(document.activeElement) || (!getSelection().isCollapsed && live.contains(getSelection().anchorNode));
    if (!held) live.innerHTML = e.data; // rendered and escaped by the server
    document.documentElement.dataset.updated = String(Number(document.documentElement.dataset.updated || 0) + 1);
  });
}

for (const t of document.querySelectorAll("time")) t.title = new Date(t.dateTime).toLocaleString();

const focus = document.querySelector("[data-focus]");
if (focus && !location.hash) focus.focus({ preventScroll: true });

const views = { o: "/", a: "/accounts", e: "/events", d: "/dead", u: "/audit", s: "/sql" };
let go = false;
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) {
    if (e.key === "Escape") e.target.blur();
    return;
  }
  if (go && views[e.key]) location.href = views[e.key];
  if (e.key === "/" && focus) {
    e.preventDefault();
    focus.focus();
  }
  go = e.key === "g";
});
