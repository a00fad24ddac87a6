// Several files as one uncompressed ZIP, as images are compressed already (APPNOTE.TXT 6.3, 4.3.6).

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const UTF8 = 0x0800;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** A ZIP of an array of { name, blob } with different names. */
export async function zipped(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const path = new TextEncoder().encode(name);
    const about = await entry(path, blob);
    const head = [fields([LOCAL, 4]), about, path];
    parts.push(...head, blob);
    // Version made by comes first; comment, disk, attributes and offset come last.
    const more = fields([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]);
    directory.push(fields([CENTRAL, 4], [VERSION, 2]), about, more, path);
    offset += lengthOf(head) + blob.size;
  }
  const count = files.length;
  const size = lengthOf(directory);
  const end = fields([END, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** The fields common to both headers: version, flags, method, time, date, CRC, sizes, lengths. */
async function entry(path, blob) {
  const [time, date] = now();
  const sum = checksum(new Uint8Array(await blob.arrayBuffer()));
  return fields(
    [VERSION, 2], [UTF8, 2], [0, 2], [time, 2], [date, 2], [sum, 4],
    [blob.size, 4], [blob.size, 4], [path.length, 2], [0, 2],
  );
}

/** Little-endian numbers, each given with its length in bytes. */
function fields(...pairs) {
  const bytes = pairs.flatMap(([value, length]) =>
    Array.from({ length }, (_, i) => Math.floor(value / 256 ** i) % 256),
  );
  return Uint8Array.from(bytes);
}

function lengthOf(parts) {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

/** Time and date in MS-DOS format. */
function now() {
  const t = new Date();
  const time = (t.getHours() << 11) | (t.getMinutes() << 5) | (t.getSeconds() >> 1);
  return [time, ((t.getFullYear() - 1980) << 9) | ((t.getMonth() + 1) << 5) | t.getDate()];
}
