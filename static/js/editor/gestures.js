// Pointer and keys on the picture, turned into what the editor can do. Knows no model but through the view.
import { SIZE, nextIn } from "./layout.js";

const STILL = 4;
const STEP = 10;

const idOf = (element) => {
  const found = element?.closest?.("[data-node], [data-link]");
  return found ? found.dataset.node ?? found.dataset.link : null;
};

export function listen(view, editor) {
  const { picture } = view;
  let gesture = null;

  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || gesture) return;
    const id = idOf(event.target);
    const start = view.point(event);
    const port = event.target.closest?.("[data-port]");
    if (editor.connecting && id && view.nodes.has(id)) {
      editor.finishConnecting(id);
      event.preventDefault();
      return;
    }
    if (port && editor.mayEdit) gesture = { kind: "connect", from: id, start };
    else if (id) gesture = { kind: "drag", id, start, add: event.shiftKey || event.ctrlKey || event.metaKey };
    else if (event.shiftKey) gesture = { kind: "frame", start };
    else gesture = { kind: "pan", start, last: [event.clientX, event.clientY], touch: event.pointerType === "touch" };
    gesture.x = event.clientX;
    gesture.y = event.clientY;
    gesture.moved = false;
    editor.pointing = true;
  });
  for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { editor.pointing = false; }, true);

  picture.addEventListener("pointermove", (event) => {
    if (!gesture) return;
    if (!gesture.moved && Math.hypot(event.clientX - gesture.x, event.clientY - gesture.y) < STILL) return;
    if (!gesture.moved) begin(event.pointerId);
    gesture.moved = true;
    const point = view.point(event);
    if (gesture.kind === "drag" && gesture.places) drag(point);
    else if (gesture.kind === "connect") draw(event, point);
    else if (gesture.kind === "frame") {
      const [x, y, width, height] = box(gesture.start, point);
      view.sketch("rect", { class: "draw__frame", x, y, width, height });
    } else if (gesture.kind === "pan" && !gesture.touch) {
      view.pan((gesture.last[0] - event.clientX) * view.scale, (gesture.last[1] - event.clientY) * view.scale);
      gesture.last = [event.clientX, event.clientY];
    }
  });

  function begin(pointer) {
    // Not before it moves: clicks would go to the picture instead of what is under the pointer.
    if (!gesture.touch) picture.setPointerCapture(pointer);
    if (gesture.kind !== "drag" || !view.nodes.has(gesture.id) || !editor.mayEdit) return;
    if (!editor.selected.has(gesture.id)) editor.select([gesture.id]);
    const ids = [...editor.selected].filter((id) => view.nodes.has(id));
    gesture.places = new Map(ids.map((id) => [id, view.places.get(id)]));
  }

  function drag(point) {
    const [dx, dy] = [point[0] - gesture.start[0], point[1] - gesture.start[1]];
    gesture.now = new Map([...gesture.places].map(([id, [x, y]]) => [id, [Math.round(x + dx), Math.round(y + dy)]]));
    if (gesture.queued) return;
    gesture.queued = requestAnimationFrame(() => {
      if (!gesture?.now) return;
      gesture.queued = 0;
      view.drag(gesture.now);
    });
  }

  function draw(event, point) {
    const [x, y] = view.places.get(gesture.from);
    view.sketch("path", { class: "edge draw__line", d: `M${x + SIZE.width / 2} ${y + SIZE.height}L${point[0]} ${point[1]}` });
    editor.setTarget(idOf(document.elementFromPoint(event.clientX, event.clientY)));
  }

  const box = ([x1, y1], [x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.abs(x1 - x2), Math.abs(y1 - y2)];

  picture.addEventListener("pointerup", (event) => {
    const done = gesture;
    gesture = null;
    if (!done) return;
    if (done.queued) cancelAnimationFrame(done.queued);
    view.sketch(null);
    if (!done.moved) {
      click(done, event);
      return;
    }
    const point = view.point(event);
    if (done.now) editor.moved(done.now);
    else if (done.kind === "connect") {
      editor.setTarget(null);
      const to = idOf(document.elementFromPoint(event.clientX, event.clientY));
      if (to && view.nodes.has(to)) editor.connect(done.from, to);
    } else if (done.kind === "frame") {
      const [x, y, width, height] = box(done.start, point);
      editor.select([...view.places].filter(([, place]) => place[0] + SIZE.width > x && place[0] < x + width
        && place[1] + SIZE.height > y && place[1] < y + height).map(([id]) => id));
    }
  });

  picture.addEventListener("pointercancel", () => {
    if (gesture?.places) view.drag(gesture.places);
    gesture = null;
    view.sketch(null);
  });

  function click(done) {
    const id = done.id ?? done.from;
    if (!id) {
      editor.stopConnecting();
      editor.select([]);
    } else if (done.add) editor.toggle(id);
    else {
      editor.select([id]);
      view.focus(id);
    }
  }

  picture.addEventListener("dblclick", (event) => {
    const id = idOf(event.target);
    if (id) editor.open(id);
    else if (editor.mayEdit) editor.addStage(view.point(event));
  });

  picture.addEventListener("contextmenu", (event) => {
    if (!editor.mayEdit) return;
    event.preventDefault();
    const id = idOf(event.target);
    if (id && view.nodes.has(id)) editor.addChild(id);
    else if (!id) editor.addStage(view.point(event));
  });

  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    view.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, view.point(event));
  }, { passive: false });

  picture.addEventListener("focusin", (event) => {
    const id = idOf(event.target);
    if (id) editor.arrived(id);
  });

  // ------------------------------------------------------------------------------------------------------------ keys

  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];

  function goBy(id, key, event) {
    if (view.links.has(id)) {
      editor.goToLink(id, key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1);
    } else if (event.altKey && editor.mayEdit) {
      const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[key];
      const ids = editor.selected.has(id) ? [...editor.selected].filter((one) => view.nodes.has(one)) : [id];
      editor.moved(new Map(ids.map((one) => [one, [view.places.get(one)[0] + dx, view.places.get(one)[1] + dy]])));
    } else {
      const next = nextIn(view.places, id, key);
      if (next) editor.go(next, { add: event.shiftKey });
    }
  }

  picture.addEventListener("keydown", (event) => {
    const id = idOf(event.target);
    if (!id || event.ctrlKey || event.metaKey) return;
    const { key } = event;
    let taken = true;
    if (arrows.includes(key)) goBy(id, key, event);
    else if (event.altKey) taken = false;
    else if (key === "Enter" && editor.connecting) editor.finishConnecting(id);
    else if (key === "Enter" || key === "F2") editor.open(id);
    else if (key === " ") editor.toggle(id);
    else if (key === "Escape") editor.escape(id);
    else if (key === "Home") editor.go("home");
    else if (key === "l") editor.goToLinksOf(id);
    else if ((key === "c" || key === "ContextMenu" || (key === "F10" && event.shiftKey)) && view.nodes.has(id)) editor.addChild(id);
    else if (key === "k") editor.startConnecting(id);
    else if (key === "d" || key === "Delete" || key === "Backspace") editor.delete(id);
    else if (key === "y") editor.clone(id);
    else taken = editor.key(key);
    if (taken) {
      event.preventDefault();
      event.stopPropagation();
    }
  });
}
