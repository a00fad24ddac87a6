// Downloads: the contents and names of the files for the user.
import { matte, Refusal } from "./api.js";
import { composite } from "./compose.js";
import { zipped } from "./zip.js";

const TYPES = { png: "image/png", jpg: "image/jpeg" };
const KEPT = 60_000; // milliseconds within which the browser must start a download

/** Save a photo as `kind` (cutout, alpha, or png or jpg on the background); returns the name. */
export async function save(queue, item, kind, background) {
  const name = nameOf(item, kind);
  give(await fileOf(queue, item, kind, background), name);
  return name;
}

/** Save all finished photos as one ZIP; returns its name. */
export async function saveAll(queue, kind, background) {
  const files = [];
  const taken = new Set();
  for (const item of queue.done) {
    files.push({
      name: free(nameOf(item, kind), taken),
      blob: await fileOf(queue, item, kind, background),
    });
  }
  give(await zipped(files), "cutouts.zip");
  return "cutouts.zip";
}

/** The content of a download: the server's own bytes if it made the picture. */
function fileOf(queue, item, kind, background) {
  if (kind === "cutout") return item.cutout;
  if (kind === "alpha") return queue.pictureOf(item, "alpha");
  return onBackground(item, background, kind);
}

async function onBackground(item, background, format) {
  try {
    return await composite(item, background, TYPES[format]);
  } catch {
    // Too large for a canvas. The server has no such limit, but does not have the background.
    const behind = await wordsFor(background, item);
    const answer = await matte(
      item.photo,
      { ...item.options, background: behind, format },
      { urgent: true, signal: item.abort.signal },
    );
    return answer.blob;
  }
}

async function wordsFor({ kind, colour, share }, item) {
  if (kind === "colour") return colour;
  if (kind !== "blur") throw new Refusal("this photo is too large to be put on a picture here");
  const bitmap = await createImageBitmap(item.cutout);
  return `blur:${share * Math.max(bitmap.width, bitmap.height)}`;
}

function nameOf(item, kind) {
  const stem = item.name.replace(/\.[^.]*$/, "") || item.name;
  const endings = { cutout: "-cutout.png", alpha: "-alpha.png" };
  return stem + (endings[kind] ?? `-composite.${kind}`);
}

/** The name, with a number added if it is taken. */
function free(name, taken) {
  const dot = name.lastIndexOf(".");
  let found = name;
  for (let i = 2; taken.has(found); i += 1) found = `${name.slice(0, dot)}-${i}${name.slice(dot)}`;
  taken.add(found);
  return found;
}

function give(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT);
}
