// The editor's pure modules: undo gives the same model back, nothing is changed in place, boxes never overlap.
import assert from "node:assert/strict";
import test from "node:test";
import * as model from "./model.js";
import { SIZE, layOut, nextIn, placesOf, route } from "./layout.js";

// A small generator of random numbers, so that a failure can be repeated.
function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function frozen(value) {
  if (value && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

const EMPTY = { campaign: { name: "c" }, defaults: { job_type: "j" }, stages: [], login_setups: [], job_types: [], dependencies: [], positions: [] };

function anyEdit(now, pick) {
  const ids = now.stages.map((stage) => stage.id);
  const one = ids[pick(Math.max(ids.length, 1))];
  const other = ids[pick(Math.max(ids.length, 1))];
  if (!ids.length) return model.addFrom(now, null, `s${pick(9)}`)[0];
  return [
    () => model.addFrom(now, one, `s${pick(20)}`)[0], () => model.addFrom(now, one, `n*${1 + pick(3)}`)[0],
    () => model.addFrom(now, one, `*${1 + pick(2)}`)[0], () => model.cloneStages(now, [one, other])[0],
    () => model.remove(now, [one]), () => (one === other ? now : model.connect(now, one, other, "%.root")[0]),
    () => model.setStage(now, one, { name: model.freeName(now, `r${pick(9)}`), values: { completion_pct: String(pick(100)) } }),
    () => model.setStage(now, one, { values: { completion_pct: "" } }), () => model.move(now, new Map([[one, [pick(900), pick(900)]]])),
    () => model.forgetPlaces(now), () => model.setCampaign(now, { defaults: { vo_role: `v${pick(3)}` } }),
    () => model.setBlock(now, "job_type", null, `job${pick(99)}`, { launch_script: "x" }),
    () => (now.links.length ? model.setPattern(now, now.links[pick(now.links.length)].id, `p${pick(9)}`) : now),
  ][pick(13)]();
}

test("undo gives the very model back, and no operation changes one in place", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const pick = random(seed);
    const history = new model.History(frozen(model.fromServer(EMPTY)));
    const seen = [history.now];
    const written = [JSON.stringify(model.toServer(history.now))];
    for (let step = 0; step < 40; step += 1) {
      history.push(frozen(anyEdit(history.now, pick)));
      seen.push(history.now);
      written.push(JSON.stringify(model.toServer(history.now)));
    }
    for (let step = 40; step > 0; step -= 1) {
      assert.equal(history.now, seen[step]);
      assert.equal(JSON.stringify(model.toServer(history.now)), written[step]);
      history.undo();
    }
    for (let step = 1; step <= 40; step += 1) assert.equal(history.redo(), seen[step]);
  }
});

test("a form goes through the model unchanged", () => {
  for (let seed = 1; seed <= 1000; seed += 1) {
    const pick = random(seed);
    let now = model.fromServer(EMPTY);
    for (let step = 0; step < 15; step += 1) now = anyEdit(now, pick);
    const form = model.toServer(now);
    assert.deepEqual(model.toServer(model.fromServer(form)), form);
    assert.deepEqual(model.toServer(model.fromServer(form, now)), form);
  }
});

test("names of stages stay unique and dependencies join stages that are there", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const pick = random(seed);
    let now = model.fromServer(EMPTY);
    for (let step = 0; step < 40; step += 1) {
      now = anyEdit(now, pick);
      const names = now.stages.map((stage) => stage.name);
      assert.equal(new Set(names).size, names.length);
      const ids = new Set(now.stages.map((stage) => stage.id));
      assert.ok(now.links.every((link) => ids.has(link.needs) && ids.has(link.consumer)));
    }
  }
});

