// Where stages stand, from the top down: a layered layout, free places for new stages, and the ways of dependencies.
// Pure; the same stages in the same order give the same picture. Invariant: no two boxes overlap.
export const SIZE = { width: 150, height: 54, gapX: 26, gapY: 46, pill: 44 };
const SWEEPS = 10;

// nodes: ids in order; edges: [from, to]. Gives a Map of id to [x, y] (upper left corner).
export function layOut(nodes, edges, size = SIZE) {
  const known = new Set(nodes);
  const links = edges.filter(([from, to]) => from !== to && known.has(from) && known.has(to));
  const forward = withoutCycles(nodes, links);
  const layerOf = longestPaths(nodes, forward);
  const layers = fill(nodes, forward, layerOf);
  sortLayers(layers);
  return straighten(layers, size);
}

// The edges that close a cycle are turned round for the picture.
function withoutCycles(nodes, links) {
  const next = new Map(nodes.map((node) => [node, []]));
  for (const [from, to] of links) next.get(from).push(to);
  const state = new Map();
  const back = new Set();
  for (const start of nodes) {
    if (state.has(start)) continue;
    state.set(start, "open");
    const stack = [[start, 0]];
    while (stack.length) {
      const top = stack.at(-1);
      const to = next.get(top[0])[top[1]];
      top[1] += 1;
      if (to === undefined) {
        state.set(top[0], "done");
        stack.pop();
      } else if (state.get(to) === "open") {
        back.add(`${top[0]} ${to}`);
      } else if (!state.has(to)) {
        state.set(to, "open");
        stack.push([to, 0]);
      }
    }
  }
  return links.map(([from, to]) => (back.has(`${from} ${to}`) ? [to, from] : [from, to]));
}

function longestPaths(nodes, links) {
  const layer = new Map(nodes.map((node) => [node, 0]));
  const waiting = new Map(nodes.map((node) => [node, 0]));
  const next = new Map(nodes.map((node) => [node, []]));
  for (const [from, to] of links) {
    next.get(from).push(to);
    waiting.set(to, waiting.get(to) + 1);
  }
  const ready = nodes.filter((node) => !waiting.get(node));
  for (const node of ready) {
    for (const to of next.get(node)) {
      layer.set(to, Math.max(layer.get(to), layer.get(node) + 1));
      waiting.set(to, waiting.get(to) - 1);
      if (!waiting.get(to)) ready.push(to);
    }
  }
  return layer;
}

// Layers of places; an edge over several layers keeps a place free in each that it passes.
function fill(nodes, links, layerOf) {
  const layers = [];
  const add = (layer, id, real) => {
    const place = { id, real, up: [], down: [], x: 0 };
    (layers[layer] ??= []).push(place);
    return place;
  };
  const places = new Map(nodes.map((node) => [node, add(layerOf.get(node), node, true)]));
  const seen = new Set();
  for (const [from, to] of links) {
    if (seen.has(`${from} ${to}`)) continue;
    seen.add(`${from} ${to}`);
    let above = places.get(from);
    for (let layer = layerOf.get(from) + 1; layer <= layerOf.get(to); layer += 1) {
      const below = layer === layerOf.get(to) ? places.get(to) : add(layer, `${from} ${to} ${layer}`, false);
      above.down.push(below);
      below.up.push(above);
      above = below;
    }
  }
  return layers;
}

const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;

function sortLayers(layers) {
  const rank = (layer) => layer.forEach((place, index) => { place.rank = index; });
  layers.forEach(rank);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    const order = down ? layers.slice(1) : layers.slice(0, -1).reverse();
    for (const layer of order) {
      const weight = new Map(layer.map((place) => {
        const beside = down ? place.up : place.down;
        return [place, beside.length ? mean(beside.map((one) => one.rank)) : place.rank];
      }));
      layer.sort((one, two) => weight.get(one) - weight.get(two) || one.rank - two.rank);
      rank(layer);
    }
  }
}

