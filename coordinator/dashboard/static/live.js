// Times in the reader's zone, copy buttons, and the page's content again whenever the index has something new.
function localTimes() {
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString();
  }
}

async function refresh() {
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
  localTimes();
}

document.addEventListener("click", (event) => {
  const text = event.target.dataset?.copy;
  if (text) navigator.clipboard.writeText(text);
});

let seen = false;
new EventSource("/live").onmessage = () => {
  if (seen) refresh().catch(() => {}); // the server is gone: the stream connects again by itself
  seen = true;
};
localTimes();
