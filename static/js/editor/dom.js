// Elements from plain values. Texts become text, never markup.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" && element.nodeName !== "LI") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

let icons = "";
export const useIcons = (address) => { icons = address; };
export const icon = (name) => svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `${icons}#${name}` }));
export const glyph = (name) => svg("svg", { class: `glyph s-${name}`, "aria-hidden": "true" },
  svg("use", { href: `${icons}#s-${name}` }));

let number = 0;
export const newId = () => `editor-${(number += 1)}`;

export const plural = (count, word, several = `${word}s`) => `${count} ${count === 1 ? word : several}`;
export const clip = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

export function button(label, { icon: shape = "", kind = "", hint = "", ...more } = {}) {
  return html("button", { type: "button", class: `button ${kind}`, ...(hint ? { title: hint } : {}), ...more },
    shape ? icon(shape) : null, label);
}

// A button with a shape only; its label is for screen readers and the mouse.
export const iconButton = (label, shape, onclick, more = {}) => html("button", {
  type: "button", class: "button button--bare button--icon button--small", "aria-label": label, title: label, onclick, ...more,
}, icon(shape));