// Every place as near to the middle of its neighbours as the order in its layer lets it be.
function straighten(layers, size) {
  const width = (place) => (place.real ? size.width : size.gapX);
  for (const layer of layers) {
    let x = 0;
    for (const place of layer) {
      place.x = x + width(place) / 2;
      x += width(place) + size.gapX;
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const order = sweep % 2 === 0 ? layers : [...layers].reverse();
    for (const layer of order) {
      const wanted = layer.map((place) => {
        // Long ways are to be straight, and to pull at the boxes at their ends only a little.
        const beside = [...place.up, ...place.down].map((one) => [one.x, place.real && one.real ? 1 : place.real === one.real ? 4 : 0.3]);
        const weight = beside.reduce((sum, one) => sum + one[1], 0);
        return weight ? beside.reduce((sum, [x, part]) => sum + x * part, 0) / weight : place.x;
      });
      spread(layer, wanted, layer.map(width), size.gapX);
    }
  }
  const all = layers.flat();
  const left = Math.min(0, ...all.map((place) => place.x - width(place) / 2));
  const result = new Map();
  layers.forEach((layer, row) => {
    for (const place of layer) {
      if (place.real) {
        result.set(place.id, [Math.round(place.x - left - size.width / 2), row * (size.height + size.gapY)]);
      }
    }
  });
  return result;
}

// Positions nearest to the wanted ones that keep order and distances: neighbours that collide are moved together.
function spread(layer, wanted, widths, gap) {
  const offsets = [0];
  for (let index = 1; index < layer.length; index += 1) {
    offsets.push(offsets[index - 1] + (widths[index - 1] + widths[index]) / 2 + gap);
  }
  const groups = [];
  wanted.forEach((x, index) => {
    let group = { sum: x - offsets[index], count: 1 };
    while (groups.length && groups.at(-1).sum / groups.at(-1).count >= group.sum / group.count) {
      const before = groups.pop();
      group = { sum: group.sum + before.sum, count: group.count + before.count };
    }
    groups.push(group);
  });
  let index = 0;
  for (const group of groups) {
    for (let number = 0; number < group.count; number += 1, index += 1) {
      layer[index].x = group.sum / group.count + offsets[index];
    }
  }
}

// --------------------------------------------------------------------------------------------- places that are kept

const overlaps = ([x, y], [otherX, otherY], size) => Math.abs(x - otherX) < size.width + 8
  && Math.abs(y - otherY) < size.height + 8;

// Every stage's place, and that of the campaign ("home"): the stored ones, and free ones for the others.
export function placesOf(model, size = SIZE) {
  const edges = model.links.map((link) => [link.needs, link.consumer]);
  let places = new Map(model.stages.filter((stage) => stage.place).map((stage) => [stage.id, stage.place]));
  if (!places.size) places = layOut(model.stages.map((stage) => stage.id), edges, size);
  else placeRest(model, places, edges, size);
  places.set("home", model.home ?? homeOf(places, size));
  return places;
}

function placeRest(model, places, edges, size) {
  const cells = new Map();
  const cell = ([x, y]) => [Math.floor(x / (size.width + 8)), Math.floor(y / (size.height + 8))];
  const take = (place) => {
    const key = cell(place).join();
    cells.set(key, [...(cells.get(key) ?? []), place]);
  };
  const isFree = (place) => {
    const [column, row] = cell(place);
    for (let across = -1; across <= 1; across += 1) {
      for (let down = -1; down <= 1; down += 1) {
        if (cells.get(`${column + across},${row + down}`)?.some((other) => overlaps(place, other, size))) return false;
      }
    }
    return true;
  };
  places.forEach(take);
  if (model.home) take(model.home);
  for (const stage of model.stages) {
    if (places.has(stage.id)) continue;
    const parent = edges.find(([from, to]) => to === stage.id && places.has(from))?.[0];
    const lowest = Math.max(...[...places.values()].map(([, y]) => y));
    let [x, y] = parent ? places.get(parent) : [Math.min(...[...places.values()].map(([left]) => left)), lowest];
    y += size.height + size.gapY;
    while (!isFree([x, y])) x += size.width + size.gapX;
    places.set(stage.id, [x, y]);
    take([x, y]);
  }
}

function homeOf(places, size) {
  if (!places.size) return [0, 0];
  const all = [...places.values()];
  const top = Math.min(...all.map(([, y]) => y));
  const first = all.filter(([, y]) => y === top).map(([x]) => x);
  return [Math.round((Math.min(...first) + Math.max(...first)) / 2), top - size.pill - 28];
}

export function bounds(places, size = SIZE) {
  const all = [...places.values()];
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => y);
  return { x: Math.min(...xs), y: Math.min(...ys), width: Math.max(...xs) - Math.min(...xs) + size.width,
    height: Math.max(...ys) - Math.min(...ys) + size.height };
}

