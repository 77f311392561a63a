// Served by `improve view`: asks for the page again and again, and takes over what has changed in it.
const SECONDS = 2;
const KEPT = ["open", "hidden"]; // what the reader has chosen
let tag = document.documentElement.dataset.tag;
function takeOver(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  for (const {name} of [...old.attributes]) if (!KEPT.includes(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const {name, value} of fresh.attributes) if (!KEPT.includes(name)) old.setAttribute(name, value);
  const atEnd = old.nodeName === "PRE" && old.scrollHeight - old.scrollTop - old.clientHeight < 4;
  const mine = [...old.childNodes], theirs = [...fresh.childNodes];
  theirs.forEach((node, index) => { if (index < mine.length) takeOver(mine[index], node); else old.append(node); });
  mine.slice(theirs.length).forEach((node) => node.remove());
  if (atEnd) old.scrollTop = old.scrollHeight;
}
async function refresh() {
  const said = document.getElementById("connection");
  try {
    const answer = await fetch(location.pathname, {headers: {"If-None-Match": tag}, cache: "no-store"});
    said.textContent = "";
    if (answer.status === 200) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      tag = answer.headers.get("ETag");
      takeOver(document.querySelector("main"), fresh.querySelector("main"));
      document.title = fresh.title;
      if (search) find(false);
    } else if (answer.status !== 304) said.textContent = `not up to date: the server answers ${answer.status}`;
  } catch { said.textContent = "not up to date: improve view does not answer"; }
  setTimeout(refresh, SECONDS * 1000);
}
setTimeout(refresh, SECONDS * 1000);
