// What the page asks the server for: in turn, again while it is busy, with a key if it wants one.
import { askKey } from "./key.js";

const AT_ONCE = 2; // requests
const PAUSE = { usual: 2, longest: 60 }; // seconds until the next try, where the server is busy
const KEY = "latefusion-key";

/** The server said no; the message is its line. */
export class Refusal extends Error {}

const line = []; // those whose turn has not come
let running = 0;
let asking = null; // the one question for the key that is open

/**
 * One picture of a photo: { blob, confidence, seconds, device }.
 *
 * `options` are the query of POST /api/matte. `started` is called when the photo's turn has come,
 * `busy` with the seconds until the next try. `urgent` goes before those that wait. Raises Refusal.
 */
export async function matte(photo, options, { signal, started, busy, urgent = false } = {}) {
  await turn(urgent);
  try {
    signal?.throwIfAborted();
    started?.();
    const answer = await persist(`api/matte?${new URLSearchParams(options)}`, photo, signal, busy);
    return {
      blob: await answer.blob(),
      confidence: numberOf(answer, "X-Latefusion-Confidence"),
      seconds: numberOf(answer, "X-Latefusion-Seconds"),
      device: answer.headers.get("X-Latefusion-Device") ?? "",
    };
  } finally {
    next();
  }
}

/** What the server says of itself, or null. */
export async function version() {
  try {
    const answer = await fetch("version");
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function turn(urgent) {
  if (running < AT_ONCE) {
    running += 1;
    return Promise.resolve();
  }
  return new Promise((go) => (urgent ? line.unshift(go) : line.push(go)));
}

function next() {
  if (line.length) line.shift()();
  else running -= 1;
}

async function persist(address, photo, signal, busy) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const answer = await post(address, photo, key, signal);
    if (answer.ok) return answer;
    const seconds = secondsUntilNext(answer);
    if (answer.status === 401) await newKey(key);
    else if (seconds) await pause(seconds, signal, busy);
    else throw new Refusal(await lineOf(answer));
  }
}

async function post(address, photo, key, signal) {
  // Not the file's own type, which its name only suggests: the server looks at the bytes.
  const headers = { "Content-Type": "application/octet-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(address, { method: "POST", body: photo, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("the server does not answer; is latefusion serve still running?");
  }
}

/** Ask for the key once, however many requests were refused for want of it. */
async function newKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return; // someone else's question brought one
  asking ??= askKey(refused !== null).finally(() => (asking = null));
  const key = await asking;
  if (!key) throw new Refusal("the server wants a key; try again to enter it");
  sessionStorage.setItem(KEY, key);
}

/** How long a busy server, or one that starts anew, wants to be left alone; 0: it means no. */
function secondsUntilNext(answer) {
  if (![429, 503].includes(answer.status)) return 0;
  const asked = Number(answer.headers.get("Retry-After"));
  return Math.min(asked || (answer.status === 429 ? PAUSE.usual : 0), PAUSE.longest);
}

function pause(seconds, signal, busy) {
  busy?.(seconds);
  return new Promise((go, stop) => {
    const timer = setTimeout(go, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    });
  });
}

async function lineOf(answer) {
  try {
    return (await answer.json()).error || statusOf(answer);
  } catch {
    return statusOf(answer);
  }
}

function statusOf(answer) {
  return `the server answered ${answer.status} ${answer.statusText}`.trim();
}

function numberOf(answer, header) {
  const text = answer.headers.get(header);
  return text === null ? null : Number(text);
}
