"use strict";
// A mark in the chart or a number in the table leads to an iteration: unfold it on arrival.
function unfoldTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", unfoldTarget);
unfoldTarget();
const button = document.getElementById("unfold");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const steps = [...document.querySelectorAll("details.iteration")];
    const open = steps.some((step) => !step.open);
    steps.forEach((step) => { step.open = open; });
    button.textContent = open ? "fold all" : "unfold all";
  });
}
