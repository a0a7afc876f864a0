// The queue and the page of an alert: Enter opens the row, e works on it; how many are ticked; folds that a
// link or a key leads to are opened. Keys that press one thing are data-key, in portal.js.
"use strict";

function boxes() {
  return [...document.querySelectorAll("input[type=checkbox][name=alert]")];
}

function count() {
  const told = document.getElementById("ticked");
  if (!told) return;
  const many = boxes().filter((box) => box.checked).length;
  told.textContent = many ? `${many} ticked` : "The ticked alerts";
  told.closest(".bulk").classList.toggle("is-active", many > 0);
}

function workOn(row) {
  const ticked = boxes().some((box) => box.checked);
  const status = document.getElementById("bulk-status");
  if (ticked && status) {
    status.focus();
    status.scrollIntoView({ block: "nearest" });
  } else if (row) {
    location.assign(`${row.querySelector(".row-link").href}#work`);
  }
}

function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  const fold = target.closest("details");
  if (fold) fold.open = true;
  if (target.id === "work") {
    const first = target.querySelector("select, input:not([type=hidden])");
    if (first) first.focus();
  }
}

document.addEventListener("change", count);
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const row = document.activeElement.closest("tr[data-row]");
  if (event.key === "Enter" && document.activeElement === row) {
    event.preventDefault();
    row.querySelector(".row-link").click();
  }
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (event.key === "e" && !typing && document.querySelector("table.queue")) {
    event.preventDefault();
    workOn(row);
  }
});
addEventListener("hashchange", unfold);
addEventListener("pageshow", () => {
  count();
  unfold();
});
