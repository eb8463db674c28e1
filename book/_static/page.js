/* What a page cannot know before it is shown. */

// Paper is white.
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = theme;
});

// What scrolls is reached by the keyboard, and nothing else is a stop on the way.
function stops() {
  const boxes = ".katex-display, .pst-scrollable-table-container, div.cell_output, div.highlight pre";
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", stops);
addEventListener("resize", stops);

// The button has a name, and its three pictures would have others.
addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll(".theme-switch")) icon.removeAttribute("title");
});
