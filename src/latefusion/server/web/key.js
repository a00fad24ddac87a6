// The question for the server's key, where it has one.

const dialog = document.getElementById("key");
const field = document.getElementById("key-value");
const text = document.getElementById("key-line");

/** The key that was typed, or "" where nobody wanted to. `refused`: the one before was wrong. */
export function askKey(refused) {
  if (refused) text.textContent = "The server did not take that key.";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((tell) => {
    const closed = () => tell(dialog.returnValue === "ok" ? field.value : "");
    dialog.addEventListener("close", closed, { once: true });
  });
}
