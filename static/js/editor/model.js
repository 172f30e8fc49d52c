// The campaign that is being edited, as values. Every operation gives a new model and leaves the old one alone, so that
// undoing is going back to it. Texts of keys are kept as they are written; what they mean is the server's business.
// Nothing here knows the page: the same module runs under node.
let counter = 0;
const fresh = (kind) => `${kind}${(counter += 1)}`;
const without = (object, key) => Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));

export const KINDS = { login_setup: "setups", job_type: "jobs" };

// ------------------------------------------------------------------------------------------- from and to the server

// sent: the server's form. before: the model it follows, so that stages keep their identity by their names.
export function fromServer(sent, before = null) {
  const ids = new Map((before?.stages ?? []).map((stage) => [stage.name, stage]));
  const places = new Map(sent.positions.map((place) => [place.label, [place.x, place.y]]));
  const home = `campaign ${sent.campaign.name ?? ""}`;
  const stages = sent.stages.map(({ name, was, values }) => ({
    id: ids.get(name)?.id ?? fresh("s"), name, was, origin: ids.get(name)?.origin ?? (before ? "" : name), values,
    place: places.get(name) ?? null,
  }));
  const byName = new Map(stages.map((stage) => [stage.name, stage.id]));
  const known = new Map((before?.links ?? []).map((link) => [`${link.needs}>${link.consumer}>${link.pattern}`, link.id]));
  const links = [];
  const strays = [];
  for (const { needs, consumer, pattern } of sent.dependencies) {
    const [from, to] = [byName.get(needs), byName.get(consumer)];
    if (from && to) {
      const id = known.get(`${from}>${to}>${pattern}`);
      known.delete(`${from}>${to}>${pattern}`);
      links.push({ id: id ?? fresh("d"), needs: from, consumer: to, pattern });
    } else strays.push({ needs, consumer, pattern });
  }
  const elsewhere = sent.positions.filter((place) => !byName.has(place.label) && place.label !== home);
  const blocks = (list, kind) => list.map(({ name, was, values }) => ({ id: fresh(kind), name, was, values }));
  return {
    campaign: sent.campaign, defaults: sent.defaults, stages, links, strays, elsewhere,
    setups: blocks(sent.login_setups, "l"), jobs: blocks(sent.job_types, "j"), home: places.get(home) ?? null,
  };
}

export function toServer(model) {
  const names = new Map(model.stages.map((stage) => [stage.id, stage.name]));
  const place = (label, [x, y]) => ({ label, x, y });
  const plain = (list) => list.map(({ name, was, values }) => ({ name, was, values }));
  return {
    campaign: model.campaign, defaults: model.defaults, stages: plain(model.stages),
    dependencies: [...model.links.map((link) => ({ needs: names.get(link.needs), consumer: names.get(link.consumer),
      pattern: link.pattern })), ...model.strays],
    positions: [
      ...(model.home && model.campaign.name ? [place(`campaign ${model.campaign.name}`, model.home)] : []),
      ...model.stages.filter((stage) => stage.place).map((stage) => place(stage.name, stage.place)), ...model.elsewhere],
    login_setups: plain(model.setups), job_types: plain(model.jobs),
  };
}

// Names of stages when the page was loaded, to those they have now.
export function renames(model) {
  return Object.fromEntries(model.stages.filter((stage) => stage.origin && stage.origin !== stage.name)
    .map((stage) => [stage.origin, stage.name]));
}

// ------------------------------------------------------------------------------------------------- looking at it

export const stageOf = (model, id) => model.stages.find((stage) => stage.id === id);
export const linkOf = (model, id) => model.links.find((link) => link.id === id);
export const isUnset = (text) => text === undefined || ["", "None", "none"].includes(text.trim());

// The text that counts for a key of a stage: { text, inherited }. keys: Map of the server's facts about keys.
export function effective(model, stage, key, keys) {
  const own = stage.values[key];
  if (own !== undefined && own.trim() !== "") return { text: own, inherited: false };
  const text = model.defaults[key];
  return { text: text === undefined || text === "" ? keys.get(key)?.fallback ?? "" : text, inherited: true };
}

export function freeName(model, wanted) {
  const taken = new Set(model.stages.map((stage) => stage.name));
  if (!taken.has(wanted)) return wanted;
  let number = 2;
  while (taken.has(`${wanted}_${number}`)) number += 1;
  return `${wanted}_${number}`;
}

// What is wrong with a name, as a sentence; "" if nothing is. The server checks again.
export function nameProblem(model, name, ownId = "") {
  if (!name.trim()) return "Give it a name.";
  if (/[/[\]\n\t]/.test(name)) return "A name has no /, [, ] or line ends.";
  if (model.stages.some((stage) => stage.name === name.trim() && stage.id !== ownId)) {
    return `There is a stage ${name.trim()} already; choose another name.`;
  }
  return "";
}