test("adding says name, name*N or *N", () => {
  const [one, [id]] = model.addFrom(model.fromServer(EMPTY), null, "gen");
  const [children] = model.addFrom(one, id, "reco * 3");
  assert.deepEqual(children.stages.map((stage) => stage.name), ["gen", "reco_0", "reco_1", "reco_2"]);
  assert.equal(children.links.length, 3);
  const [clones] = model.addFrom(one, id, "*2");
  assert.deepEqual(clones.stages.map((stage) => stage.name), ["gen", "gen_0", "gen_1"]);
  assert.equal(clones.links.length, 0);
  assert.equal(model.parseAdding(""), null);
});

test("a changed text keeps the identity of stages by their names", () => {
  const [before, [id]] = model.addFrom(model.fromServer(EMPTY), null, "gen");
  const after = model.fromServer(model.toServer(before), before);
  assert.equal(after.stages[0].id, id);
});

test("a renamed stage is told with the name it had when the page was loaded", () => {
  const loaded = model.fromServer({ ...EMPTY, stages: [{ name: "a", was: "a", values: {} }] });
  const renamed = model.setStage(loaded, loaded.stages[0].id, { name: "b" });
  assert.deepEqual(model.renames(renamed), { a: "b" });
  assert.deepEqual(model.renames(model.fromServer(model.toServer(renamed), renamed)), { a: "b" });
});

test("lists and splits are read and written alike", () => {
  for (const text of ['[["-Oa=", "1"], ["b \\"q\\"", "%(x)s"]]', "[]"]) assert.equal(model.pairsText(model.readPairs(text)), text);
  const recoveries = '[["consumed_status", []], ["process_status", [["-m=", "4GB"]]]]';
  assert.equal(model.recoveriesText(model.readRecoveries(recoveries)), recoveries);
  assert.equal(model.readPairs("[[1, 2"), null);
  const parameters = [{ name: "n", keyword: false, default: "" }, { name: "low", keyword: true, default: "1" }];
  const split = model.readSplit("nfiles(10, low=3)");
  assert.equal(model.splitText(split.name, parameters, model.splitValues(parameters, split.args)), "nfiles(10,low=3)");
  assert.equal(model.splitText("", parameters, {}), "");
});

const overlap = ([x1, y1], [x2, y2]) => Math.abs(x1 - x2) < SIZE.width && Math.abs(y1 - y2) < SIZE.height;

function assertApart(places) {
  const all = [...places.values()];
  all.forEach((one, index) => all.slice(index + 1).forEach((other) => assert.ok(!overlap(one, other), `${one} and ${other}`)));
}

test("no two boxes of a layout overlap, with cycles and long ways too", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const pick = random(seed);
    const nodes = Array.from({ length: 1 + pick(40) }, (_, index) => `n${index}`);
    const edges = Array.from({ length: pick(60) }, () => [nodes[pick(nodes.length)], nodes[pick(nodes.length)]]);
    const places = layOut(nodes, edges);
    assert.equal(places.size, nodes.length);
    assertApart(places);
    for (const [from, to] of edges) assert.ok(!/NaN|undefined/.test(route(places.get(from), places.get(to), [...places.values()]).path));
  }
});

test("new stages find free places beside those that keep theirs", () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    const pick = random(seed);
    let now = model.fromServer(EMPTY);
    for (let step = 0; step < 8; step += 1) [now] = model.addFrom(now, now.stages[0]?.id ?? null, `s${step}`);
    now = model.move(now, new Map([[now.stages[0].id, [pick(300), pick(300)]], ["home", [0, -400]]]));
    const places = placesOf(now);
    places.delete("home");
    assertApart(places);
  }
});

test("arrow keys go to the box that lies there", () => {
  const places = new Map([["a", [0, 0]], ["b", [200, 10]], ["c", [0, 100]], ["d", [900, 0]]]);
  assert.equal(nextIn(places, "a", "ArrowRight"), "b");
  assert.equal(nextIn(places, "a", "ArrowDown"), "c");
  assert.equal(nextIn(places, "a", "ArrowLeft"), null);
});
