// What Chainlit's compiled page lacks. It is loaded before that, from this host, and speaks to nothing else;
// what it says comes from the server, in the meta element "appbuilder".
"use strict";
(() => {
  const facts = JSON.parse(document.querySelector('meta[name="appbuilder"]').content);
  const texts = facts.texts;
  const ATTENTION = 2000; // milliseconds within which a navigation counts as the reader's own

  // History. Chainlit pushes an entry where it leads the reader on by itself (a new conversation got its
  // address, one that is gone leads to "/"), so that Back returns to what leads on again.

  let chosen = -Infinity;

  function noteChoice(event) {
    if (event.type === "keydown" && event.key !== "Enter") return;
    const own = event.target instanceof Element && !event.target.closest("#message-composer, #starters, [role=alertdialog]");
    chosen = own ? performance.now() : -Infinity;
  }
  addEventListener("click", noteChoice, true);
  addEventListener("keydown", noteChoice, true);

  const pushState = history.pushState;
  history.pushState = function (state, unused, url) {
    const from = location.pathname;
    const to = new URL(url ?? location.href, location.href).pathname;
    if (from === "/login" && to !== "/login") {
      location.replace(to); // loaded anew: this page was made for a reader who was not known
      return undefined;
    }
    const led = performance.now() - chosen > ATTENTION && (from === "/" || to === "/");
    const change = led || from === to ? history.replaceState : pushState;
    return change.call(history, state, unused, url);
  };
  addEventListener("popstate", event => {
    if (location.pathname === "/") {
      // Chainlit would go on to the conversation it still holds.
      event.stopImmediatePropagation();
      location.reload();
    }
  }, true);

  // Chainlit opens a socket after each answer to this request and closes the socket opened before. The page of
  // a conversation sends two, the second names the conversation: their answers are delivered in this order.
  const send = window.fetch;
  let delivered = Promise.resolve();
  window.fetch = function (address, ...options) {
    const sent = send.call(this, address, ...options);
    if (!String(address).endsWith("/set-session-cookie")) return sent;
    const answer = Promise.all([sent, delivered]).then(([response]) => response);
    delivered = answer.then(response => response.clone().text()).catch(() => {});
    return answer;
  };

  // Another tab, or another browser of this reader, has deleted the conversation.
  addEventListener("message", event => {
    if (event.source === window && event.data?.appbuilder === "deleted") location.replace("/");
  });

  // The composer

  const composer = () => document.getElementById("chat-input");
  const mebibytes = bytes => (Math.ceil(bytes / 1024 / 1024 * 10) / 10).toLocaleString();

  function isTooLong() {
    const field = composer();
    if (field === null || field.value.length * 6 + 2 <= facts.limit) return false;
    const size = new TextEncoder().encode(JSON.stringify(field.value)).length;
    if (size <= facts.limit) return false;
    notify(texts.too_long.replace("{size}", mebibytes(size)).replace("{limit}", mebibytes(facts.limit)));
    return true;
  }

  function keep(event) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
  addEventListener("keydown", event => {
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (sends && event.target === composer() && isTooLong()) keep(event);
  }, true);
  addEventListener("click", event => {
    if (event.target instanceof Element && event.target.closest("#chat-submit") && isTooLong()) keep(event);
  }, true);

  function refusal(files) {
    if (files === 0) return "";
    if (!facts.uploads) return texts.no_files;
    return files > facts.files ? texts.too_many_files.replace("{limit}", facts.files) : "";
  }
  addEventListener("paste", event => {
    const items = Array.from(event.clipboardData?.items ?? []);
    const words = refusal(items.filter(item => item.kind === "file").length);
    if (!words) return;
    event.stopImmediatePropagation();
    // Text that comes with a picture, from an office program for instance, is pasted.
    if (items.some(item => item.type === "text/plain")) return;
    event.preventDefault();
    notify(words);
  }, true);
  for (const type of ["paste", "beforeinput", "input"]) {
    addEventListener(type, event => {
      if (event.target !== composer()) return;
      const given = (event.clipboardData ?? event.dataTransfer)?.getData("text/plain") || event.data || "";
      direct(event.target, given.length > event.target.value.length ? given : event.target.value);
    }, true);
  }
  for (const type of ["dragover", "drop"]) {
    addEventListener(type, event => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      const words = refusal(type === "drop" ? event.dataTransfer.files.length : facts.uploads ? 0 : 1);
      if (!words) return;
      keep(event);
      if (type === "drop") notify(words);
    }, true);
  }

  // What is said beside the conversation

  function place(id, role) {
    let element = document.getElementById(id);
    if (element === null) {
      element = document.createElement("div");
      element.id = id;
      element.setAttribute("role", role);
      document.body.append(element);
    }
    return element;
  }

  let fading = 0;
  function notify(words) {
    const notice = place("page-notice", "alert");
    notice.textContent = words;
    clearTimeout(fading);
    fading = setTimeout(() => { notice.textContent = ""; }, 15000);
  }

  const LONGEST_SPOKEN = 2000;
  let answering = false;
  function speak() {
    const running = document.getElementById("stop-button") !== null;
    if (running === answering) return;
    answering = running;
    const said = Array.from(document.querySelectorAll('[data-step-type="assistant_message"] .message-content')).at(-1);
    const words = running ? texts.answering : `${facts.name}: ${said?.innerText ?? ""}`;
    place("page-status", "status").textContent = words.slice(0, LONGEST_SPOKEN);
  }

  // Names, directions, welcome, menu: whenever something was drawn

  const NAMES = [
    ["#chat-input", texts.input],
    ["#chat-submit", texts.send],
    ["#stop-button", texts.stop],
    ["#new-chat-button", texts.new_chat],
    ["#sidebar-trigger-button", texts.sidebar],
    ["#search-chats-button", texts.search],
    ["#theme-toggle", texts.theme],
    ["#user-nav-button", texts.account],
    ["#upload-button", texts.attach],
    [".positive-feedback-on, .positive-feedback-off", texts.good],
    [".negative-feedback-on, .negative-feedback-off", texts.bad],
    ["button:has(> svg.lucide-message-circle)", texts.comment],
    ["button:has(> svg.lucide-copy), button:has(> svg.lucide-check)", texts.copy],
    ["button:has(> svg.lucide-arrow-down)", texts.newest],
    ["#message-composer button:has(> svg.lucide-x)", texts.remove_file],
    ["[role=dialog] textarea", texts.comment],
    ["[role=dialog][data-mobile=true]", texts.conversations],
  ];
  // Not what stands in one of these: an element's direction is looked for in children without their own.
  const WORDS = "[role=article], ul, ol, h1, h2, h3, h4, h5, h6, table, pre, code";
  const DIRECTED = [
    ".message-content",
    `.message-content :is(${WORDS})`,
    "#chat-input",
    "#thread-history .truncate",
    "#starters p",
    "[role=dialog] :is(input, textarea, [role=option])",
  ].map(each => `${each}:not([dir])`).join(", ");

  const LONGEST_DIRECTED = 20000;
  function direct(element, words) {
    // The browser takes half a minute to find the directions of 2 MB without line ends.
    const first = words.length > LONGEST_DIRECTED ? /\p{L}/u.exec(words)?.[0] ?? "" : "";
    const direction = words.length > LONGEST_DIRECTED ? (/[\u0590-\u08ff]/.test(first) ? "rtl" : "ltr") : "auto";
    if (element.dir !== direction) element.dir = direction;
  }

  function name(element, words) {
    if (element.getAttribute("aria-label") !== words) element.setAttribute("aria-label", words);
  }

  function draw() {
    for (const [selector, words] of NAMES) {
      for (const element of document.querySelectorAll(selector)) name(element, words);
    }
    for (const element of document.querySelectorAll(DIRECTED)) {
      // A pre that wraps is a question; others are code.
      if (element.matches("code, pre:not(.whitespace-pre-wrap)")) element.dir = "ltr";
      else direct(element, element.value ?? element.textContent);
    }
    for (const element of document.querySelectorAll("#thread-options")) {
      // Several of one id, and none that a keyboard reaches.
      element.setAttribute("role", "button");
      element.tabIndex = 0;
      name(element, `${texts.options}: ${element.closest("[id^=thread-]:not(#thread-options)")?.innerText ?? ""}`);
    }
    for (const logo of document.querySelectorAll("img.logo:not([alt=''])")) logo.alt = "";
    welcome();
    menu();
    const thread = /^\/thread\/([^/]+)$/.exec(location.pathname);
    const entry = thread && document.getElementById(`thread-${decodeURIComponent(thread[1])}`);
    const title = entry?.querySelector(".truncate")?.textContent;
    document.title = title ? `${title} – ${facts.name}` : facts.name;
    speak();
  }

  function element(tag, words, properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    made.textContent = words;
    return made;
  }

  function welcome() {
    const screen = document.getElementById("welcome-screen");
    const before = screen?.querySelector("#message-composer");
    if (!before || document.getElementById("welcome-words")) return;
    const words = element("div", "", { id: "welcome-words" });
    words.append(element("h1", facts.name, { dir: "auto" }), element("p", facts.sentence, { dir: "auto" }));
    screen.insertBefore(words, before);
  }

  function menu() {
    const leave = document.querySelector("[role=menu] [role=menuitem]:has(svg.lucide-log-out)");
    if (leave === null || leave.parentElement.querySelector("a")) return;
    const links = facts.links.map(([href, words]) =>
      element("a", words, { href, className: leave.className, role: "menuitem", tabIndex: -1 }));
    leave.before(...links);
    const focused = document.activeElement === leave;
    leave.hidden = !facts.signedIn;
    if (focused && leave.hidden) (links[0] ?? leave.closest("[role=menu]")).focus();
    leave.closest("[role=menu]").addEventListener("keydown", event => {
      const items = Array.from(event.currentTarget.querySelectorAll("[role=menuitem]:not([hidden])"));
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step === undefined || items.length === 0) return;
      keep(event);
      const at = items.indexOf(document.activeElement);
      items.at(at < 0 ? (step > 0 ? 0 : -1) : (at + step) % items.length).focus();
    }, true);
  }

  let waiting = 0;
  new MutationObserver(() => {
    if (waiting === 0) waiting = setTimeout(() => { waiting = 0; draw(); }, 100);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
