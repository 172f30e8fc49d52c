// The campaign editor: what is shown is the model, what is stored is the text, and the server keeps the two in step.
// A step of the history is { model, anchor, text, ... }: the model, the text that its names refer to, and what the
// server said the text is now. Steps are never changed once the server has answered.
import { button, clip, glyph, html, iconButton, plural, set, useIcons } from "./dom.js";
import { Forms, ask, diffOf, listOf } from "./forms.js";
import { listen } from "./gestures.js";
import { History, KINDS, addFrom, addStage, cloneStages, connect, effective, forgetPlaces, fromServer, isUnset, linkOf, move,
  remove, renames, setBlock, setCampaign, setPattern, setStage, setStages, stageOf, toServer, useBlock } from "./model.js";
import { Server } from "./server.js";
import { TextPane } from "./textpane.js";
import { View } from "./view.js";

const PAUSE = 250;
const SAID = 10_000;
const NEEDS_END = "A stage that needs itself must have a split that ends. Set 'cs_split_type' first!";
const LOCKED = "The text has lines that cannot be read. Mend them there first.";

class Editor {
  constructor(root) {
    this.root = root;
    this.mayEdit = Boolean(root.dataset.maySave);
    this.server = new Server(root.dataset, root.querySelector("[data-token] input").value);
    this.selected = new Set();
    this.here = "home";
    this.connecting = null;
    this.sequence = 0;
    useIcons(root.dataset.icons);
  }

  async start() {
    const { campaign, text, state, choices } = await this.server.load();
    this.campaign = campaign;
    this.loaded = { text, version: campaign?.version ?? null };
    this.choices = choices;
    this.forms = new Forms(choices, this);
    this.text = new TextPane(this.root.querySelector("[data-text]"), { readOnly: !this.mayEdit,
      onedit: (now) => this.typed(now), onplace: (line) => this.lineChosen(line) });
    this.history = new History(this.step(fromServer(state.model), state));
    this.view = new View(this.root.querySelector("[data-graph]"), this.forms.keys);
    listen(this.view, this);
    this.listen();
    const first = this.model.stages.find((stage) => stage.name === this.root.dataset.stage);
    if (first) this.selected = new Set([this.here = first.id]);
    this.show();
    this.offerDraft();
    if (first) this.view.focus(first.id);
  }

  step(model, answer) {
    return { model, anchor: answer.text, text: answer.text, problems: answer.problems, warnings: answer.warnings,
      sections: answer.sections, locked: answer.locked };
  }

  get now() { return this.history.now; }
  get model() { return this.now.model; }
  get savedName() { return this.campaign?.name ?? ""; }
  // A new campaign can be saved as it came, such as a sample.
  get canSave() { return !this.saving && (this.isChanged || !this.campaign); }
  get isChanged() { return this.history && (this.typing !== undefined || this.now.text !== this.loaded.text || this.now.text === null); }

  // -------------------------------------------------------------------------------------------------------- changing

