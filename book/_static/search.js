// A chapter comes before the entry of the glossary that leads to it.
Scorer.score = ([page, , , , score]) => (page === "book/glossary" ? score - 1 : score);

// What is shown of a page is its prose: no code and no list of contents, and of a formula what is read aloud.
const textOf = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll("#jb-print-docs-body, nav, pre, .katex-html").forEach((part) => part.remove());
  return textOf(page.documentElement.outerHTML, anchor);
};
