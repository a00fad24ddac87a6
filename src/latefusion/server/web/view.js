// The photo's position on the stage: scale and offset in CSS pixels, always within bounds.

const LARGEST = 8; // screen pixels per photo pixel
const FIT_AT_MOST = 3; // largest scale at which a tiny photo is fitted

/** The view of the whole photo, centred. */
export function fitted(photo, stage) {
  const scale = Math.min(stage.width / photo.width, stage.height / photo.height, FIT_AT_MOST);
  return bounded({ scale, x: 0, y: 0 }, photo, stage);
}

/** The scale at which one pixel of the photo is `times` pixels of the screen. */
export function scaleOf(times) {
  return times / devicePixelRatio;
}

/** The view at another scale, with the photo's point at `at` kept in place. */
export function zoomed(view, photo, stage, scale, at) {
  const least = Math.min(fitted(photo, stage).scale, scaleOf(1));
  const bound = Math.max(least, Math.min(scale, scaleOf(LARGEST)));
  const ratio = bound / view.scale;
  const x = at.x - ratio * (at.x - view.x);
  const y = at.y - ratio * (at.y - view.y);
  return bounded({ scale: bound, x, y }, photo, stage);
}

/** The view moved by a number of CSS pixels. */
export function moved(view, photo, stage, dx, dy) {
  return bounded({ ...view, x: view.x + dx, y: view.y + dy }, photo, stage);
}

/** The photo's pixel at a point of the stage, or null outside the photo. */
export function pixelAt(view, photo, at) {
  const x = Math.floor((at.x - view.x) / view.scale);
  const y = Math.floor((at.y - view.y) / view.scale);
  return x >= 0 && y >= 0 && x < photo.width && y < photo.height ? { x, y } : null;
}

/** The left and right end of the visible part of the photo. */
export function seen(view, photo, stage) {
  const left = Math.max(0, view.x);
  return { left, right: Math.min(stage.width, view.x + view.scale * photo.width) };
}

function bounded({ scale, x, y }, photo, stage) {
  return {
    scale,
    x: kept(x, scale * photo.width, stage.width),
    y: kept(y, scale * photo.height, stage.height),
  };
}

/** An offset that centres what is smaller than the room, and otherwise leaves no gap. */
function kept(offset, length, room) {
  const wish = length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset));
  return Math.round(wish * devicePixelRatio) / devicePixelRatio; // aligned to screen pixels
}