  // model: what it is to be after a change; nothing is sent if it is the same.
  change(model, { choose = null, say = "" } = {}) {
    if (!this.mayEdit || model === this.model) return;
    if (this.now.locked) {
      this.say(LOCKED);
      return;
    }
    if (this.typing !== undefined) {
      // The model is older than what was typed: changing it now would drop one of the two.
      this.say("The text was still being read. Please do that again.");
      this.act(() => this.settle());
      this.show();
      return;
    }
    this.history.push({ ...this.now, model, text: null });
    if (choose) this.selected = new Set(choose);
    this.show();
    if (choose?.length) this.view.focus(choose[0]);
    if (say) this.say(say);
    this.later();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle().catch((error) => this.failed(error)), PAUSE);
  }

  // Resolves when the server has said what the present step comes to. One question at a time, the last one counts.
  async settle() {
    clearTimeout(this.timer);
    while (this.typing !== undefined || this.now.text === null) {
      if (!this.asking) this.asking = this.question().finally(() => { this.asking = null; });
      await this.asking;
    }
  }

  async question() {
    const typed = this.typing;
    if (typed !== undefined) {
      const text = /\r\n/.test(this.loaded.text) ? typed.replaceAll("\n", "\r\n") : typed;
      const answer = await this.server.check({ text });
      if (this.typing !== typed) return;
      this.typing = undefined;
      this.history.push(this.step(fromServer(answer.model, this.model), answer));
    } else {
      const step = this.now;
      const known = new Set([...step.problems, ...step.warnings].map((one) => one.message));
      const { text, problems, warnings, sections, locked } = await this.server.check({ text: step.anchor, model: toServer(step.model) });
      Object.assign(step, { text, problems, warnings, sections, locked });
      const wrong = [...problems, ...warnings].find((one) => !known.has(one.message));
      if (wrong) this.say(wrong.message);
    }
    this.trouble = "";
    this.keepDraft();
    this.show();
  }

  typed(text) {
    this.typing = text;
    this.status();
    this.later();
  }

  async act(how) {
    try {
      if (this.typing !== undefined) await this.settle();
      await how();
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error) {
    if (!error.status && error.status !== 0) throw error;
    this.trouble = error.status === 0 ? `${error.message} Your changes are kept in this browser; try again.`
      : error.status === 401 || error.status === 403 ? `${error.message} Your changes are kept in this browser: load the page again.`
        : error.message;
    this.keepDraft();
    this.status();
    this.say(this.trouble);
  }

  undo(redo = false) {
    this.act(() => {
      const before = this.now;
      if (redo) this.history.redo(); else this.history.undo();
      if (before === this.now) return;
      this.show();
      this.say(redo ? "Redone" : "Undone");
      if (this.now.text === null) this.later(); else this.keepDraft();
      if (!document.activeElement || document.activeElement === document.body) this.view.focus(this.here);
    });
  }

  // --------------------------------------------------------------------------------------------------------- showing

  show() {
    const { model, problems } = this.now;
    const ids = new Set(["home", ...model.stages.map((stage) => stage.id), ...model.links.map((link) => link.id)]);
    for (const id of this.selected) if (!ids.has(id)) this.selected.delete(id);
    if (!ids.has(this.here)) this.here = model.stages[0]?.id ?? "home";
    this.byItem = this.sortProblems(problems);
    const messages = new Map([...this.byItem].map(([id, list]) => [id, list.map((one) => one.message)]));
    const lost = document.activeElement?.closest?.("[data-node], [data-link]");
    this.view.show(model, { selected: this.selected, problems: messages, here: this.here, target: this.target });
    if (lost && !lost.isConnected) this.view.focus(this.here);
    this.showText();
    this.status();
  }

  showText() {
    // What is typed into a text that a change of the picture has yet to reach would lose that change.
    this.text.area.readOnly = !this.mayEdit || (this.now.text === null && this.typing === undefined);
    if (this.typing !== undefined || this.now.text === null) return;
    const wrong = new Map();
    for (const { line, message } of this.now.problems) if (line) wrong.set(line, [...(wrong.get(line) ?? []), message]);
    const before = new Set(this.loaded.text.split(/\r\n?|\n/));
    const changed = new Set();
    this.now.text.split(/\r\n?|\n/).forEach((line, index) => { if (line && !before.has(line)) changed.add(index + 1); });
    this.text.show(this.now.text, { wrong, changed, ...this.linesOf(this.here) });
  }

  titleOf(id) {
    if (id === "home") return "campaign_defaults";
    const stage = stageOf(this.model, id);
    return stage ? `campaign_stage ${stage.name}` : `dependencies ${stageOf(this.model, linkOf(this.model, id)?.consumer)?.name}`;
  }

  linesOf(id) {
    const sections = [...this.now.sections].sort((one, two) => one.line - two.line);
    const place = sections.findIndex((section) => section.title === this.titleOf(id));
    return place < 0 ? { from: 0, to: 0 } : { from: sections[place].line, to: sections[place + 1]?.line ?? Infinity };
  }

  // Problems by the item of the picture that they are about.
  sortProblems(problems) {
    const found = new Map();
    const names = new Map(this.model.stages.map((stage) => [`campaign_stage ${stage.name}`, stage.id]));
    for (const problem of problems) {
      const title = problem.field.split("/")[0];
      const consumer = title.startsWith("dependencies ") ? names.get(`campaign_stage ${title.slice(13)}`) : null;
      const id = names.get(title) ?? consumer ?? "home";
      found.set(id, [...(found.get(id) ?? []), problem]);
    }
    return found;
  }

  problemsOf(title) { return this.now.problems.filter((one) => one.field === title || one.field.startsWith(`${title}/`)); }

  tool(name) { return this.root.ownerDocument.querySelector(`[data-act="${name}"]`); }

  status() {
    const { problems, model, warnings } = this.now;
    const place = document.querySelector("[data-editor-status]");
    const version = this.campaign ? `version ${this.loaded.version}` : "";
    const words = this.trouble || (this.saving ? this.saving === true ? "Saving…" : this.saving : !this.mayEdit ? `Version ${this.loaded.version}, to look at` : this.isChanged
      ? `Modified${version && " since "}${version}, kept in this browser` : this.campaign ? `Version ${this.loaded.version}, nothing changed` : "Not saved yet");
    if (place.textContent !== words) place.replaceChildren(html("span", { class: this.trouble ? "editor__trouble" : "" }, words));
    const say = this.tool("problems");
    const count = problems.length;
    say.replaceChildren(glyph(count ? "failed" : warnings.length ? "overdue" : "located"), html("span", {}, count ? plural(count, "problem")
      : warnings.length ? plural(warnings.length, "remark") : "No problems"));
    this.root.querySelector("[data-counts]").textContent = `${plural(model.stages.length, "stage")}, ${plural(model.links.length, "dependency", "dependencies")}${this.selected.size > 1 ? ", " + this.selected.size + " chosen" : ""}`;
    const some = [...this.selected].some((id) => id !== "home");
    const one = this.selected.size === 1;
    const can = { undo: this.history.canUndo, redo: this.history.canRedo, delete: some, clone: [...this.selected].some((id) => stageOf(model, id)),
      child: one && some, connect: some, open: this.selected.size > 0, save: this.canSave, changes: this.isChanged, preview: this.canSave };
    for (const [name, is] of Object.entries(can)) set(this.tool(name), "aria-disabled", is ? null : "true");
    set(this.tool("connect"), "aria-pressed", String(Boolean(this.connecting)));
  }

  say(words) {
    const place = this.root.querySelector("[data-say]");
    place.textContent = words;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => { place.textContent = ""; }, SAID);
  }

  pane(which) {
    const panes = this.root.querySelector("[data-panes]");
    const next = which ?? { graph: "both", both: "text", text: "graph" }[panes.dataset.panes];
    panes.dataset.panes = next;
    for (const name of ["graph", "both", "text"]) set(this.tool(`show-${name}`), "aria-pressed", String(name === next));
    for (const name of ["graph", "both", "text"]) set(this.tool(`show-${name}`), "aria-current", name === next ? "true" : null);
  }

  // -------------------------------------------------------------------------------------------------------- choosing

  select(ids) {
    this.selected = new Set(ids);
    if (ids.length) this.here = ids.at(-1);
    this.show();
    const { from } = this.linesOf(this.here);
    if (ids.length && from && document.activeElement !== this.text.area) this.text.reveal(from);
  }

  toggle(id) {
    const now = new Set(this.selected);
    if (!now.delete(id)) now.add(id);
    this.here = id;
    this.select([...now]);
    this.here = id;
    this.view.focus(id);
    this.say(`${this.selected.has(id) ? "Chosen" : "Not chosen"}, ${this.selected.size} in all`);
  }

  // The focus came to an item, by Tab or by a click.
  arrived(id) {
    if (this.here !== id) {
      const before = this.here;
      this.here = id;
      for (const one of [before, id]) set(this.view.elementOf(one), "tabindex", one === id ? 0 : -1);
    }
    if (!this.connecting && !this.pointing && !this.selected.has(id) && this.selected.size <= 1) this.select([id]);
    if (this.connecting) this.setTarget(id);
  }

  go(id, { add = false } = {}) {
    if (!this.connecting) this.select(add ? [...this.selected, id] : [id]);
    this.here = id;
    this.view.focus(id);
  }

  goToLinksOf(id) {
    const first = this.model.links.find((link) => link.needs === id || link.consumer === id);
    if (first) this.go(first.id); else this.say("No dependencies");
  }

  goToLink(id, by) {
    const { needs, consumer } = linkOf(this.model, id);
    const around = this.model.links.filter((link) => [link.needs, link.consumer].some((end) => end === needs || end === consumer));
    const place = around.findIndex((link) => link.id === id);
    this.go(around[(place + by + around.length) % around.length].id);
  }

  escape(id) {
    if (this.connecting) this.stopConnecting();
    else if (this.view.links.has(id)) this.go(linkOf(this.model, id).consumer);
    else this.select([]);
  }

  lineChosen(line) {
    if (this.now.text === null) return;
    const title = [...this.now.sections].filter((section) => section.line <= line).sort((one, two) => two.line - one.line)[0]?.title ?? "";
    const name = title.replace(/^(campaign_stage|dependencies) /, "");
    const stage = this.model.stages.find((one) => one.name === name && name !== title);
    if (stage && this.here !== stage.id) this.select([stage.id]);
  }

  setTarget(id) {
    const target = id && this.view.nodes.has(id) && id !== "home" ? id : null;
    if (this.target === target) return;
    this.view.elementOf(this.target)?.classList.remove("node--target");
    this.view.elementOf(target)?.classList.add("node--target");
    this.target = target;
  }

  // ------------------------------------------------------------------------------------------------------ operations

  moved(places) {
    // What stands by itself keeps its place from now on, or it would move along.
    const kept = [...this.view.places].filter(([id]) => id !== "home" || places.has("home"));
    this.change(move(this.model, new Map([...kept, ...places])), {});
  }

  connect(from, to) {
    if (from === "home" || to === "home") {
      this.say("Dependencies from/to campaign are not yet allowed.");
      return;
    }
    if (from === to) {
      const split = effective(this.model, stageOf(this.model, to), "cs_split_type", this.forms.keys).text;
      if (isUnset(split) || /^draining\b/i.test(split.trim())) {
        ask({ title: "Not yet", body: html("p", {}, NEEDS_END), yes: "OK", no: "" });
        return;
      }
      ask({ title: "Do you want to connect the node to itself?", body: html("p", {}, "The stage goes on with the next piece of its input each time it is done."), yes: "Connect" })
        .then((yes) => yes && this.connected(from, to));
      return;
    }
    this.connected(from, to);
  }

  connected(from, to) {
    const [model, id] = connect(this.model, from, to);
    if (!id) this.say("They are connected already");
    else this.change(model, { choose: [id], say: `${stageOf(model, to).name} needs ${stageOf(model, from).name} now` });
  }

  startConnecting(id) {
    if (!this.mayEdit) return;
    const chosen = [...this.selected].filter((one) => stageOf(this.model, one));
    if (chosen.length === 2) {
      this.connect(...chosen);
      return;
    }
    if (!stageOf(this.model, id)) return;
    this.connecting = id;
    this.view.picture.classList.add("draw--connecting");
    this.say(`Which stage needs ${stageOf(this.model, id).name}? Go there and press Enter; Escape ends it.`);
    this.status();
  }

  finishConnecting(id) {
    const from = this.connecting;
    this.stopConnecting();
    this.connect(from, id);
  }

  stopConnecting() {
    if (!this.connecting) return;
    this.connecting = null;
    this.setTarget(null);
    this.view.picture.classList.remove("draw--connecting");
    this.status();
  }

  // Whether a form may be opened: what cannot be kept is better told before it is typed than after.
  async isOpen() {
    if (this.typing !== undefined) await this.settle();
    if (!this.now.locked || !this.mayEdit) return true;
    this.say(LOCKED);
    await this.problems();
    return false;
  }

  async addStage(point = null) {
    const text = await this.isOpen() && await this.forms.adding(null);
    if (!text) return;
    const [model, ids] = addFrom(this.model, null, text);
    const place = point && this.model.stages.some((stage) => stage.place) ? point.map(Math.round) : null;
    this.change(place ? move(model, new Map([[ids[0], place]])) : model, { choose: ids, say: "Added" });
  }

  async addChild(id) {
    const parent = stageOf(this.model, id);
    const text = await this.isOpen() && await this.forms.adding(parent ?? null);
    if (!text) return;
    const [model, ids] = addFrom(this.model, parent?.id ?? null, text);
    this.change(model, { choose: ids, say: `${plural(ids.length, "stage")} added` });
  }

  chosen(id) { return this.selected.has(id) ? [...this.selected] : [id]; }

  clone(id) {
    const [model, ids] = cloneStages(this.model, this.chosen(id).filter((one) => stageOf(this.model, one)));
    if (ids.length) this.change(model, { choose: ids, say: `${plural(ids.length, "stage")} cloned` });
  }

  delete(id) {
    const ids = this.chosen(id).filter((one) => one !== "home");
    if (!ids.length) return;
    const link = linkOf(this.model, ids[0]);
    const next = link?.consumer ?? this.model.links.find((one) => one.consumer === ids[0] && !ids.includes(one.needs))?.needs ?? "home";
    this.change(remove(this.model, ids), { choose: [next], say: `${plural(ids.length, "item")} deleted; Control Z brings it back` });
  }

  tidy() {
    this.change(forgetPlaces(this.model), { say: "Places are found by themselves again" });
    this.view.fit();
  }

  async open(id) {
    if (!await this.isOpen()) return;
    const several = [...this.selected].filter((one) => stageOf(this.model, one));
    if (several.length > 1 && several.includes(id) && this.mayEdit) {
      const result = await this.forms.stages(several.map((one) => stageOf(this.model, one)));
      if (result && Object.keys(result.values).length) this.change(setStages(this.model, several, result.values));
    } else if (id === "home") {
      const result = await this.forms.campaign([...this.problemsOf("campaign"), ...this.problemsOf("campaign_defaults")]);
      if (result) this.change(setCampaign(this.model, result));
    } else if (stageOf(this.model, id)) await this.openStage(stageOf(this.model, id));
    else if (linkOf(this.model, id)) await this.openLink(linkOf(this.model, id));
  }

  async openStage(stage) {
    const result = await this.forms.stage(stage, this.problemsOf(`campaign_stage ${stage.name}`));
    if (!result) return;
    if (result.name !== stage.name || Object.keys(result.values).length) this.change(setStage(this.model, stage.id, result));
    if (!result.next) return;
    this.go(result.next);
    await this.openLink(linkOf(this.model, result.next));
  }

  async openLink(link) {
    const result = await this.forms.link(link, this.problemsOf(`dependencies ${stageOf(this.model, link.consumer).name}`));
    if (result === "remove") this.delete(link.id);
    else if (result && result.pattern !== link.pattern) this.change(setPattern(this.model, link.id, result.pattern));
  }

  // A job type or login setup in its form; resolves with the name that stages should use, null if nothing was done.
  async openBlock(kind, name) {
    const facts = this.choices[kind];
    const own = this.model[KINDS[kind]].find((block) => block.name === name);
    const stored = facts.names.includes(name);
    let values = own?.values ?? facts.known[name] ?? {};
    if (!own && stored && !facts.known[name]) values = facts.known[name] = await this.server.block(kind, name);
    if (!own && !stored && name) values = {};
    const users = [...(this.model.defaults[kind] === name ? [["defaults", "the defaults"]] : []),
      ...this.model.stages.filter((stage) => stage.values[kind] === name).map((stage) => [stage.id, stage.name])];
    const result = await this.forms.block(kind, name, values, { stored, users, problems: this.problemsOf(`${kind} ${name}`) });
    if (!result) return null;
    let model = setBlock(this.model, kind, stored ? null : own?.name ?? null, result.name, result.values);
    const using = stored ? result.use : users.map(([id]) => id);
    if (result.name !== name && using.length) model = useBlock(model, kind, result.name, using);
    this.change(model, { say: `${result.name} is part of the campaign now` });
    return result.name;
  }

  key(key) {
    const acts = { a: () => this.addStage(), t: () => this.tidy(), w: () => this.preview(), v: () => this.pane(), p: () => this.problems(), "?": () => this.keysHelp(),
      "+": () => this.view.zoom(1 / 1.25), "=": () => this.view.zoom(1 / 1.25), "-": () => this.view.zoom(1.25), 0: () => this.view.fit() };
    if (!acts[key] || (!this.mayEdit && "atw".includes(key))) return false;
    this.act(acts[key]);
    return true;
  }

  // --------------------------------------------------------------------------------------------------------- dialogs

  keysHelp() {
    return ask({ title: "Keys and mouse", yes: "", no: "Close", body: this.root.querySelector("[data-keys]").content.cloneNode(true) });
  }

  async problems() {
    await this.settle();
    const { problems, warnings } = this.now;
    const row = (one) => html("li", {}, html("button", { type: "button", class: "linklike", "data-answer": String(one.line ?? 0) },
      one.line ? `Line ${one.line}` : clip(one.field, 40) || "Text"), ` ${one.message}`);
    const lists = [["Problems", problems], ["Remarks", warnings]].filter(([, list]) => list.length)
      .map(([title, list]) => [html("h3", {}, title), html("ul", { class: "editlist" }, list.map(row))]);
    const body = html("div", {}, lists.length ? lists : html("p", {}, "Everything is in order."));
    const line = await ask({ title: "What the check says", wide: true, yes: "", no: "Close", body, answers: [...body.querySelectorAll("[data-answer]")] });
    if (Number(line)) {
      if (this.root.querySelector("[data-panes]").dataset.panes === "graph") this.pane("both");
      this.text.reveal(Number(line), { focus: true });
      this.lineChosen(Number(line));
    }
  }

  async changes() {
    await this.settle();
    const answer = await this.server.check({ text: this.now.text, compare: this.loaded.text });
    const more = this.mayEdit ? [button("Preview what would be launched", { "data-answer": "preview" }), button("Save", { "data-answer": "save" })] : [];
    const chosen = await ask({ title: this.campaign ? `Changes to version ${this.loaded.version}` : "What will be saved", wide: true, yes: "", no: "Close",
      extra: more, body: [listOf("In words", answer.changes), diffOf(answer.diff)] });
    if (chosen === "preview") await this.preview();
    if (chosen === "save") await this.save();
  }

  // What saving this would change in launches, stage by stage. Nothing is saved.
  async preview() {
    if (this.saving || !this.mayEdit) return;
    await this.settle();
    if (!this.canSave) {
      this.say("Nothing is changed");
      return;
    }
    this.saving = "Working out what would be launched…";
    let answer = null;
    try {
      this.status();
      answer = await this.checked((edit, fields) => this.server.preview(edit, fields));
      this.trouble = "";
    } finally {
      this.saving = false;
      this.status();
    }
    if (!answer) return;
    const chosen = await ask({ title: "What would be launched", wide: true, yes: "", no: "Go on editing", body: this.effects(answer),
      extra: [button("Save", { kind: "button--primary", "data-answer": "save" })] });
    if (chosen === "save") await this.save();
  }

  effects({ effects, unchanged, notes }) {
    const about = (one) => [one.launch_id ? `Launch ${one.launch_id}, which waits: ` : "The next launch: ", one.after,
      one.before === one.after ? "" : `; until now: ${one.before}`, one.why ? `: ${one.why}` : ""].join("");
    return [html("p", {}, "Nothing is saved and nothing is launched yet."),
      effects.map((one) => html("section", {}, html("h3", {}, one.stage), html("p", { class: "small" }, about(one)), one.diff.length ? diffOf(one.diff) : null)),
      effects.length ? null : html("p", {}, "No launch would differ."),
      effects.length && unchanged ? html("p", { class: "small" }, `${plural(unchanged, "launch", "launches")} would stay as ${unchanged === 1 ? "it is" : "they are"}.`) : null,
      notes.length ? html("ul", { class: "editlist" }, notes.map((note) => html("li", {}, note))) : null];
  }

  // ---------------------------------------------------------------------------------------------------------- saving

  async save() {
    if (!this.canSave || !this.mayEdit) return;
    this.saving = true;
    try {
      await this.settle();
      if (this.campaign && !this.isChanged) return;
      this.status();
      await this.send();
    } finally {
      this.saving = false;
      this.status();
    }
  }

  async send() {
    const step = this.now;
    try {
      const saved = await this.checked((edit, fields) => this.server.save(edit, fields));
      if (saved) this.saved(saved, step);
    } catch (error) {
      if (error.status === 409 && error.answer.status === "conflict") await this.conflict(error.answer);
      else throw error;
    }
  }

  // Sends what there is to be saved; without an answer if something is wrong with it, which is shown then.
  async checked(sent) {
    const step = this.now;
    if (!step.problems.length) {
      try {
        return await sent({ text: step.text, renames: renames(step.model) }, { campaign_id: this.campaign?.id, base_version: this.loaded.version || null });
      } catch (error) {
        if (error.status !== 400 || !error.answer.problems?.length) throw error;
        step.problems = error.answer.problems;
        this.show();
      }
    }
    await this.problems();
    return null;
  }

  saved(answer, step) {
    this.trouble = "";
    this.forgetDraft();
    if (!this.campaign || answer.is_new) {
      this.leaving = true;
      location.assign(answer.url);
      return;
    }
    this.loaded = { text: step.text, version: answer.version };
    const model = { ...step.model, stages: step.model.stages.map((stage) => ({ ...stage, origin: stage.name })) };
    if (this.now === step) this.history.states[this.history.at] = { ...step, model };
    this.notice("located", `Saved as version ${answer.version}`, answer.warnings ?? []);
    this.say(`Saved as version ${answer.version}`);
    this.keepDraft();
    this.show();
  }

  // Somebody else saved meanwhile: show both changes, and let the person choose. Nothing is dropped.
  async conflict(answer) {
    const both = button("Take both", { kind: "button--primary", "data-answer": "both", "data-first": "" });
    const mine = button("Only mine", { "data-answer": "mine", title: `Version ${answer.version} stays among the versions` });
    const chosen = await ask({
      title: `${answer.saved_by} saved version ${answer.version} meanwhile`, wide: true, yes: "", no: "Go on editing", extra: [mine, both],
      body: [html("p", {}, "Nothing is lost: both changes are here. Take both, look at the result, and save again."),
        answer.clashes.length ? html("section", { class: "notice s-overdue" }, glyph("overdue"), html("div", {}, html("h3", { class: "notice__title" }, "Changed by both; yours would stay"),
          html("ul", { class: "editlist" }, answer.clashes.map((one) => html("li", {}, `${one.where}: was ${one.base ?? "not there"}, theirs ${one.theirs ?? "deleted"}, yours ${one.mine ?? "deleted"}`))))) : null,
        html("div", { class: "halves" }, listOf(`Changes of ${answer.saved_by}`, answer.their_changes), listOf("Your changes", answer.your_changes)),
        html("h3", {}, `Version ${answer.version}, with your changes in it`), diffOf(answer.diff)] });
    if (!chosen) return;
    const base = { text: answer.theirs, version: answer.version };
    const now = await this.server.check({ text: chosen === "both" ? answer.merged : this.now.text });
    this.loaded = base;
    this.history.push(this.step(fromServer(now.model, this.model), now));
    this.keepDraft();
    this.show();
    this.say("Both changes are here now. Save again to store them.");
  }

  notice(kind, title, lines, buttons = []) {
    const place = document.querySelector("[data-notices]");
    const one = html("div", { class: `notice s-${kind}`, role: "status" }, glyph(kind), html("div", {}, html("p", { class: "notice__title" }, title),
      lines.map((line) => html("p", { class: "notice__text" }, line)), html("div", { class: "buttons" }, buttons)));
    one.append(iconButton("Close", "close", () => one.remove(), { class: "button button--bare button--icon button--small editor__close" }));
    place.replaceChildren(one);
    return one;
  }

  // ----------------------------------------------------------------------------------------------------------- drafts

  get draftKey() { return `poms-editor:${this.root.dataset.place}:${this.campaign?.id ?? "new" + location.search}`; }

  keepDraft() {
    const text = this.typing ?? this.now.text;
    if (!this.isChanged || text === null) {
      // What is offered from before is not ours to forget.
      if (!this.isChanged && this.drafted) this.forgetDraft();
      return;
    }
    this.drafted = true;
    try { localStorage.setItem(this.draftKey, JSON.stringify({ text, version: this.loaded.version })); } catch { /* Not kept; the page asks before it is left. */ }
  }

  forgetDraft() {
    try { localStorage.removeItem(this.draftKey); } catch { /* There is none then. */ }
  }

  offerDraft() {
    let draft = null;
    try { draft = JSON.parse(localStorage.getItem(this.draftKey)); } catch { return; }
    if (!draft || !this.mayEdit || draft.text === this.loaded.text) return;
    const old = draft.version && draft.version !== this.loaded.version;
    const shown = this.notice("overdue", "This browser has changes that were not saved", old ? [`They began with version ${draft.version}; somebody saved version ${this.loaded.version} since. Saving shows both.`] : [], [
      button("Bring them back", { kind: "button--primary button--small", onclick: () => this.act(async () => {
        this.typing = draft.text;
        await this.settle();
        if (draft.version) this.loaded = { ...this.loaded, version: draft.version };
        shown.remove();
        this.show();
      }) }), button("Forget them", { kind: "button--small", onclick: () => { this.forgetDraft(); shown.remove(); } })]);
  }

  // ---------------------------------------------------------------------------------------------------------- buttons

  listen() {
    const first = () => [...this.selected].find((id) => id !== "home") ?? this.here;
    const acts = {
      stage: () => this.addStage(), child: () => this.addChild(first()), connect: () => (this.connecting ? this.stopConnecting() : this.startConnecting(first())),
      clone: () => this.clone(first()), open: () => this.open(this.selected.has(this.here) ? this.here : first()), delete: () => this.delete(first()),
      undo: () => this.undo(), redo: () => this.undo(true), tidy: () => this.tidy(), fit: () => this.view.fit(), smaller: () => this.view.zoom(1.25),
      larger: () => this.view.zoom(1 / 1.25), problems: () => this.problems(), keys: () => this.keysHelp(), save: () => this.save(), changes: () => this.changes(),
      preview: () => this.preview(),
      "show-graph": () => this.pane("graph"), "show-both": () => this.pane("both"), "show-text": () => this.pane("text"),
    };
    for (const tool of document.querySelectorAll("[data-act]")) {
      tool.hidden = tool.hasAttribute("data-edits") && !this.mayEdit;
      tool.addEventListener("click", () => { if (tool.getAttribute("aria-disabled") !== "true") this.act(acts[tool.dataset.act]); });
    }
    this.pane("both");
    document.addEventListener("keydown", (event) => {
      const form = [...document.querySelectorAll(".editask[open] form")].at(-1);
      const key = event.key.toLowerCase();
      if (!(event.ctrlKey || event.metaKey)) {
        if (event.target === document.body && !form && !event.altKey && this.key(event.key)) event.preventDefault();
        return;
      }
      if (document.querySelector("dialog[open]")) {
        if (key !== "s") return;
        event.preventDefault();
        form?.requestSubmit();
        return;
      }
      const inText = event.target === this.text.area || event.target.matches?.("input, select");
      const redo = key === "y" || (key === "z" && event.shiftKey);
      if (key === "s") this.act(() => this.save());
      else if ((key === "z" || key === "y") && !inText) this.undo(redo);
      else if (key === "a" && event.target.closest?.(".draw")) this.select(this.model.stages.map((stage) => stage.id));
      else return;
      event.preventDefault();
    });
    // Back to the page on which a campaign was new: it is not new any more.
    addEventListener("pageshow", (event) => { if (event.persisted && this.leaving) location.reload(); });
    addEventListener("beforeunload", (event) => { if (this.isChanged && this.mayEdit && !this.leaving) event.preventDefault(); });
  }
}

const root = document.querySelector("[data-editor]");
const editor = new Editor(root);
editor.start().then(() => { root.dataset.ready = "yes"; }, (error) => {
  root.querySelector("[data-graph]").replaceChildren(html("p", { class: "editor__wait" }, `The campaign could not be loaded. ${error.message}`));
  throw error;
});
