"use strict";

const POLL_MS = 500; // between two looks at the state
const TIMEOUT_MS = 2000; // for one answer
const STILL_MS = 2500; // without a heartbeat before the picture counts as standing still

const images = [...document.querySelectorAll("img[data-stream]")];
let born = null; // the node's own mark: another one means that it has been started anew
let beat = { value: null, since: 0 };
let channel = Number(new URLSearchParams(location.search).get("channel")) || 1;

function play(image) {
  image.src = `/stream/${image.dataset.stream}?channel=${channel}&${Date.now()}`;
}

function stop(image) {
  image.removeAttribute("src");
}

function note(image, text) {
  const screen = image.parentElement;
  screen.classList.toggle("noted", text !== "");
  screen.querySelector(".note").textContent = text;
}

function mood(name, text) {
  document.body.dataset.mood = name;
  document.getElementById("state").textContent = text;
}

function standsStill(heartbeat) {
  const now = performance.now();
  if (heartbeat !== beat.value) beat = { value: heartbeat, since: now };
  return now - beat.since > STILL_MS;
}

// "Step 8.2 ms" and "30.0 FPS" are a word and a figure; what has no figure is plain text.
function cell(part) {
  const span = document.createElement("span");
  const [, before, figure, after] = part.match(/^([A-Z][a-z]+ )?([\d.–]+(?: ms)?)( FPS)?$/) ?? [];
  if (figure !== undefined) {
    const label = document.createElement("em");
    label.textContent = (before ?? after ?? "").trim();
    span.append(label);
    span.className = "number";
  }
  span.append(figure ?? part);
  span.title = part;
  return span;
}

function choose(number) {
  channel = number;
  born = null;
  beat = { value: null, since: 0 };
  history.replaceState(null, "", `?channel=${number}`);
  images.forEach((image) => (image.hidden = true));
}

function offer(names) {
  const nav = document.querySelector("nav");
  nav.hidden = names.length === 0;
  if (nav.children.length !== names.length) {
    nav.replaceChildren(
      ...names.map((name, index) => {
        const button = document.createElement("button");
        button.textContent = name;
        button.addEventListener("click", () => choose(index + 1));
        return button;
      }),
    );
  }
  [...nav.children].forEach((button, index) => button.setAttribute("aria-pressed", index + 1 === channel));
}

function show(status) {
  offer(status.channels ?? []);
  document.title = status.name;
  document.getElementById("name").textContent = status.name;
  document.getElementById("line").replaceChildren(...status.line.split(" · ").map(cell));
  const [input, output] = images;
  const still = standsStill(status.heartbeat);
  note(output, still ? "The picture stands still." : "");
  const waiting = { waiting: `Waiting for ${status.source}`, silent: `${status.source} sends nothing` }[status.state];
  note(input, still ? "" : (waiting ?? ""));
  if (still) mood("lost", "standing still");
  else if (status.loading) mood("wait", `loading ${status.loading}`);
  else mood(status.state === "connected" ? "good" : "wait", status.state);
  if (status.born !== born) {
    born = status.born;
    images.forEach(play);
  }
}

function lost() {
  born = null;
  images.forEach((image) => note(image, "The node is gone. Reconnecting…"));
  mood("lost", "gone, reconnecting");
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`/status.json?channel=${channel}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) throw new Error(answer.statusText);
      show(await answer.json());
    } catch {
      lost();
    }
  }
  setTimeout(look, POLL_MS);
}

for (const image of images) {
  image.addEventListener("load", () => (image.hidden = false));
  image.addEventListener("error", () => setTimeout(() => born !== null && !document.hidden && play(image), POLL_MS));
}

// A page that nobody sees holds no stream: the node then encodes nothing.
document.addEventListener("visibilitychange", () => {
  born = null;
  if (document.hidden) images.forEach(stop);
});

look();
