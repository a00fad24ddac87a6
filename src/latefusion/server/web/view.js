// Where the photo lies in the stage: scale and offset in CSS pixels, always within bounds.

const LARGEST = 8; // screen pixels for one of the photo
const FIT_AT_MOST = 3; // a tiny photo is not blown up beyond that

/** The whole photo, in the middle. */
export function fitted(photo, stage) {
  const scale = Math.min(stage.width / photo.width, stage.height / photo.height, FIT_AT_MOST);
  return bounded({ scale, x: 0, y: 0 }, photo, stage);
}

/** The scale at which one pixel of the photo is `times` pixels of the screen. */
export function scaleOf(times) {
  return times / devicePixelRatio;
}

/** Another scale, with the photo's point that lies at `at` staying there. */
export function zoomed(view, photo, stage, scale, at) {
  const least = Math.min(fitted(photo, stage).scale, scaleOf(1));
  const bound = Math.max(least, Math.min(scale, scaleOf(LARGEST)));
  const ratio = bound / view.scale;
  const x = at.x - ratio * (at.x - view.x);
  const y = at.y - ratio * (at.y - view.y);
  return bounded({ scale: bound, x, y }, photo, stage);
}

/** Moved by so many CSS pixels. */
export function moved(view, photo, stage, dx, dy) {
  return bounded({ ...view, x: view.x + dx, y: view.y + dy }, photo, stage);
}

/** The photo's pixel at a point of the stage, or null beside the photo. */
export function pixelAt(view, photo, at) {
  const x = Math.floor((at.x - view.x) / view.scale);
  const y = Math.floor((at.y - view.y) / view.scale);
  return x >= 0 && y >= 0 && x < photo.width && y < photo.height ? { x, y } : null;
}

/** Left and right end of what is seen of the photo. */
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

/** In the middle where it is smaller than the room, otherwise without a gap at either end. */
function kept(offset, length, room) {
  const wish = length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset));
  return Math.round(wish * devicePixelRatio) / devicePixelRatio; // pixel on pixel at 1 to 1
}
