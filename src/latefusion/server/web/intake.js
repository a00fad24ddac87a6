// Input of photos: chosen, dropped (folders too) or pasted.

/** Call `take` with the files of every choice, drop and paste. */
export function listen(input, take) {
  input.addEventListener("change", () => {
    give([...input.files], take);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const button of document.querySelectorAll("[data-add]")) {
    button.addEventListener("click", () => input.click());
  }
  document.getElementById("empty").addEventListener("click", (event) => {
    if (!event.target.closest("button")) input.click(); // the whole area is clickable
  });
  document.addEventListener("paste", (event) => give([...event.clipboardData.files], take));
  listenToDrops(take);
}

function give(files, take) {
  if (files.length) take(files);
}

function listenToDrops(take) {
  const shown = document.body.classList;
  let depth = 0; // dragenter and dragleave fire for every element that is crossed
  const set = (value) => {
    depth = value;
    shown.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => set(depth + holdsFiles(event)));
  document.addEventListener("dragleave", (event) => set(Math.max(0, depth - holdsFiles(event))));
  document.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault(); // otherwise the browser opens the photo
  });
  document.addEventListener("drop", async (event) => {
    set(0);
    if (!holdsFiles(event)) return;
    event.preventDefault();
    give(await filesOf(event.dataTransfer), take);
  });
}

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files") ? 1 : 0;
}

async function filesOf(transfer) {
  // The entries are invalid after the first await, so read them now.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  return (await Promise.all(entries.filter(Boolean).map(filesBelow))).flat();
}

async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((give, fail) => entry.file(give, fail));
    return file.name.startsWith(".") ? [] : [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((give, fail) => reader.readEntries(give, fail));
    if (!some.length) return found; // the reader returns at most 100 entries per call
    found.push(...(await Promise.all(some.map(filesBelow))).flat());
  }
}
