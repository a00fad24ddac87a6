// The panel for choosing the background.

const panel = document.getElementById("backgrounds");
const colour = document.getElementById("colour");
const file = document.getElementById("image-file");
const blur = document.getElementById("blur");
const row = document.getElementById("blur-row");
const size = document.getElementById("blur-size");

const SHARE = 1 / 1000; // step of the blur, as a fraction of the photo's longer side

let image = null; // the last picture chosen

const KINDS = {
  transparent: () => ({ kind: "transparent" }),
  own: () => ({ kind: "colour", colour: colour.value }),
  image: () => (image ? { kind: "image", file: image } : { kind: "transparent" }),
  blur: () => ({ kind: "blur", share: SHARE * blur.value }),
};

/**
 * The chosen background: { kind: "transparent" }, { kind: "colour", colour },
 * { kind: "image", file } or { kind: "blur", share } of the photo's longer side.
 */
export function background() {
  const { value } = panel.querySelector("[name=background]:checked");
  return KINDS[value]?.() ?? { kind: "colour", colour: value };
}

/** Call `changed` whenever the background changes. */
export function listen(changed) {
  for (const input of panel.querySelectorAll("[name=background][value^='#']")) {
    input.nextElementSibling.style.background = input.value;
  }
  const choose = (value) => {
    panel.querySelector(`[value=${value}]`).checked = true;
    update();
  };
  const update = () => {
    row.hidden = background().kind !== "blur";
    changed();
  };
  panel.addEventListener("change", (event) => {
    if (event.target.name !== "background") return;
    if (event.target.value === "image" && !image) file.click();
    update();
  });
  colour.addEventListener("input", () => choose("own"));
  colour.addEventListener("click", () => choose("own"));
  blur.addEventListener("input", update);
  document.getElementById("choose-image").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    image = file.files[0] ?? image;
    file.value = "";
    if (image) choose("image");
  });
}

/** Show the radius of the blur in pixels of a photo with this longer side. */
export function showRadius(side) {
  size.textContent = `${Math.max(1, Math.round(SHARE * blur.value * side))} px`;
}
