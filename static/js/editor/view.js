// The picture: an SVG whose parts are elements that can have the focus. Shows a model, and tells nothing back.
// Only attributes that differ are touched, so that dragging costs little.
import { clip, html, plural, set, svg } from "./dom.js";
import { SIZE, bounds, placesOf, route } from "./layout.js";
import { effective } from "./model.js";

const MARGIN = 28;
// A long campaign begins with its top at a size that can be read, rather than with all of it.
const READABLE = 1.8;

export class View {
  constructor(box, keys) {
    this.box = box;
    this.keys = keys;
    this.nodes = new Map();
    this.links = new Map();
    this.places = new Map();
    this.frame = null;
    this.edges = svg("g");
    this.boxes = svg("g");
    this.extra = svg("g", { class: "draw__extra" });
    this.picture = svg("svg", { class: "draw", role: "group", "aria-label":
      "Stages. Arrow keys go from stage to stage, Enter opens one, ? tells all keys." },
    svg("rect", { class: "draw__ground", fill: "transparent" }), this.edges, this.boxes, this.extra);
    this.hint = html("p", { class: "editor__empty" }, "No stages yet. Press A, or the button Stage, to add the first one.");
    box.replaceChildren(this.picture, this.hint);
    new ResizeObserver(() => this.resized()).observe(box);
  }

  // ------------------------------------------------------------------------------------------------- showing a model

  // marks: { selected: Set, problems: Map id -> messages, here: id that Tab leads to, target: id }
  show(model, marks) {
    this.model = model;
    this.marks = marks;
    this.places = placesOf(model);
    this.hint.hidden = model.stages.length > 0;
    const ids = ["home", ...model.stages.map((stage) => stage.id)];
    this.keep(this.nodes, ids, (id) => this.makeNode(id), this.boxes);
    this.keep(this.links, model.links.map((link) => link.id), (id) => this.makeLink(id), this.edges);
    this.updateNode("home", this.homeFacts(model));
    for (const stage of model.stages) this.updateNode(stage.id, this.stageFacts(model, stage));
    this.boxesInTheWay = model.stages.map((stage) => [stage.id, this.places.get(stage.id)]);
    for (const link of model.links) this.updateLink(link);
    if (!this.frame) this.fit(READABLE);
  }

  keep(map, ids, make, parent) {
    const wanted = new Set(ids);
    for (const [id, parts] of map) {
      if (!wanted.has(id)) {
        parts.element.remove();
        map.delete(id);
      }
    }
    ids.forEach((id, place) => {
      if (!map.has(id)) map.set(id, make(id));
      const { element } = map.get(id);
      if (parent.children[place] !== element) parent.insertBefore(element, parent.children[place] ?? null);
    });
  }

  makeNode(id) {
    const isHome = id === "home";
    const height = isHome ? SIZE.pill : SIZE.height;
    const parts = {
      face: svg("rect", { class: "face", width: SIZE.width, height, rx: isHome ? height / 2 : 5 }),
      name: svg("text", { class: "name", x: isHome ? "50%" : 8, y: isHome ? 19 : 22 }),
      more: svg("text", { x: isHome ? "50%" : 8, y: isHome ? 34 : 40 }),
      title: svg("title"),
    };
    const marks = isHome ? [] : [
      svg("circle", { class: "port", "data-port": id, cx: SIZE.width / 2, cy: height, r: 5.5 }),
      svg("path", { class: "alarm", d: `M${SIZE.width - 22} 8h14v14h-14z` }),
      svg("text", { class: "alarm__mark", x: SIZE.width - 15, y: 19 }, "!")];
    parts.element = svg("g", { class: `node ${isHome ? "node--home" : ""}`, "data-node": id, role: "button" },
      // An svg lets nothing out: letters of long names may be wider than most.
      parts.title, parts.face, svg("svg", { x: 4, width: SIZE.width - 8, height }, parts.name, parts.more), ...marks);
    return parts;
  }

