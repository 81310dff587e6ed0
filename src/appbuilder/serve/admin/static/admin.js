// Times in the reader's own zone, and a list of runs that keeps itself up. Without this, times stand in UTC and
// the page says so.
"use strict";

const pad = (number) => String(number).padStart(2, "0");

function localise(part) {
  for (const element of part.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    const day = [at.getFullYear(), pad(at.getMonth() + 1), pad(at.getDate())].join("-");
    const seconds = element.textContent.split(":").length > 2 ? [pad(at.getSeconds())] : [];
    element.title = element.dateTime;
    element.textContent = `${day} ${[pad(at.getHours()), pad(at.getMinutes()), ...seconds].join(":")}`;
  }
}

localise(document);
for (const element of document.querySelectorAll("[data-zone]")) {
  element.textContent = `${element.dataset.zone} (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
}

let leaving = false;
addEventListener("submit", () => { leaving = true; });

async function refresh() {
  // Nothing moves away under a finger that is about to press.
  if (leaving || document.hidden || document.querySelector("main button:is(:hover, :focus)")) return;
  const answer = await fetch(location.href);
  if (!answer.ok || leaving) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  localise(fresh);
  document.querySelector("main").replaceWith(fresh);
}

const seconds = Number(document.body.dataset.refresh);
if (seconds) setInterval(() => refresh().catch(() => {}), 1000 * seconds);
