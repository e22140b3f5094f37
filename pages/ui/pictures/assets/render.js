// The renderer: `h` describes an element, `patch` changes the children of a node where they differ from a description.
//
// Why no library: a picture is redrawn from its numbers at every poll and at every movement of a slider, and must keep
// its nodes, or focus, transitions and a slider under the finger are lost. That takes the function below and no more:
// no components, no hooks, no templates. A vendored library would be ten times as long and need a build or a licence.

const SVG = "http://www.w3.org/2000/svg";
const HTML = "http://www.w3.org/1999/xhtml";
const PROPERTIES = new Set(["value", "checked", "disabled"]);

export const h = (tag, attributes = {}, ...children) => ({ tag, attributes, children });

// What is left out (null, undefined, false, "") becomes an empty text, so that what follows keeps its node.
const text = (one) => (one === null || one === undefined || one === false ? "" : String(one));

export function patch(parent, wanted) {
  const list = wanted.flat(Infinity);
  list.forEach((one, i) => {
    const old = parent.childNodes[i];
    if (!one?.tag) {
      if (old?.nodeType !== Node.TEXT_NODE) place(parent, old, document.createTextNode(text(one)));
      else if (old.data !== text(one)) old.data = text(one);
      return;
    }
    let node = old;
    if (old?.localName !== one.tag) {
      const space = one.tag === "svg" || parent.namespaceURI === SVG ? SVG : HTML;
      node = place(parent, old, document.createElementNS(space, one.tag));
    }
    dress(node, one.attributes);
    patch(node, one.children);
    if ("value" in one.attributes && node.localName === "select") node.value = one.attributes.value;
  });
  while (parent.childNodes.length > list.length) parent.lastChild.remove();
}

function place(parent, old, node) {
  if (old) old.replaceWith(node);
  else parent.append(node);
  return node;
}

function dress(node, attributes) {
  for (const { name } of [...node.attributes]) if (!(name in attributes)) node.removeAttribute(name);
  for (const name of node.handlers ?? []) if (!(name in attributes)) node[name] = null;
  node.handlers = Object.keys(attributes).filter((name) => name.startsWith("on"));
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node[name] = value || null;
    else if (PROPERTIES.has(name)) node[name] !== value && (node[name] = value);
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}
