// Requests to the server: queued, retried while it is busy, with the API key if it needs one.
import { askKey } from "./key.js";

const AT_ONCE = 2; // requests in flight
const PAUSE = { usual: 2, longest: 60 }; // seconds between retries while the server is busy
const KEY = "latefusion-key";

/** An error answer of the server, with the server's message. */
export class Refusal extends Error {}

const line = []; // requests that wait for their turn
let running = 0;
let asking = null; // the open dialog for the key, shared by all requests

/**
 * Request one picture of a photo: { blob, notes, warnings, confidence, seconds, device }.
 *
 * `options` are the query of POST /api/matte. `started` is called when the request is sent,
 * `busy` with the seconds until a retry. `urgent` requests skip the queue. Throws Refusal.
 */
export async function matte(photo, options, { signal, started, busy, urgent = false } = {}) {
  await turn(urgent);
  try {
    signal?.throwIfAborted();
    started?.();
    const answer = await persist(`api/matte?${new URLSearchParams(options)}`, photo, signal, busy);
    return {
      blob: await answer.blob(),
      notes: (answer.headers.get("X-Latefusion-Notes") ?? "").split(", ").filter(Boolean),
      warnings: answer.headers.get("X-Latefusion-Warnings") ?? "",
      confidence: numberOf(answer, "X-Latefusion-Confidence"),
      seconds: numberOf(answer, "X-Latefusion-Seconds"),
      device: answer.headers.get("X-Latefusion-Device") ?? "",
    };
  } finally {
    next();
  }
}

/** The server's description of itself, or null. */
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
  // Without the file's own type, which is a guess from its name: the server looks at the bytes.
  const headers = { "Content-Type": "application/octet-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(address, { method: "POST", body: photo, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("the server does not answer; is latefusion serve still running?");
  }
}

/** Ask for the key once, even if several requests were refused. */
async function newKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return; // another request has asked meanwhile
  asking ??= askKey(refused !== null).finally(() => (asking = null));
  const key = await asking;
  if (!key) throw new Refusal("the server wants a key; try again to enter it");
  sessionStorage.setItem(KEY, key);
}

/** Seconds to wait for a busy or restarting server; 0 for an answer that a retry cannot change. */
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
