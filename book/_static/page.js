/* What a page cannot know before it is shown. */

// Paper is white, and nothing on it opens.
let theme, opened;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = theme;
  for (const part of opened) part.open = false;
});

// What scrolls is reached by the keyboard, and nothing else is a stop on the way. It fades where it goes on;
// tables have a shadow there.
function stops() {
  const boxes = ".katex-display, .pst-scrollable-table-container, div.cell_output, div.highlight pre";
  for (const box of document.querySelectorAll(boxes)) {
    const beyond = () => box.scrollWidth > box.clientWidth + box.scrollLeft + 1;
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    if (box.matches(".pst-scrollable-table-container")) continue;
    box.classList.toggle("more", beyond());
    box.onscroll = () => box.classList.toggle("more", beyond());
  }
}
addEventListener("load", stops);
addEventListener("resize", stops);
document.addEventListener("toggle", stops, true); // what was closed had no width
document.addEventListener("click", (event) => event.target.closest(".toggle, .toggle-button") && stops());

// The button has a name, and its three pictures would have others.
addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll(".theme-switch")) icon.removeAttribute("title");
});
