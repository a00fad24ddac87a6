// Mouse, touch and wheel on an element, as drags, pinches, taps and zooms.

const STILL = 4; // pixels that a tap may move
const WHEEL = 0.002; // zoom per pixel of wheel movement

/**
 * Call the methods of `on`: drag(at, dx, dy), pinch(ratio, at, dx, dy), tap(at), twice(at),
 * wheel(ratio, at). Points are CSS pixels from the element's top left.
 */
export function watch(element, on) {
  const pointers = new Map();
  let wandered = 0;
  const at = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || event.target.closest("button")) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (pointers.size === 1) wandered = 0;
  });
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    const now = at(event);
    pointers.set(event.pointerId, now);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    wandered += Math.hypot(dx, dy);
    if (others.length) pinch(on, others[0], before, now);
    else if (wandered > STILL) on.drag(now, dx, dy);
  });
  const lift = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size) return;
    if (event.type === "pointerup" && wandered <= STILL) on.tap(at(event));
  };
  element.addEventListener("pointerup", lift);
  element.addEventListener("pointercancel", lift);
  element.addEventListener("dblclick", (event) => {
    if (!event.target.closest("button, [role=slider]")) on.twice(at(event));
  });
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 32 : 1;
      on.wheel(Math.exp(-WHEEL * lines * event.deltaY * (event.ctrlKey ? 4 : 1)), at(event));
    },
    { passive: false },
  );
}

function pinch(on, still, before, now) {
  const ratio = distance(still, now) / Math.max(1, distance(still, before));
  const [from, to] = [middle(still, before), middle(still, now)];
  on.pinch(ratio, to, to.x - from.x, to.y - from.y);
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function middle(a, b) {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}
