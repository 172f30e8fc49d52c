// Everything that a page may use. Each part looks for its own marks in the page; without scripts the page still works.
import { startClipboard } from "./clipboard.js";
import { startDialogs } from "./dialogs.js";
import { startLive } from "./live.js";
import { startLogs } from "./logs.js";
import { startMenus } from "./menus.js";
import { startSearch } from "./search.js";
import { startSelection } from "./selection.js";
import { startTabs } from "./tabs.js";
import { startTheme } from "./theme.js";
import { startTimes } from "./times.js";
import { startToasts } from "./toasts.js";

for (const start of [startTheme, startMenus, startDialogs, startSearch, startTimes, startClipboard, startSelection,
  startTabs, startLogs, startToasts, startLive]) start(document);