// ------------------------------------------------------------------------------------------------- ways of the edges

// SVG path data and the place of the label of a dependency between two boxes; others: boxes that it should not cross.
export function route(from, to, others = [], size = SIZE) {
  if (from === to) return loop(from, size);
  const start = [from[0] + size.width / 2, from[1] + size.height];
  const end = [to[0] + size.width / 2, to[1]];
  if (end[1] - start[1] >= 12) return downward(start, end, others, size);
  const right = to[0] >= from[0] + size.width;
  if (right || to[0] + size.width <= from[0]) {
    const [x1, x2] = right ? [from[0] + size.width, to[0]] : [from[0], to[0] + size.width];
    const [y1, y2] = [from[1] + size.height / 2, to[1] + size.height / 2];
    const middle = (x1 + x2) / 2;
    return { path: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, label: [middle, (y1 + y2) / 2] };
  }
  // Back up, on the right of both.
  const lane = Math.max(from[0], to[0]) + size.width + 28;
  const [x1, y1, x2, y2] = [from[0] + size.width, from[1] + size.height / 2, to[0] + size.width, to[1] + size.height / 2];
  return { path: `M${x1} ${y1}C${lane} ${y1} ${lane} ${y2} ${x2} ${y2}`, label: [lane - 8, (y1 + y2) / 2] };
}

function downward(start, end, others, size) {
  const [x1, y1] = start;
  const [x2, y2] = end;
  const middle = (y1 + y2) / 2;
  const across = (y) => x1 + ((x2 - x1) * (y - y1)) / (y2 - y1);
  const inTheWay = others.filter(([x, y]) => y < y2 - 8 && y + size.height > y1 + 8
    && across(y + size.height / 2) > x - 8 && across(y + size.height / 2) < x + size.width + 8);
  if (!inTheWay.length) {
    return { path: `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`, label: [(x1 + x2) / 2, middle] };
  }
  const left = Math.min(...inTheWay.map(([x]) => x)) - 14;
  const right = Math.max(...inTheWay.map(([x]) => x)) + size.width + 14;
  const lane = Math.abs(left - (x1 + x2) / 2) < Math.abs(right - (x1 + x2) / 2) ? left : right;
  const top = Math.max(y1 + 4, Math.min(...inTheWay.map(([, y]) => y)));
  const bottom = Math.min(y2 - 4, Math.max(...inTheWay.map(([, y]) => y)) + size.height);
  return {
    path: `M${x1} ${y1}C${x1} ${(y1 + top) / 2 + 10} ${lane} ${y1} ${lane} ${top}V${bottom}`
      + `C${lane} ${y2} ${x2} ${(y2 + bottom) / 2 - 10} ${x2} ${y2}`, label: [lane, (top + bottom) / 2] };
}

function loop(box, size) {
  const [x, y] = [box[0] + size.width, box[1] + size.height / 2];
  return { path: `M${x} ${y - 12}C${x + 34} ${y - 22} ${x + 34} ${y + 22} ${x} ${y + 12}`, label: [x + 30, y] };
}

// The box that lies next in a direction, for the arrow keys: nearest, straight ahead before askew.
export function nextIn(places, id, direction) {
  const [x, y] = places.get(id);
  const ahead = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[direction];
  let best = null;
  for (const [other, [otherX, otherY]] of places) {
    const along = (otherX - x) * ahead[0] + (otherY - y) * ahead[1];
    const beside = Math.abs((otherX - x) * ahead[1]) + Math.abs((otherY - y) * ahead[0]);
    if (other === id || along <= 4) continue;
    const cost = along + 2 * beside;
    if (!best || cost < best.cost) best = { other, cost };
  }
  return best?.other ?? null;
}
