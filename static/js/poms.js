// Everything that a page may use. Each part looks for its own marks in the page; without scripts the page still works.
// What not every page has is fetched by those that have it.
import { startDialogs } from "./dialogs.js";
import { startMenus } from "./menus.js";
import { startSearch } from "./search.js";
import { startTheme } from "./theme.js";
import { startTimes } from "./times.js";
import { startToasts } from "./toasts.js";

for (const start of [startTheme, startMenus, startDialogs, startSearch, startTimes, startToasts]) start(document);

const some = [
  ["[data-copy]", async () => (await import("./clipboard.js")).startClipboard],
  ["[data-selection], [data-choose-all]", async () => (await import("./selection.js")).startSelection],
  [".tabs [aria-current]", async () => (await import("./tabs.js")).startTabs],
  ["[data-log][data-url]", async () => (await import("./logs.js")).startLogs],
  ["[data-live]", async () => (await import("./live.js")).startLive],
];
for (const [mark, part] of some) if (document.querySelector(mark)) part().then((start) => start(document));
