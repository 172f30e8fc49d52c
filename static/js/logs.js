// A log that grows: <pre data-log data-url="..." data-offset="N" data-done="no">. Its address, asked with offset=N, answers
// {"text": what came since, "offset": where it ends now, "done": nothing more will come}. The view follows the end
// as long as the reader is there.
const SLOWEST_MS = 15000;
const FASTEST_MS = 2000;
const AT_END_PX = 24;

class Log {
  constructor(element) {
    this.element = element;
    this.status = document.getElementById(element.dataset.status);
    this.pause_ms = FASTEST_MS;
    this.toEnd();
    this.later();
  }

  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    return scrollTop + clientHeight >= scrollHeight - AT_END_PX;
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  say(words) {
    if (this.status && this.status.textContent !== words) this.status.textContent = words;
  }

  later() {
    if (this.element.dataset.done !== "yes") setTimeout(() => this.more(), this.pause_ms);
  }

  async more() {
    if (!document.hidden) {
      try {
        await this.fetch();
      } catch (problem) {
        this.pause_ms = SLOWEST_MS;
        this.say(`Not following: ${problem.message}. Asking again in ${SLOWEST_MS / 1000} s.`);
      }
    }
    this.later();
  }

  async fetch() {
    const address = new URL(this.element.dataset.url, location.href);
    address.searchParams.set("offset", this.element.dataset.offset);
    const answer = await fetch(address, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const news = await answer.json();
    const following = this.atEnd;
    if (news.text) this.element.append(news.text);
    this.element.dataset.offset = news.offset;
    this.element.dataset.done = news.done ? "yes" : "no";
    this.pause_ms = news.text ? FASTEST_MS : Math.min(this.pause_ms * 1.5, SLOWEST_MS);
    if (following) this.toEnd();
    this.say(news.done ? "Complete" : "Following");
  }
}

export function startLogs(page) {
  for (const element of page.querySelectorAll("[data-log][data-url]")) new Log(element);
}
