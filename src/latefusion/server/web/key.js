// The dialog that asks for the server's API key.

const dialog = document.getElementById("key");
const field = document.getElementById("key-value");
const text = document.getElementById("key-line");

/** The key that was entered, or "" on cancel. `refused` means that the previous key was wrong. */
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
