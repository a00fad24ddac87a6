// The photos of this visit, each with its state, and the row of thumbnails that shows them.
import { matte } from "./api.js";

// The server's notes on a cut-out: two words for the list, and a sentence on what to try.
const NOTES = {
  "no-subject": [
    "Nobody found",
    "Nobody was found in this photo. If someone is there, crop it closer to them, or turn it upright.",
  ],
  unsure: ["Look at it", "Something may be missing, or too much was kept."],
  parts: [
    "",
    "Several separate parts were kept. Under Options you can keep the largest, or point at someone.",
  ],
};
const STATES = { waiting: "Waiting", working: "Cutting out …", done: "", failed: "Failed" };
const REQUESTS = {
  alpha: { save: "alpha" },
  doubt: { save: "doubt" },
  // A photo that this browser cannot show, such as HEIC: a blur this small changes nothing visible.
  photo: { background: "blur:0.1", format: "jpg" },
};

/** True if a finished photo needs no second look. */
export function isSure(item) {
  return wordsOf(item) === "Sure";
}

/** The verdict on a finished photo in two words. */
export function wordsOf(item) {
  return item.notes.map((note) => NOTES[note]?.[0]).find(Boolean) ?? "Sure";
}

/** What to look at, and what to try; "" if nothing. */
export function adviceOf(item) {
  const advice = item.notes.map((note) => NOTES[note]?.[1]).filter(Boolean);
  const missed = item.warnings && !item.notes.includes("no-subject"); // which says the same
  return [...advice, ...(missed ? [`Note: ${item.warnings}.`] : [])].join(" ");
}

export class Queue {
  /**
   * `list` is the element of the rows. `changed(item)` is called with each new state,
   * `chosen(item)` with the photo to show or null, and `say` with messages for the user.
   */
  constructor(list, { changed, chosen, say }) {
    this.list = list;
    this.items = [];
    this.current = null;
    this.changed = changed;
    this.chosen = chosen;
    this.say = say;
    this.drawn = Promise.resolve(); // thumbnails are made one at a time
  }

  get done() {
    return this.items.filter((item) => item.state === "done");
  }

  /** Cut out files with the given options, and show the first of them. */
  add(files, options) {
    const added = files.map((file) => this.#itemOf(file));
    this.items.push(...added);
    for (const item of added) {
      this.#draw(item, item.photo);
      this.cut(item, options);
    }
    this.choose(added[0]);
  }

  choose(item) {
    this.current = item;
    for (const { row } of this.items) {
      row.querySelector(".open").setAttribute("aria-current", row === item?.row);
    }
    item?.row.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.chosen(item);
  }

  remove(item) {
    const at = this.items.indexOf(item);
    item.abort.abort();
    item.row.remove();
    this.items.splice(at, 1);
    const heir = this.items[Math.min(at, this.items.length - 1)] ?? null;
    heir?.row.querySelector(".open").focus();
    this.choose(item === this.current ? heir : this.current);
  }

  /** Request the cut-out, also if there is one already. */
  async cut(item, options) {
    item.abort.abort();
    const { signal } = (item.abort = new AbortController());
    Object.assign(item, { options, cutout: null, pictures: {} });
    this.#set(item, "waiting");
    try {
      const answer = await matte(item.photo, options, {
        signal,
        started: () => this.#set(item, "working"),
        busy: (seconds) => this.#set(item, "waiting", busyLine(seconds)),
      });
      const { blob, ...about } = answer;
      Object.assign(item, about, { cutout: blob });
      this.#draw(item, blob);
      this.#set(item, "done");
    } catch (error) {
      if (signal.aborted) return;
      this.#set(item, "failed", error.message);
    }
  }

  /** A further picture of a finished photo, a key of REQUESTS, requested once. */
  async pictureOf(item, kind) {
    item.pictures[kind] ??= matte(
      item.photo,
      { ...item.options, ...REQUESTS[kind] },
      {
        signal: item.abort.signal,
        urgent: true,
        busy: (seconds) => this.say(busyLine(seconds)),
      },
    );
    try {
      return (await item.pictures[kind]).blob;
    } catch (error) {
      delete item.pictures[kind];
      throw error;
    }
  }

  #itemOf(file) {
    const row = document.getElementById("row").content.cloneNode(true).firstElementChild;
    const item = {
      photo: file,
      view: file, // the photo, or the server's version of it, for showing and blurring
      name: file.name || "photo.png",
      row,
      state: "waiting",
      note: "", // the server's message, or the reason for waiting
      notes: [], // of the server, keys of NOTES
      warnings: "", // of the server, on options that could not be followed
      confidence: null,
      abort: new AbortController(),
    };
    row.querySelector(".name").textContent = item.name;
    row.querySelector(".open").addEventListener("click", () => this.choose(item));
    row.querySelector(".remove").setAttribute("aria-label", `Remove ${item.name}`);
    row.querySelector(".remove").addEventListener("click", () => this.remove(item));
    this.list.append(row);
    return item;
  }

  #set(item, state, note = "") {
    Object.assign(item, { state, note });
    item.row.dataset.state = state === "done" && !isSure(item) ? "unsure" : state;
    item.row.querySelector(".state").textContent = STATES[state] || wordsOf(item);
    item.row.querySelector(".open").title = note;
    this.changed(item);
  }

  #draw(item, blob) {
    this.drawn = this.drawn.then(() => thumbnail(item.row.querySelector(".thumb"), blob));
  }
}

function busyLine(seconds) {
  return `The server is busy; next try in ${seconds} s`;
}

async function thumbnail(canvas, blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return; // the browser cannot show this format, but will show the cut-out
  }
  const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [w, h] = [scale * bitmap.width, scale * bitmap.height];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  bitmap.close();
}
