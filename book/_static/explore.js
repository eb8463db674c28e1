/* Figures that move: a slider for each parameter, over pictures that were drawn with the page.
   Without this script, and on paper, the first picture stands. */

function explore(box) {
  const { sliders, frames, play } = JSON.parse(box.dataset.explore);
  const image = box.querySelector("img");
  const first = image.getAttribute("src");
  const at = sliders.map((slider) => slider.start);
  const controls = document.createElement("span");
  controls.className = "controls";

  // All pictures are fetched when a reader first reaches for a slider, and none before.
  let fetched = false;
  const fetchAll = () => {
    if (fetched) return;
    fetched = true;
    for (const frame of frames) new Image().src = frame;
  };
  const show = () => {
    image.src = frames[at.reduce((sum, index, k) => sum * sliders[k].values.length + index, 0)];
  };
  const move = [];

  sliders.forEach((slider, k) => {
    const row = document.createElement("label");
    const name = document.createElement("span");
    const input = document.createElement("input");
    const value = document.createElement("output");
    name.textContent = slider.name.replaceAll("_", " ");
    value.style.minWidth = `${Math.max(...slider.values.map((text) => text.length))}ch`;
    Object.assign(input, { type: "range", min: 0, max: slider.values.length - 1, value: slider.start });
    move[k] = (index) => {
      at[k] = index;
      input.value = index;
      value.textContent = slider.values[index];
      input.setAttribute("aria-valuetext", slider.values[index]);
    };
    move[k](slider.start);
    input.addEventListener("input", () => { fetchAll(); move[k](Number(input.value)); show(); });
    row.append(name, input, value);
    controls.append(row);
  });

  if (play !== null) {
    const button = document.createElement("button");
    let timer = null;
    const rest = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const count = sliders[play].values.length;
    button.type = "button";
    rest();
    button.addEventListener("click", () => {
      fetchAll();
      if (timer) return rest();
      if (at[play] === count - 1) move[play](0);
      show();
      button.textContent = "Stop";
      timer = setInterval(() => {
        if (at[play] === count - 1) return rest();
        move[play](at[play] + 1);
        show();
      }, 250);
    });
    controls.prepend(button);
  }
  controls.addEventListener("pointerenter", fetchAll);
  controls.addEventListener("focusin", fetchAll);
  addEventListener("beforeprint", () => { image.src = first; });
  addEventListener("afterprint", () => { if (fetched) show(); });
  box.append(controls);
}

document.querySelectorAll("[data-explore]").forEach(explore);
