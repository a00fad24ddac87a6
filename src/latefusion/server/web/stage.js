// The stage: a photo under its cut-out with a divider between them, zoomed and moved together.
import { watch } from "./gestures.js";
import { fitted, moved, pixelAt, scaleOf, seen, zoomed } from "./view.js";

const $ = (id) => document.getElementById(id);
const STEP = { ArrowLeft: -2, ArrowRight: 2, ArrowDown: -2, ArrowUp: 2, PageDown: -10, PageUp: 10 };
const WAY = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STRIDE = 60; // pixels that an arrow key moves a zoomed photo
const CRISP = 3; // screen pixels per photo pixel, from which on pixels are shown as squares

export class Stage {
  /** `zoomedTo` gets the scale after each change: "fit", or screen pixels per photo pixel. */
  constructor(zoomedTo) {
    this.root = $("stage");
    this.divider = $("divider");
    this.zoomedTo = zoomedTo;
    this.photo = { width: 1, height: 1 }; // pixels
    this.shares = 50; // per cent of the view that shows the photo, not the cut-out
    this.view = { scale: 1, x: 0, y: 0 };
    this.fits = true;
    this.picking = null;
    this.shows = { photo: null, cutout: null }; // blobs
    watch(this.root, {
      drag: (at, dx, dy) => (this.fits ? this.divideAt(at) : this.move(dx, dy)),
      pinch: (ratio, at, dx, dy) => {
        this.zoom(ratio * this.view.scale, at);
        this.move(dx, dy);
      },
      wheel: (ratio, at) => this.zoom(ratio * this.view.scale, at),
      twice: (at) => (this.fits ? this.zoom(scaleOf(1), at) : this.fit()),
      tap: (at) => this.picking?.(pixelAt(this.view, this.photo, at)),
    });
    this.#listenToDivider();
    this.root.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#apply(this.fits ? null : moved(...this.#now(), 0, 0))).observe(
      this.root,
    );
  }

  get #size() {
    return { width: this.root.clientWidth, height: this.root.clientHeight };
  }

  get #centre() {
    return { x: this.root.clientWidth / 2, y: this.root.clientHeight / 2 };
  }

  #now() {
    return [this.view, this.photo, this.#size];
  }

  /**
   * Show a photo and its cut-out, blobs or null; returns true if the browser can show the photo.
   * `same` means that it is the photo already shown, so the view stays.
   */
  async show(photo, cutout, same) {
    const wish = (this.wish = Symbol("the last one counts"));
    const images = await Promise.all([this.#image("photo", photo), this.#image("cutout", cutout)]);
    if (wish !== this.wish) return true;
    const shown = images.find((image) => image.naturalWidth);
    swap("photo", images[0]);
    swap("cutout", images[1]);
    this.shows = { photo, cutout };
    this.root.classList.toggle("done", Boolean(images[1].naturalWidth));
    if (shown) this.photo = { width: shown.naturalWidth, height: shown.naturalHeight };
    this.root.classList.toggle("blank", !shown);
    this.#apply(same && !this.fits ? this.view : null);
    return Boolean(images[0].naturalWidth);
  }

  /** An element that shows a blob; the present one if it shows that blob already. */
  #image(id, blob) {
    return this.shows[id] === blob ? $(id) : decoded(blob);
  }

  /** Put a background behind the cut-out; `blur` is the canvas of a blurred one. */
  setBackground(background, blur = null) {
    const backdrop = $("backdrop");
    backdrop.classList.toggle("checks", background.kind === "transparent");
    backdrop.style.backgroundColor = background.colour ?? "";
    this.#setImage(background.kind === "image" ? background.file : null);
    put("backdrop-blur", blur);
  }

  #setImage(file) {
    const image = $("backdrop-image");
    image.hidden = !file;
    if (file === (this.imageFile ?? null)) return;
    URL.revokeObjectURL(image.src);
    this.imageFile = file;
    if (file) image.src = URL.createObjectURL(file);
    else image.removeAttribute("src");
  }

  /** Lay a canvas over photo and cut-out, or remove it with null. */
  setDoubt(canvas) {
    $("doubt-window").hidden = !canvas;
    put("doubt", canvas);
  }

  /** Show a message in place of the cut-out; "" removes it. */
  notice(text, { busy = false, again = false } = {}) {
    $("notice").hidden = !text;
    $("notice").classList.toggle("busy", busy);
    $("notice-text").textContent = text;
    $("again-failed").hidden = !again;
  }

  /** The next pixel { x, y } picked by mouse, finger or keys; null if picking is cancelled. */
  pick() {
    this.root.classList.add("picking");
    $("aim").hidden = false;
    this.#aimAt(this.#centre);
    this.root.focus();
    return new Promise((give) => {
      this.picking = (pixel) => {
        this.picking = null;
        this.root.classList.remove("picking");
        $("aim").hidden = true;
        give(pixel);
      };
    });
  }

  #aimAt(at) {
    const { width, height } = this.#size;
    this.aim = { x: Math.min(width, Math.max(0, at.x)), y: Math.min(height, Math.max(0, at.y)) };
    this.root.style.setProperty("--aim-x", `${this.aim.x}px`);
    this.root.style.setProperty("--aim-y", `${this.aim.y}px`);
  }

  fit() {
    this.#apply(null);
  }

  /** Zoom to `times` screen pixels per photo pixel, about the middle. */
  magnify(times) {
    this.zoom(scaleOf(times), this.#centre);
  }

  zoom(scale, at) {
    this.#apply(zoomed(...this.#now(), scale, at));
  }

  move(dx, dy) {
    this.#apply(moved(...this.#now(), dx, dy));
  }

  /** Set the view; null shows the whole photo. */
  #apply(view) {
    this.fits = !view;
    this.view = view ?? fitted(this.photo, this.#size);
    const style = this.root.style;
    style.setProperty("--width", `${this.photo.width}px`);
    style.setProperty("--height", `${this.photo.height}px`);
    style.setProperty("--scale", this.view.scale);
    style.setProperty("--x", `${this.view.x}px`);
    style.setProperty("--y", `${this.view.y}px`);
    const times = this.view.scale * devicePixelRatio;
    this.root.classList.toggle("zoomed", !this.fits);
    this.root.classList.toggle("crisp", times >= CRISP);
    this.divide(this.shares);
    this.zoomedTo(this.fits ? "fit" : times);
  }

  /** Show this percentage of the photo from the left, and the cut-out in the rest. */
  divide(shares) {
    this.shares = Math.min(100, Math.max(0, shares));
    const { left, right } = seen(...this.#now());
    const at = left + ((right - left) * this.shares) / 100;
    this.root.style.setProperty("--divide", `${at}px`);
    const whole = Math.round(this.shares);
    this.divider.setAttribute("aria-valuenow", whole);
    this.divider.setAttribute("aria-valuetext", `${whole} % photo, ${100 - whole} % cut-out`);
  }

  divideAt(at) {
    const { left, right } = seen(...this.#now());
    this.divide((100 * (at.x - left)) / Math.max(1, right - left));
  }

  #listenToDivider() {
    const drag = (event) => this.divideAt({ x: event.clientX - this.root.getBoundingClientRect().x });
    this.divider.addEventListener("pointerdown", (event) => {
      if (this.picking) return;
      event.stopPropagation();
      this.divider.setPointerCapture(event.pointerId);
      this.divider.onpointermove = drag;
    });
    this.divider.addEventListener("lostpointercapture", () => (this.divider.onpointermove = null));
    this.divider.addEventListener("keydown", (event) => {
      const ends = { Home: 0, End: 100 };
      const step = STEP[event.key] * (event.shiftKey ? 5 : 1);
      if (!(event.key in ends) && !step) return;
      event.preventDefault();
      event.stopPropagation();
      this.divide(ends[event.key] ?? this.shares + step);
    });
  }

  #key(event) {
    if (event.target.closest("button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.picking ? this.#aimingKey(event) : this.#viewKey(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  }

  #viewKey(key) {
    const keys = {
      "+": () => this.zoom(1.25 * this.view.scale, this.#centre),
      "=": () => this.zoom(1.25 * this.view.scale, this.#centre),
      "-": () => this.zoom(this.view.scale / 1.25, this.#centre),
      0: () => this.fit(),
      1: () => this.magnify(1),
      2: () => this.magnify(2),
    };
    if (key in WAY && !this.fits) return () => this.move(...WAY[key].map((way) => way * STRIDE));
    return keys[key];
  }

  #aimingKey({ key, shiftKey }) {
    if (key === "Escape") return () => this.picking(null);
    if (key === "Enter") return () => this.picking(pixelAt(this.view, this.photo, this.aim));
    if (!(key in WAY)) return null;
    const [x, y] = WAY[key].map((way) => -way * (shiftKey ? 4 : 1) * 12);
    return () => this.#aimAt({ x: this.aim.x + x, y: this.aim.y + y });
  }
}

/** An image element, empty if the browser cannot show the blob. */
async function decoded(blob) {
  const image = new Image();
  image.alt = "";
  image.draggable = false;
  if (!blob) return image;
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
    return image;
  } catch {
    URL.revokeObjectURL(image.src);
    return decoded(null);
  }
}

function swap(id, image) {
  const old = $(id);
  if (image === old) return;
  image.id = id;
  old.replaceWith(image);
  if (old.src) URL.revokeObjectURL(old.src);
}

/** Replace the canvas with this `id`, or hide it if the new one is null. */
function put(id, canvas) {
  const old = $(id);
  if (!canvas) {
    old.hidden = true;
    return;
  }
  canvas.id = id;
  old.replaceWith(canvas);
}