// "name", "name*3" (three of them) or "*3" (three clones): { name, count, clones }.
export function parseAdding(text) {
  const found = /^(.*?)(?:\*\s*(\d+))?$/s.exec(text.trim());
  const name = found[1].trim();
  const count = found[2] === undefined ? 1 : Math.min(Number(found[2]), 500);
  if (count < 1 || (!name && found[2] === undefined)) return null;
  return { name, count, several: found[2] !== undefined, clones: !name };
}

// ----------------------------------------------------------------------------------------------------- operations

export function addStage(model, name, { values = {}, place = null } = {}) {
  const stage = { id: fresh("s"), name, was: "", origin: "", values, place };
  return [{ ...model, stages: [...model.stages, stage] }, stage.id];
}

export function connect(model, needs, consumer, pattern = "%") {
  if (model.links.some((link) => link.needs === needs && link.consumer === consumer)) return [model, null];
  const link = { id: fresh("d"), needs, consumer, pattern };
  return [{ ...model, links: [...model.links, link] }, link.id];
}

// Children (with a dependency) or clones (without) of a stage, as the text of the box says: [model, ids].
export function addFrom(model, parentId, text, pattern = "%") {
  const adding = parseAdding(text);
  const parent = stageOf(model, parentId);
  if (!adding || (adding.clones && !parent)) return [model, []];
  const ids = [];
  for (let number = 0; number < adding.count; number += 1) {
    const base = adding.clones ? parent.name : adding.name;
    const name = freeName(model, adding.several ? `${base}_${number}` : base);
    let id;
    [model, id] = addStage(model, name, { values: adding.clones ? { ...parent.values } : {} });
    if (!adding.clones && parent) [model] = connect(model, parentId, id, pattern);
    ids.push(id);
  }
  return [model, ids];
}

// Copies of stages with their values and with the dependencies among and into them: [model, ids].
export function cloneStages(model, ids) {
  const copies = new Map();
  for (const id of ids) {
    const stage = stageOf(model, id);
    if (!stage) continue;
    const place = stage.place ? [stage.place[0] + 24, stage.place[1] + 24] : null;
    let copy;
    [model, copy] = addStage(model, freeName(model, `${stage.name}_copy`), { values: { ...stage.values }, place });
    copies.set(id, copy);
  }
  for (const link of model.links) {
    const consumer = copies.get(link.consumer);
    if (consumer) [model] = connect(model, copies.get(link.needs) ?? link.needs, consumer, link.pattern);
  }
  return [model, [...copies.values()]];
}

export function remove(model, ids) {
  const gone = new Set(ids);
  return {
    ...model, stages: model.stages.filter((stage) => !gone.has(stage.id)),
    links: model.links.filter((link) => !gone.has(link.id) && !gone.has(link.needs) && !gone.has(link.consumer)),
  };
}

const change = (list, id, how) => list.map((one) => (one.id === id ? { ...one, ...how(one) } : one));

// values: key to text; "" takes the key out, so that it is inherited again.
export function withTexts(texts, values) {
  let result = { ...texts };
  for (const [key, text] of Object.entries(values)) {
    if (text.trim() === "") result = without(result, key);
    else if (result[key] !== text.trim()) result[key] = text.trim();
  }
  return result;
}

export function setStage(model, id, { name, values = {} }) {
  return { ...model, stages: change(model.stages, id, (stage) => ({ name: name ?? stage.name,
    values: withTexts(stage.values, values) })) };
}

// The same values for several stages.
export function setStages(model, ids, values) {
  return ids.reduce((now, id) => setStage(now, id, { values }), model);
}

export function setCampaign(model, { campaign = {}, defaults = {} }) {
  return { ...model, campaign: withTexts(model.campaign, campaign), defaults: withTexts(model.defaults, defaults) };
}

export function setPattern(model, id, pattern) {
  return { ...model, links: change(model.links, id, () => ({ pattern: pattern.trim() || "%" })) };
}

// A job type or login setup of the text: changed where it is there (by its name before), else added.
export function setBlock(model, kind, before, name, values) {
  const which = KINDS[kind];
  const old = model[which].find((block) => block.name === before);
  const list = old ? change(model[which], old.id, (block) => ({ name, values: withTexts(block.values, values) }))
    : [...model[which], { id: fresh("b"), name, was: "", values: withTexts({}, values) }];
  return { ...model, [which]: list };
}

// Let these stages (and the default, if its id "defaults" is among them) use another job type or login setup.
export function useBlock(model, kind, name, ids) {
  const changed = setStages(model, ids.filter((id) => id !== "defaults"), { [kind]: name });
  return ids.includes("defaults") ? setCampaign(changed, { defaults: { [kind]: name } }) : changed;
}

