// What pages do beyond links and forms; without it everything works all the same.
// data-copy               a button that copies the text beside it
// data-submit-on-change   a form that is sent when a choice is made
// data-row, data-key      j and k go through rows, other keys press what has them; ? shows them (dialog#keys)
// data-upload             a form whose file is sent by htmx: its <progress> shows how much of it has left
// data-leave-in-use       a part that refreshes itself, but not while somebody reads or works in it
// data-all="NAME"         a box that ticks all boxes of that name
"use strict";
document.documentElement.classList.add("script");

function each(root, selector, then) {
  if (root.matches && root.matches(selector)) then(root);
  root.querySelectorAll(selector).forEach(then);
}

function begin(root) {
  each(root, "[data-copy]", (button) => { button.hidden = false; });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    const text = button.closest(".code").querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      say(button, "Copied");
    } catch {
      getSelection().selectAllChildren(button.closest(".code").querySelector("code"));
      say(button, "Press Ctrl+C");
    }
  }
  document.querySelectorAll("details.menu[open], details.confirm[open]").forEach((open) => {
    if (!open.contains(event.target)) open.open = false;
  });
});

function say(button, word) {
  const before = button.dataset.word || (button.dataset.word = button.textContent);
  button.textContent = word;
  setTimeout(() => { button.textContent = before; }, 1500);
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-submit-on-change]");
  if (form) form.requestSubmit();
  const all = event.target.closest("[data-all]");
  if (all) {
    document.querySelectorAll(`input[type=checkbox][name="${CSS.escape(all.dataset.all)}"]`).forEach((box) => {
      box.checked = all.checked;
    });
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = document.querySelector("details.menu[open], details.confirm[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
    return;
  }
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j" || event.key === "k") return step(event.key === "j" ? 1 : -1);
  if (event.key === "?") {
    const dialog = document.querySelector("dialog#keys");
    if (dialog && !dialog.open) dialog.showModal();
    return;
  }
  const here = document.activeElement.closest("[data-row]") || document;
  const found = here.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (found) {
    event.preventDefault();
    if (found.matches("input:not([type=checkbox]), select, textarea")) found.focus();
    else found.click();
  }
});

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement.closest("[data-row]"));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
}

document.addEventListener("htmx:xhr:progress", (event) => {
  const bar = event.target.matches("[data-upload]") && event.target.querySelector("progress");
  if (!bar || !event.detail.lengthComputable) return;
  bar.hidden = false;
  bar.max = event.detail.total;
  bar.value = event.detail.loaded;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!part.matches("[data-leave-in-use]")) return;
  const used = part.querySelector("details[open]") || part.contains(document.activeElement);
  if (used || !getSelection().isCollapsed) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:load", (event) => begin(event.detail.elt));
begin(document);
