// Images made in the browser: a cut-out on a background, a blurred background, the tint of doubt.
import { blurred } from "./blur.js";

const FINE = 6; // pixels; a larger blur is computed at reduced size, as in compositing.py
const BLUR_SIDE = 1000; // largest side in pixels; the smallest blur then takes 0.25 s
const DOUBT_SIDE = 2048; // largest side in pixels; doubt is soft, as the network's input is smaller
const TINT = [255, 20, 60];
const STRONG = 1.6; // factor on doubt, so that 0.5 is clearly visible
const QUALITY = 0.95; // of JPEG, the same as the server's

const reduced = new WeakMap(); // cut-out -> cut-out and photo as small canvases

const PAINT = {
  colour: (context, { colour }) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  },
  image: async (context, { file }) => cover(context, await createImageBitmap(file)),
  blur: async (context, { share }, item) => {
    const { width, height } = context.canvas;
    context.drawImage(await blurOf(item, share), 0, 0, width, height);
  },
};

/**
 * The cut-out on a background as a file of `type`; throws if the image is too large for a canvas.
 *
 * The canvas mixes straight (not premultiplied) colours, so the old background does not return.
 */
export async function composite(item, background, type) {
  const cutout = await createImageBitmap(item.cutout);
  const context = contextOf(cutout.width, cutout.height, { alpha: false });
  await PAINT[background.kind](context, background, item);
  context.drawImage(cutout, 0, 0);
  cutout.close();
  return encoded(context.canvas, type);
}

/** A small canvas of the photo's background, blurred by `share` of its longer side. */
export async function blurOf(item, share) {
  const { photo, cutout } = await smallOnes(item);
  const side = Math.max(photo.width, photo.height);
  const shrink = Math.min(1, FINE / (share * side));
  const [width, height] = [photo.width, photo.height].map((length) =>
    Math.max(1, Math.round(shrink * length)),
  );
  const pixels = blurred(
    pixelsOf(photo, width, height),
    pixelsOf(cutout, width, height),
    share * side * shrink,
  );
  const canvas = canvasOf(width, height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** A canvas with the doubt (the server's picture) in red, transparent where there is none. */
export async function tintOf(doubt) {
  const bitmap = await createImageBitmap(doubt);
  const small = shrunk(bitmap, DOUBT_SIDE);
  const context = small.getContext("2d");
  const pixels = context.getImageData(0, 0, small.width, small.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    pixels.data[i + 3] = STRONG * pixels.data[i];
    pixels.data.set(TINT, i);
  }
  context.putImageData(pixels, 0, 0);
  return small;
}

/** Draw a bitmap so that it covers the canvas, cropped to fit, and close it. */
function cover(context, bitmap) {
  const { width, height } = context.canvas;
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [scale * bitmap.width, scale * bitmap.height];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  bitmap.close();
}

async function smallOnes(item) {
  const known = reduced.get(item.cutout);
  if (known) return known;
  const [photo, cutout] = await Promise.all([item.view, item.cutout].map(small));
  reduced.set(item.cutout, { photo, cutout });
  return { photo, cutout };
}

async function small(blob) {
  return shrunk(await createImageBitmap(blob), BLUR_SIDE);
}

/** A bitmap as a canvas with sides of at most `side` pixels; the bitmap is closed. */
function shrunk(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const context = contextOf(
    Math.max(1, Math.round(scale * bitmap.width)),
    Math.max(1, Math.round(scale * bitmap.height)),
    { willReadFrequently: true },
  );
  context.drawImage(bitmap, 0, 0, context.canvas.width, context.canvas.height);
  bitmap.close();
  return context.canvas;
}

function pixelsOf(source, width, height) {
  const context = contextOf(width, height, { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function contextOf(width, height, settings) {
  const context = canvasOf(width, height).getContext("2d", settings);
  context.imageSmoothingQuality = "high";
  return context;
}

function encoded(canvas, type) {
  return new Promise((give, fail) => {
    const done = (blob) => (blob ? give(blob) : fail(new RangeError("too large for a canvas")));
    canvas.toBlob(done, type, QUALITY);
  });
}
