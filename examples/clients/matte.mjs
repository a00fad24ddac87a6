// node matte.mjs http://127.0.0.1:7000 me.jpg me.png
// Cut out a photo from JavaScript; in a browser the photo is the File of an <input>.
// If the server needs an API key, set LATEFUSION_API_KEY in the environment.
import { readFile, writeFile } from "node:fs/promises";

const TRIES = 5;

async function matte(server, photo, options = {}) {
  const form = new FormData();
  form.append("image", new Blob([photo]), "photo");
  for (const [name, value] of Object.entries(options)) form.append(name, value);
  const key = process.env.LATEFUSION_API_KEY;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  for (let left = TRIES - 1; ; left--) {
    const answer = await fetch(`${server}/api/matte`, { method: "POST", headers, body: form });
    if (answer.ok) {
      const confidence = Number(answer.headers.get("X-Latefusion-Confidence"));
      return { confidence, result: Buffer.from(await answer.arrayBuffer()) };
    }
    // An error is {"error": "one line"}, but for those of a proxy.
    if (answer.status !== 429 || left === 0) throw new Error(await answer.text());
    const wait = Number(answer.headers.get("Retry-After")); // the server's queue is full
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
  }
}

const [server, source, target] = process.argv.slice(2);
try {
  const { result, confidence } = await matte(server, await readFile(source), { crop: "true" });
  await writeFile(target, result);
  console.log(`${target}, confidence ${confidence.toFixed(2)}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
