// The page's entry point: connects intake, queue, stage, background and downloads.
import { version } from "./api.js";
import { background, listen as listenToBackground, showRadius } from "./background.js";
import { offerCamera } from "./camera.js";
import { blurOf, tintOf } from "./compose.js";
import { listen as listenToFiles } from "./intake.js";
import { adviceOf, isSure, Queue, wordsOf } from "./queue.js";
import { save, saveAll } from "./save.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const SAID = 6000; // milliseconds that a message stays

const stage = new Stage(markZoom);
const queue = new Queue($("queue"), { changed, chosen, say });
let doubting = false;
let shown = null; // the photo on the stage
let news = 0;

function say(text) {
  clearTimeout(news);
  $("status").textContent = text;
  news = setTimeout(() => ($("status").textContent = ""), SAID);
}

/** Run a button's action; the button is disabled meanwhile, and an error is shown. */
async function attempt(button, action) {
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") say(`That did not work: ${error.message}`);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function take(files) {
  const first = !queue.items.length;
  queue.add(files, options());
  if (first) $("stage").focus({ preventScroll: true });
}

/** The query for POST /api/matte, without options that have the server's defaults. */
function options() {
  const subject = document.querySelector("[name=subject]:checked").value;
  return {
    ...(subject === "all" ? {} : { subject }),
    ...($("tiles").checked ? { tiles: true } : {}),
    ...($("fill-holes").checked ? { fill_holes: true } : {}),
  };
}

function chosen(item) {
  const any = Boolean(item);
  $("empty").hidden = any;
  for (const id of ["work", "panel", "more"]) $(id).hidden = !any;
  refresh();
  if (any) showPhoto(item);
  else document.querySelector("#empty [data-add]").focus();
}

function changed(item) {
  if (item.state === "done") say(`${item.name}: ${wordsOf(item)}. ${adviceOf(item)}`.trim());
  if (item.state === "failed") say(`${item.name} failed: ${item.note}`);
  refresh();
  if (item === queue.current) showPhoto(item);
}

async function showPhoto(item) {
  const same = item === shown;
  if (!same) stage.picking?.(null);
  shown = item;
  stage.notice(...noticeOf(item));
  stage.setDoubt(null);
  const visible = await stage.show(item.view, item.cutout, same);
  if (shown !== item || item.state !== "done") return;
  if (!visible && item.view === item.photo) await fetchView(item);
  else await Promise.all([paintBackground(), paintDoubt()]);
}

/** The photo as decoded by the server, for a file that the browser cannot show. */
async function fetchView(item) {
  try {
    item.view = await queue.pictureOf(item, "photo");
    if (shown === item) await showPhoto(item);
  } catch (error) {
    if (error.name !== "AbortError") say(`The photo itself cannot be shown: ${error.message}`);
  }
}

function noticeOf(item) {
  const working = item.note || (item.state === "working" ? "Cutting out …" : "Waiting for its turn");
  return {
    waiting: [working, { busy: true }],
    working: [working, { busy: true }],
    failed: [`${item.name}: ${item.note}`, { again: true }],
    done: [""],
  }[item.state];
}

/** Update the buttons and texts that depend on the photo and the background. */
function refresh() {
  const item = queue.current;
  const done = item?.state === "done";
  const bare = background().kind === "transparent";
  for (const button of document.querySelectorAll("[data-save]")) {
    const needs = ["png", "jpg"].includes(button.dataset.save);
    button.disabled = !done || (needs && bare);
    if (needs) button.lastElementChild.textContent = bare ? "needs a background" : "on background";
  }
  $("save-all").hidden = queue.done.length < 2;
  document.querySelector("[data-all=png]").disabled = bare;
  for (const id of ["show-doubt", "pick"]) $(id).disabled = !done;
  $("again").disabled = !item || ["waiting", "working"].includes(item.state);
  $("verdict").textContent = done ? verdict(item) : "";
  $("verdict").classList.toggle("unsure", done && !isSure(item));
  $("advice").textContent = done ? adviceOf(item) : "";
}

function verdict(item) {
  const time = item.seconds === null ? "" : `, ${item.seconds.toFixed(1)} s`;
  const chance = item.confidence ? ` (${Math.round(100 * item.confidence)} %)` : "";
  return `${wordsOf(item)}${chance}${time}`;
}

/** Show the chosen background behind the cut-out on the stage. */
async function paintBackground() {
  const item = queue.current;
  const wish = background();
  refresh();
  showRadius(Math.max(stage.photo.width, stage.photo.height));
  if (wish.kind !== "blur") stage.setBackground(wish);
  else if (item?.state === "done") await paintBlur(item, wish);
}

async function paintBlur(item, wish) {
  const canvas = await blurOf(item, wish.share);
  const now = background();
  if (item === queue.current && now.share === wish.share) stage.setBackground(wish, canvas);
}

async function paintDoubt() {
  const item = queue.current;
  if (!doubting || item?.state !== "done") {
    stage.setDoubt(null);
    return;
  }
  const tint = await tintOf(await queue.pictureOf(item, "doubt"));
  if (doubting && item === queue.current) stage.setDoubt(tint);
}

function markZoom(times) {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    const { zoom } = button.dataset;
    const now = times === "fit" ? zoom === "fit" : Math.abs(times - Number(zoom)) < 0.01;
    button.setAttribute("aria-pressed", now);
  }
}

async function pickSubject(item) {
  $("pick").setAttribute("aria-pressed", "true");
  say("Click or tap whom to keep; or arrow keys and Enter");
  const pixel = await stage.pick();
  $("pick").setAttribute("aria-pressed", "false");
  if (!pixel || item !== queue.current) return;
  queue.cut(item, { ...options(), subject: `${pixel.x},${pixel.y}` });
}

function listenToButtons() {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    const { zoom } = button.dataset;
    button.addEventListener("click", () => (zoom === "fit" ? stage.fit() : stage.magnify(zoom)));
  }
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () =>
      attempt(button, async () =>
        say(`${await save(queue, queue.current, button.dataset.save, background())} is ready`),
      ),
    );
  }
  for (const button of document.querySelectorAll("[data-all]")) {
    button.addEventListener("click", () =>
      attempt(button, async () =>
        say(`${await saveAll(queue, button.dataset.all, background())} is ready`),
      ),
    );
  }
  $("show-doubt").addEventListener("click", () => {
    doubting = !doubting;
    $("show-doubt").setAttribute("aria-pressed", doubting);
    say(doubting ? "Red: where the two branches of the network contradict each other" : "");
    attempt($("show-doubt"), paintDoubt);
  });
  $("again").addEventListener("click", () => queue.cut(queue.current, options()));
  $("again-failed").addEventListener("click", () => queue.cut(queue.current, options()));
  $("pick").addEventListener("click", () => pickSubject(queue.current));
}

async function sayVersion() {
  const known = await version();
  if (known?.version) $("about").textContent = `latefusion ${known.version}`;
}

listenToFiles($("files"), take);
listenToBackground(paintBackground);
listenToButtons();
offerCamera(take, say);
sayVersion();