  homeFacts(model) {
    const version = model.defaults.software_version ?? "";
    const done = [model.defaults.completion_type, model.defaults.completion_pct].filter(Boolean).join(" ");
    return { name: "Defaults", more: [version, done && `${done} %`].filter(Boolean).join(", ") || "none",
      label: `Campaign ${model.campaign.name ?? "without a name"} and its defaults` };
  }

  stageFacts(model, stage) {
    const value = (key) => effective(model, stage, key, this.keys).text;
    const kind = value("stage_type");
    const split = value("cs_split_type");
    const more = [kind === "regular" ? value("job_type") : kind, split && split !== "None" ? split : ""]
      .filter(Boolean).join(" · ");
    const names = new Map(model.stages.map((one) => [one.id, one.name]));
    const needs = model.links.filter((link) => link.consumer === stage.id)
      .map((link) => `${names.get(link.needs)} (${link.pattern})`);
    return { name: stage.name, more, label: `Stage ${stage.name}, ${more}${needs.length ? ", needs " + needs.join(", ") : ""}` };
  }

  updateNode(id, { name, more, label }) {
    const { element, ...parts } = this.nodes.get(id);
    const troubles = this.marks.problems.get(id) ?? [];
    const chosen = this.marks.selected.has(id);
    for (const [part, text] of [["name", clip(name, 16)], ["more", clip(more, id === "home" ? 23 : 19)], ["title", [name, ...troubles].join("\n")]]) {
      if (parts[part].textContent !== text) parts[part].textContent = text;
    }
    element.classList.toggle("node--chosen", chosen);
    element.classList.toggle("node--wrong", troubles.length > 0);
    element.classList.toggle("node--target", this.marks.target === id);
    set(element, "aria-label", `${label}${troubles.length ? ", " + plural(troubles.length, "problem") : ""}`);
    set(element, "aria-pressed", chosen);
    set(element, "tabindex", this.marks.here === id ? 0 : -1);
    this.placeNode(id);
  }

  placeNode(id) {
    const [x, y] = this.places.get(id);
    set(this.nodes.get(id).element, "transform", `translate(${x} ${y})`);
  }

  makeLink(id) {
    const parts = {
      hit: svg("path", { class: "hit" }), path: svg("path", { class: "edge", "marker-end": "url(#tip)" }),
      text: svg("text", { class: "edgelabel", "text-anchor": "middle" }), title: svg("title"),
    };
    parts.element = svg("g", { class: "link", "data-link": id, role: "button", tabindex: -1 },
      parts.title, parts.hit, parts.path, parts.text);
    return parts;
  }

  updateLink(link) {
    const { element, hit, path, text, title } = this.links.get(link.id);
    const [from, to] = [this.places.get(link.needs), this.places.get(link.consumer)];
    const others = (this.boxesInTheWay ?? []).filter(([id]) => id !== link.needs && id !== link.consumer)
      .map(([, place]) => place);
    const way = route(from, to, others);
    set(hit, "d", way.path);
    set(path, "d", way.path);
    set(text, "x", way.label[0]);
    set(text, "y", way.label[1] + 4);
    const pattern = link.pattern === "%" ? "" : clip(link.pattern, 22);
    if (text.textContent !== pattern) text.textContent = pattern;
    const names = [link.needs, link.consumer].map((id) => this.model.stages.find((stage) => stage.id === id).name);
    const troubles = this.marks.problems.get(link.id) ?? [];
    const label = `Dependency: ${names[1]} takes ${link.pattern} from ${names[0]}`;
    title.textContent = [label, ...troubles].join("\n");
    set(element, "aria-label", label);
    set(element, "aria-pressed", this.marks.selected.has(link.id));
    set(element, "tabindex", this.marks.here === link.id ? 0 : -1);
    element.classList.toggle("link--chosen", this.marks.selected.has(link.id));
    element.classList.toggle("link--wrong", troubles.length > 0);
  }

