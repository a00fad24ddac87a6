// A photo's background, blurred without a halo of the subject: as blurred() in compositing.py.

const BOXES = [-1 / 3, 0, 1 / 3]; // offsets of the radii of three box blurs, close to a Gaussian
const COARSE = 1 / 8; // sigma / longer side of a coarse blur, which fills the area of the subject
const TRACE = 1e-4; // least weight of a pixel, so that every pixel gets a colour
const TRUST = 1e-3; // weight of the coarse blur, which counts where the fine one has none

/** The opaque RGBA of `photo` blurred by `sigma`; both arguments are ImageData of one size. */
export function blurred(photo, cutout, sigma) {
  const { width, height } = photo;
  const near = weighted(photo.data, cutout.data, 0);
  const far = weighted(photo.data, cutout.data, TRACE);
  spread(near, width, height, sigma);
  spread(far, width, height, COARSE * Math.max(width, height));
  const mixed = new ImageData(width, height);
  for (let i = 0; i < near.length; i += 4) {
    for (let c = 0; c < 3; c += 1) {
      const fill = (TRUST * far[i + c]) / far[i + 3];
      mixed.data[i + c] = (near[i + c] + fill) / (near[i + 3] + TRUST); // clamped and rounded
    }
    mixed.data[i + 3] = 255;
  }
  return mixed;
}

/** RGB times weight, and the weight: the squared fraction of background in a pixel. */
function weighted(photo, cutout, least) {
  const values = new Float32Array(photo.length);
  for (let i = 0; i < values.length; i += 4) {
    const weight = (1 - cutout[i + 3] / 255) ** 2 + least;
    for (let c = 0; c < 3; c += 1) values[i + c] = weight * photo[i + c];
    values[i + 3] = weight;
  }
  return values;
}

/** Blur interleaved values (height, width, 4) in place. */
function spread(values, width, height, sigma) {
  const middle = (Math.sqrt(4 * sigma ** 2 + 1) - 1) / 2;
  const buffer = new Float32Array(values.length);
  for (const shift of BOXES) {
    const radius = Math.max(0, Math.round(middle + shift));
    if (!radius) continue;
    for (let c = 0; c < 4; c += 1) {
      for (let y = 0; y < height; y += 1) {
        box(values, buffer, 4 * y * width + c, 4, width, radius);
      }
      for (let x = 0; x < width; x += 1) {
        box(buffer, values, 4 * x + c, 4 * width, height, radius);
      }
    }
  }
}

/** The mean of 2 * radius + 1 neighbours along one line, whose end values are repeated. */
function box(from, to, start, step, length, radius) {
  const end = start + (length - 1) * step;
  const size = 2 * radius + 1;
  let sum = (radius + 1) * from[start];
  for (let i = 1; i <= radius; i += 1) sum += from[Math.min(start + i * step, end)];
  for (let at = start; at <= end; at += step) {
    to[at] = sum / size;
    sum += from[Math.min(at + (radius + 1) * step, end)];
    sum -= from[Math.max(at - radius * step, start)];
  }
}
