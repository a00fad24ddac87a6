// Photos from the camera, which is on only while its dialog is open.

const dialog = document.getElementById("camera");
const viewfinder = document.getElementById("viewfinder");
const shoot = document.getElementById("shoot"); // disabled while there is no picture to take
const FACING = { video: { width: { ideal: 1920 }, height: { ideal: 1080 }, facingMode: "user" } };

/** Show the camera's buttons if there is one; `take` gets each photo, `say` each error message. */
export async function offerCamera(take, say) {
  const devices = await navigator.mediaDevices?.enumerateDevices?.();
  if (!devices?.some((device) => device.kind === "videoinput")) return;
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.hidden = false;
    button.addEventListener("click", () => open(say));
  }
  shoot.addEventListener("click", async () => take([await shot()]));
  document.getElementById("leave-camera").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop); // also after Escape
}

async function open(say) {
  dialog.showModal();
  try {
    const stream = await navigator.mediaDevices.getUserMedia(FACING);
    viewfinder.srcObject = stream;
    await viewfinder.play();
    shoot.disabled = false;
    if (!dialog.open) stop(); // closed while the browser asked for permission
  } catch (error) {
    dialog.close();
    say(`The camera cannot be used: ${error.message}`);
  }
}

function stop() {
  for (const track of viewfinder.srcObject?.getTracks() ?? []) track.stop();
  viewfinder.srcObject = null;
  shoot.disabled = true;
}

async function shot() {
  const canvas = document.createElement("canvas");
  canvas.width = viewfinder.videoWidth;
  canvas.height = viewfinder.videoHeight;
  canvas.getContext("2d").drawImage(viewfinder, 0, 0);
  dialog.close();
  const blob = await new Promise((give) => canvas.toBlob(give, "image/png"));
  const name = `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
  return new File([blob], name, { type: blob.type });
}