  // While dragging: these nodes stand elsewhere, everything else stays.
  drag(places) {
    for (const [id, place] of places) {
      this.places.set(id, place);
      this.placeNode(id);
    }
    this.boxesInTheWay = this.model.stages.map((stage) => [stage.id, this.places.get(stage.id)]);
    for (const link of this.model.links) {
      if (places.has(link.needs) || places.has(link.consumer)) this.updateLink(link);
    }
  }

  // A line that follows the pointer while a dependency is drawn, or a frame around what is being chosen.
  sketch(shape, attributes) {
    this.extra.replaceChildren(...(shape ? [svg(shape, attributes)] : []));
  }

  elementOf(id) {
    return (this.nodes.get(id) ?? this.links.get(id))?.element ?? null;
  }

  focus(id) {
    const element = this.elementOf(id);
    if (!element) return;
    set(element, "tabindex", 0);
    element.focus({ preventScroll: true });
    this.bringIntoView(id);
  }

  // ------------------------------------------------------------------------------------------------------- the frame

  get scale() { return this.frame.width / Math.max(this.picture.clientWidth, 1); }

  setFrame(frame) {
    this.frame = frame;
    const { x, y, width, height } = frame;
    set(this.picture, "viewBox", `${x.toFixed(1)} ${y.toFixed(1)} ${width.toFixed(1)} ${height.toFixed(1)}`);
    const ground = this.picture.querySelector(".draw__ground");
    for (const [name, value] of Object.entries({ x: x - width, y: y - height, width: 3 * width, height: 3 * height })) {
      set(ground, name, value.toFixed(0));
    }
  }

  // Everything in sight, never larger than natural size; with a limit only so much that it can be read.
  fit(most = Infinity) {
    const area = bounds(this.places);
    const [wide, high] = [Math.max(this.picture.clientWidth, 50), Math.max(this.picture.clientHeight, 50)];
    const needed = Math.max(1, (area.width + 2 * MARGIN) / wide, (area.height + 2 * MARGIN) / high);
    const scale = Math.min(needed, most);
    const [width, height] = [wide * scale, high * scale];
    const middle = scale < needed ? this.places.get("home")[0] + SIZE.width / 2 : area.x + area.width / 2;
    this.fitted = most;
    this.setFrame({ x: middle - width / 2, y: area.y - MARGIN, width, height });
  }

  resized() {
    if (!this.frame) return;
    if (this.fitted) this.fit(this.fitted);
    else {
      const { x, y } = this.frame;
      const scale = this.lastScale ?? this.scale;
      this.setFrame({ x, y, width: this.picture.clientWidth * scale, height: this.picture.clientHeight * scale });
    }
  }

  // factor above 1: more in sight. at: the point of the picture that stays where it is.
  zoom(factor, at = null) {
    const { x, y, width, height } = this.frame;
    const now = this.scale;
    const limited = Math.min(12, Math.max(0.4, now * factor)) / now;
    const [px, py] = at ?? [x + width / 2, y + height / 2];
    this.fitted = false;
    this.setFrame({ x: px - (px - x) * limited, y: py - (py - y) * limited, width: width * limited, height: height * limited });
    this.lastScale = this.scale;
  }

  pan(dx, dy) {
    this.fitted = false;
    this.lastScale = this.scale;
    this.setFrame({ ...this.frame, x: this.frame.x + dx, y: this.frame.y + dy });
  }

  bringIntoView(id) {
    const place = this.places.get(id);
    if (!place || !this.frame) return;
    const { x, y, width, height } = this.frame;
    const dx = Math.min(0, place[0] - MARGIN - x) + Math.max(0, place[0] + SIZE.width + MARGIN - x - width);
    const dy = Math.min(0, place[1] - MARGIN - y) + Math.max(0, place[1] + SIZE.height + MARGIN - y - height);
    if (dx || dy) this.pan(dx, dy);
  }

  // The point of the picture under the pointer.
  point(event) {
    const edge = this.picture.getBoundingClientRect();
    return [this.frame.x + (event.clientX - edge.left) * this.scale, this.frame.y + (event.clientY - edge.top) * this.scale];
  }
}
