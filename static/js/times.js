// Times: ages that go on while the page is open, the clock of the top bar, and the local time on hover.

// The same words as webservice/handlers/filters.py writes.
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60), hours = Math.floor(whole / 3600), days = Math.floor(whole / 86400);
  if (whole < 60) return `${whole} s`;
  if (minutes < 60) return `${minutes} min`;
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  if (days < 10 && hours % 24) return `${days} d ${hours % 24} h`;
  return `${days} d`;
}

// The server's time when the page was made, so that a wrong clock here does not make wrong ages.
const skew = (page) => {
  const stamp = Date.parse(page.documentElement.dataset.now ?? "");
  return Number.isNaN(stamp) ? 0 : stamp - Date.now();
};

export function startTimes(page) {
  const ahead = skew(page);
  const tick = () => {
    const now = Date.now() + ahead;
    for (const element of page.querySelectorAll("time[data-age]")) {
      const words = duration((now - Date.parse(element.dateTime)) / 1000);
      if (element.textContent !== words) element.textContent = words;
    }
    const clock = page.querySelector("[data-clock]");
    if (clock) clock.textContent = new Date(now).toISOString().slice(11, 16);
  };
  setInterval(tick, 5000);
  page.addEventListener("pointerover", (event) => {
    const element = event.target.closest?.("time[datetime]");
    if (!element || element.dataset.local) return;
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) return;
    const local = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    element.title = `${element.title ? element.title + "\n" : ""}${local}, ${zone}`;
    element.dataset.local = "yes";
  });
}
