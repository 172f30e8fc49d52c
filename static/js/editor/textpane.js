// The text beside the picture: a text area with a coloured copy below it, line for line, that has numbers and marks.
import { html, plural } from "./dom.js";

export class TextPane {
  constructor(box, { onedit, onplace, readOnly }) {
    this.area = html("textarea", { class: "text__area", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
      wrap: "off", "aria-label": "Text of the campaign", readonly: readOnly });
    this.back = html("ol", { class: "text__back", "aria-hidden": "true" });
    this.head = html("p", { class: "text__head" }, html("span", {}, "Text"), html("span", { role: "status" }));
    this.lines = [];
    box.replaceChildren(this.head, html("div", { class: "text__box" }, this.back, this.area));
    this.area.addEventListener("input", () => {
      this.paint();
      onedit(this.area.value);
    });
    this.area.addEventListener("scroll", () => {
      this.back.scrollTop = this.area.scrollTop;
      this.back.scrollLeft = this.area.scrollLeft;
    });
    for (const name of ["click", "keyup"]) this.area.addEventListener(name, () => onplace(this.lineNow));
  }

  get lineNow() { return this.area.value.slice(0, this.area.selectionStart).split("\n").length; }

  // marks: { wrong: Map line -> messages, from, to: the lines of what is selected, changed: Set of lines }
  show(text, marks) {
    const plain = text.replace(/\r\n?/g, "\n");
    if (this.area.value !== plain) {
      const [start, end, top] = [this.area.selectionStart, this.area.selectionEnd, this.area.scrollTop];
      this.area.value = plain;
      if (document.activeElement === this.area) this.area.setSelectionRange(start, end);
      this.area.scrollTop = top;
    }
    this.marks = marks;
    this.paint();
    const lines = [...marks.wrong.keys()].sort((one, two) => one - two);
    this.head.lastChild.textContent = lines.length ? `${plural(lines.length, "line")} with problems, the first is ${lines[0]}` : "";
  }

  paint() {
    const { wrong = new Map(), from = 0, to = 0, changed = new Set() } = this.marks ?? {};
    const lines = this.area.value.split("\n");
    lines.forEach((text, index) => {
      const number = index + 1;
      const kind = /^\s*\[/.test(text) ? "t-head" : /^\s*[#;]/.test(text) ? "t-note" : /^\S+?\s*[=:]/.test(text) ? "t-entry" : "";
      const name = [kind, wrong.has(number) && "t-wrong", number >= from && number < to && "t-here", changed.has(number) && "t-changed"]
        .filter(Boolean).join(" ");
      const old = this.lines[index];
      if (old && old.text === text && old.name === name) return;
      const item = old?.item ?? html("li");
      const split = kind === "t-entry" ? text.search(/[=:]/) : -1;
      item.replaceChildren(...(split > 0 ? [html("b", {}, text.slice(0, split)), text.slice(split)] : [text || "\u200b"]));
      item.className = name;
      if (!old) this.back.append(item);
      this.lines[index] = { text, name, item };
    });
    for (const { item } of this.lines.splice(lines.length)) item.remove();
  }

  // Bring a line into sight; with the cursor if that is wanted.
  reveal(line, { focus = false } = {}) {
    const height = parseFloat(getComputedStyle(this.area).lineHeight);
    const top = (line - 1) * height;
    if (top < this.area.scrollTop || top > this.area.scrollTop + this.area.clientHeight - 3 * height) {
      this.area.scrollTop = Math.max(0, top - 3 * height);
    }
    if (!focus) return;
    const start = this.area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    this.area.focus();
    this.area.setSelectionRange(start, start);
  }
}
