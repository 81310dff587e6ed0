// Times in the reader's own zone. Without this they stand in UTC, and the page says so.
"use strict";
const pad = (number) => String(number).padStart(2, "0");
for (const element of document.querySelectorAll("time[datetime]")) {
  const at = new Date(element.dateTime);
  const day = [at.getFullYear(), pad(at.getMonth() + 1), pad(at.getDate())].join("-");
  const seconds = element.textContent.split(":").length > 2 ? [pad(at.getSeconds())] : [];
  element.title = element.dateTime;
  element.textContent = `${day} ${[pad(at.getHours()), pad(at.getMinutes()), ...seconds].join(":")}`;
}
for (const element of document.querySelectorAll("[data-zone]")) {
  element.textContent = `${element.dataset.zone} (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
}
