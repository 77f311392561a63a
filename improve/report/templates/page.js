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
// Search: in the prompts, replies, code and logs of a run, or in the rows of a list of runs.
const search = document.getElementById("search");
const MOST = 2000; // places that are marked
function unfoldAround(node) {
  for (let at = node.parentElement; at; at = at.parentElement) {
    if (at instanceof HTMLDetailsElement) at.open = true;
  }
}
function placesIn(element, wanted) {
  const found = [], walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [], starts = [];
  let text = "";
  while (walker.nextNode()) { starts.push(text.length); nodes.push(walker.currentNode); text += walker.currentNode.data; }
  text = text.toLowerCase();
  const at = (offset) => {
    let low = 0, high = starts.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (starts[middle] <= offset) low = middle; else high = middle - 1; }
    return [nodes[low], Math.min(offset - starts[low], nodes[low].length)];
  };
  for (let place = text.indexOf(wanted); place >= 0 && found.length < MOST; place = text.indexOf(wanted, place + wanted.length)) {
    const range = new Range();
    range.setStart(...at(place));
    range.setEnd(...at(place + wanted.length - 1));
    range.setEnd(range.endContainer, Math.min(range.endOffset + 1, range.endContainer.length));
    found.push(range);
  }
  return found;
}
let places = [], current = -1;
function find(unfold) {
  const wanted = search.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tr.run")) {
    row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }
  places = [];
  if (wanted.length > 1) {
    for (const element of document.querySelectorAll("details pre, details blockquote")) {
      const found = placesIn(element, wanted);
      if (found.length && unfold) unfoldAround(element);
      places.push(...found.slice(0, MOST - places.length));
    }
  }
  if (window.Highlight) CSS.highlights.set("found", new Highlight(...places));
  const steps = new Set(places.map((place) => place.startContainer.parentElement.closest("details.iteration")?.id));
  document.getElementById("found").textContent = wanted.length < 2 || !document.querySelector("details pre") ? ""
    : `${places.length === MOST ? "more than " : ""}${places.length} places, ${steps.size} iterations`;
}
if (search) {
  search.parentElement.hidden = false;
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { current = -1; find(true); }, 200);
  });
  // Enter goes from place to place.
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !places.length) return;
    event.preventDefault();
    current = (current + (event.shiftKey ? places.length - 1 : 1)) % places.length;
    const at = places[current].startContainer.parentElement;
    unfoldAround(at);
    at.scrollIntoView({block: "center", behavior: "instant"});
    if (window.Highlight) CSS.highlights.set("current", new Highlight(places[current]));
  });
}
