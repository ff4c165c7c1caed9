// Times in the reader's zone, countdowns, copy buttons, and the page's content again whenever there is something new.

const main = () => document.querySelector("main");

function spell(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = parts[at];
  const rest = Math.floor((seconds % size) / (parts[at + 1]?.[0] ?? 1));
  return `${Math.floor(seconds / size)} ${unit}` + (at < 3 && rest ? ` ${rest} ${parts[at + 1][1]}` : "");
}

function localTimes() {
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString();
    time.title = time.dateTime;
  }
}

function clocks() {
  for (const place of document.querySelectorAll("[data-deadline]")) {
    const left = Math.floor((new Date(place.dataset.deadline) - Date.now()) / 1000);
    place.textContent = left >= 0 ? `in ${spell(left)}` : `${spell(-left)} ago`;
  }
  for (const place of document.querySelectorAll("[data-age]")) {
    place.textContent = spell(Math.max(0, Math.floor((Date.now() - new Date(place.dataset.age)) / 1000)));
  }
}

const isTyping = () => document.activeElement?.matches("main input") ?? false;

let missed = false; // a refresh that waits until what is being typed is done

async function refresh() {
  missed = isTyping();
  if (missed) return;
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main");
  if (fresh === null) throw new Error("no page");
  if ((missed = isTyping())) return;
  const places = [...main().querySelectorAll("a, button, .scroll")];
  const focused = places.indexOf(document.activeElement);
  const scrolled = [...document.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  main().replaceChildren(...fresh.childNodes);
  document.body.dataset.state = page.body.dataset.state;
  document.querySelectorAll(".scroll").forEach((box, i) => (box.scrollLeft = scrolled[i] ?? 0));
  if (focused >= 0) main().querySelectorAll("a, button, .scroll")[focused]?.focus({ preventScroll: true });
  announce();
  localTimes();
  clocks();
}

// What a screen reader is told: the phase and the faults, in a place that refreshing does not replace.
function announce() {
  const words = [...main().querySelectorAll(".fault, #phase, #state, #verification")].map((place) => place.textContent.trim());
  const place = document.querySelector("#news");
  if (place && place.textContent !== words.join(". ")) place.textContent = words.join(". ");
}

function lost(isLost) {
  let note = document.querySelector("#lost");
  if (!isLost) return note?.remove();
  if (note) return;
  note = document.createElement("p");
  note.id = "lost";
  note.className = "fault";
  note.setAttribute("role", "status");
  note.textContent = "The dashboard does not answer: what is shown grows old. It is asked again every few seconds.";
  document.querySelector("header")?.after(note);
}

document.addEventListener("click", async (event) => {
  const button = event.target;
  const text = button.dataset?.copy;
  if (!text) return;
  await navigator.clipboard.writeText(text);
  button.textContent = "copied";
  setTimeout(() => (button.textContent = "copy"), 1500);
});

document.addEventListener("focusout", () => setTimeout(() => missed && refresh().catch(() => lost(true)), 0));

// A page that nobody looks at lets go of its stream: browsers allow few connections to one host.
let stream = null;

function follow() {
  stream = new EventSource("/live");
  stream.onmessage = ({ data }) => {
    lost(false);
    if (data !== document.body.dataset.state) refresh().catch(() => lost(true)); // else the page was made of just this
  };
  stream.onerror = () => {
    lost(true);
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream?.close();
  else follow();
});
follow();
localTimes();
clocks();
setInterval(clocks, 1000);