// places: Map of id (or "home") to [x, y].
export function move(model, places) {
  return {
    ...model, home: places.get("home") ?? model.home,
    stages: model.stages.map((stage) => (places.has(stage.id) ? { ...stage, place: places.get(stage.id) } : stage)),
  };
}

export function forgetPlaces(model) {
  return { ...model, home: null, stages: model.stages.map((stage) => (stage.place ? { ...stage, place: null } : stage)) };
}

// ---------------------------------------------------------------------------------------------------------- history

// States one after the other. A state is any value; undoing gives the very same one back.
export class History {
  constructor(first) {
    this.states = [first];
    this.at = 0;
  }

  get now() { return this.states[this.at]; }
  get canUndo() { return this.at > 0; }
  get canRedo() { return this.at < this.states.length - 1; }

  push(state) {
    this.states = [...this.states.slice(0, this.at + 1), state].slice(-200);
    this.at = this.states.length - 1;
  }

  undo() { if (this.canUndo) this.at -= 1; return this.now; }
  redo() { if (this.canRedo) this.at += 1; return this.now; }
}

// -------------------------------------------------------------------------------------------------- lists in texts

// JSON as the server writes it, so that opening and applying a form changes nothing.
export function jsonText(value) {
  if (Array.isArray(value)) return `[${value.map(jsonText).join(", ")}]`;
  if (value && typeof value === "object") {
    const pairs = Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${jsonText(one)}`);
    return `{${pairs.join(", ")}}`;
  }
  return JSON.stringify(value);
}

function asPairs(value) {
  if (!Array.isArray(value)) return null;
  const plain = (part) => part === null || ["string", "number", "boolean"].includes(typeof part);
  const good = value.every((pair) => Array.isArray(pair) && (pair.length === 1 || pair.length === 2) && pair.every(plain));
  return good ? value.map(([key, text = ""]) => [key ?? "", text ?? ""].map(String)) : null;
}

// [[key, value], ...] of a text, or null if it is not plain enough to be shown in rows.
export function readPairs(text) {
  if (isUnset(text)) return [];
  try { return asPairs(JSON.parse(text)); } catch { return null; }
}

export const pairsText = (pairs) => jsonText(pairs.filter(([key, value]) => key || value));

// [[type, pairs], ...] of a recovery list, or null.
export function readRecoveries(text) {
  if (isUnset(text)) return [];
  try {
    const list = JSON.parse(text);
    if (!Array.isArray(list)) return null;
    const read = list.map((one) => (typeof one === "string" ? [one, []] : [one?.[0], asPairs(one?.[1] ?? [])]));
    return read.every(([kind, pairs]) => typeof kind === "string" && pairs) ? read : null;
  } catch { return null; }
}

export const recoveriesText = (list) => jsonText(list.map(([kind, pairs]) => [kind, pairs.filter(([key, value]) => key || value)]));

// ----------------------------------------------------------------------------------------------------------- splits

// "name(a,b=c)" or "name_a": { name, args: [[key or "", text]] }; null for a text that is something else.
export function readSplit(text) {
  if (isUnset(text)) return { name: "", args: [] };
  const found = /^([A-Za-z][A-Za-z0-9]*)(?:\((.*)\)|_([^(),=]+))?$/s.exec(text.replace(/\s+/g, ""));
  if (!found) return null;
  const inside = found[2] ?? found[3] ?? "";
  const args = inside ? inside.split(",").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return at < 0 ? ["", part] : [part.slice(0, at), part.slice(at + 1)];
  }) : [];
  return { name: found[1].toLowerCase(), args };
}

// parameters: [{ name, keyword, default }]; values: name to text.
export function splitText(name, parameters, values) {
  if (!name) return "";
  const clean = (parameter) => (values[parameter.name] ?? "").replace(/\s+/g, "");
  const plain = parameters.filter((parameter) => !parameter.keyword);
  let last = -1;
  plain.forEach((parameter, place) => { if (clean(parameter)) last = place; });
  const args = plain.slice(0, last + 1).map((parameter) => clean(parameter) || parameter.default);
  for (const parameter of parameters) {
    if (parameter.keyword && clean(parameter)) args.push(`${parameter.name}=${clean(parameter)}`);
  }
  return args.length ? `${name}(${args.join(",")})` : name;
}

// Values of a split's parameters by name, given its arguments.
export function splitValues(parameters, args) {
  const free = parameters.filter((parameter) => !parameter.keyword);
  let place = 0;
  const values = {};
  for (const [key, text] of args) {
    const name = key || free[place++]?.name;
    if (name) values[name] = text;
  }
  return values;
}
