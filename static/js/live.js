// The page keeps itself up to date. Regions marked data-live="<name>" are compared with those of the same page fetched
// again, and only what differs is changed, in place: nothing jumps, the focus stays, an open menu stays open.
// <html data-live-seconds="N" data-events="address"> says how often at least, and where to ask whether anything changed.
const SLOWEST_FACTOR = 8;
const ASK_MS = 1000;
const SLOWEST_ASK_MS = 30000;
const RETRY_MS = 300;

// ------------------------------------------------------------------ changing a tree into another, in place

const isOpenState = (name) => name === "open" || name === "data-local";

function sameKind(one, two) {
  if (one.nodeType !== two.nodeType || one.nodeName !== two.nodeName) return false;
  return one.nodeType !== Node.ELEMENT_NODE || (one.id === two.id && one.dataset?.key === two.dataset?.key);
}

function setAttributes(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isOpenState(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (!isOpenState(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
}

export function become(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (from.isEqualNode(to)) return;
  setAttributes(from, to);
  const keyed = new Map([...from.childNodes].filter((node) => node.dataset?.key).map((node) => [node.dataset.key, node]));
  let here = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const known = wanted.dataset?.key && keyed.get(wanted.dataset.key);
    if (known && known !== here && known.nodeName === wanted.nodeName) {
      from.insertBefore(known, here);
      become(known, wanted);
    } else if (here && sameKind(here, wanted)) {
      become(here, wanted);
      here = here.nextSibling;
    } else {
      from.insertBefore(document.importNode(wanted, true), here);
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

// ------------------------------------------------------------------------------------------- when to wait

function isBusy(page) {
  if (page.hidden || page.querySelector("dialog[open], :popover-open, details.menu[open]")) return true;
  const selection = getSelection();
  if (selection && !selection.isCollapsed) return true;
  const field = page.activeElement?.closest?.("[data-live] input, [data-live] textarea, [data-live] select");
  return Boolean(field) || Boolean(page.querySelector("[data-live] input[name]:checked"));
}

// --------------------------------------------------------------------------------------------- refreshing

class Live {
  constructor(page, seconds) {
    this.page = page;
    this.pause_ms = seconds * 1000;
    this.factor = 1;
    this.etag = null;
    this.asking = false;
    this.timer = null;
    this.soon = null;
    this.gap_ms = ASK_MS;
    this.not_before = 0;
    this.later();
    page.addEventListener("visibilitychange", () => { if (!page.hidden) this.refresh(); });
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), this.pause_ms * this.factor);
  }

  // Something changed here: refreshed at once, but where changes come one upon the other, less and less often.
  tell() {
    clearTimeout(this.soon);
    // A window that comes to the front is refreshed anyway.
    if (this.page.hidden) return;
    const now = performance.now();
    if (this.asking || now < this.not_before || isBusy(this.page)) {
      this.soon = setTimeout(() => this.tell(), Math.max(RETRY_MS, this.not_before - now));
      return;
    }
    const calm = now - this.not_before > this.gap_ms;
    this.gap_ms = calm ? ASK_MS : Math.min(this.gap_ms * 2, this.pause_ms);
    this.not_before = now + this.gap_ms;
    this.refresh();
  }

  async refresh() {
    if (this.asking) return;
    if (isBusy(this.page)) {
      this.later();
      return;
    }
    this.asking = true;
    clearTimeout(this.soon);
    try {
      await this.fetch();
      this.factor = 1;
      this.say("");
    } catch {
      this.factor = Math.min(this.factor * 2, SLOWEST_FACTOR);
      this.say("Not up to date: the server does not answer.");
    } finally {
      this.asking = false;
      this.later();
    }
  }

  async fetch() {
    const headers = { Accept: "text/html" };
    if (this.etag) headers["If-None-Match"] = this.etag;
    const answer = await fetch(location.href.split("#")[0], { headers, cache: "no-store", signal: AbortSignal.timeout(30000) });
    if (answer.status === 304) return;
    if (!answer.ok || answer.redirected) throw new Error(`answered ${answer.status}`);
    this.etag = answer.headers.get("ETag");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const { events } = fresh.documentElement.dataset;
    if (events) this.page.documentElement.dataset.events = events;
    // The reader may have begun something while the answer was on its way.
    if (isBusy(this.page)) {
      this.etag = null;
      this.tell();
      return;
    }
    for (const region of this.page.querySelectorAll("[data-live]")) {
      const wanted = fresh.querySelector(`[data-live="${CSS.escape(region.dataset.live)}"]`);
      if (wanted) become(region, wanted);
    }
  }

  say(words) {
    const place = this.page.querySelector("[data-live-status]");
    if (place && place.textContent !== words) place.textContent = words;
  }
}

// ------------------------------------------------------------------------- has anything changed here?

// Asked every second while somebody looks; the server answers from memory, so that this costs next to nothing.
class Changes {
  constructor(page, live) {
    this.page = page;
    this.live = live;
    this.pause_ms = ASK_MS;
    this.since = null;
    this.asking = false;
    this.later();
    page.addEventListener("visibilitychange", () => { if (!page.hidden) this.ask(); });
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), this.pause_ms);
  }

  async ask() {
    if (this.asking || this.page.hidden) return;
    this.asking = true;
    try {
      const address = new URL(this.page.documentElement.dataset.events, location.href);
      if (this.since) address.searchParams.set("since", this.since);
      const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (answer.status === 403) {
        // The address was good for a day: the page, fetched again, brings a new one.
        this.live.etag = null;
        this.live.tell();
      }
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      this.pause_ms = ASK_MS;
      if (answer.status === 200) {
        this.since = await answer.text();
        this.live.tell();
      }
    } catch {
      // Whether the server answers is told by the page's own refreshing.
      this.pause_ms = Math.min(this.pause_ms * 2, SLOWEST_ASK_MS);
    } finally {
      this.asking = false;
      this.later();
    }
  }
}

export function startLive(page) {
  const { liveSeconds, events } = page.documentElement.dataset;
  if (!Number(liveSeconds) || !page.querySelector("[data-live]")) return;
  const live = new Live(page, Number(liveSeconds));
  if (events) new Changes(page, live);
}
