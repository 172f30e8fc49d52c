// Where the tabs of a page are wider than the window, the one in force is brought into view.
export function startTabs(root) {
  for (const current of root.querySelectorAll(".tabs [aria-current]")) {
    const tabs = current.closest(".tabs"), there = current.getBoundingClientRect(), frame = tabs.getBoundingClientRect();
    tabs.scrollLeft += there.left + there.width / 2 - (frame.left + frame.width / 2);
  }
}
