// Connects the page anew once the server is back: visdom's page waits for a click on "offline" otherwise.
"use strict";

const SECONDS_BETWEEN_TRIALS = 2;

async function reconnect() {
  const offline = [...document.querySelectorAll("button")].find((button) => button.innerText.trim() === "offline");
  if (offline === undefined) return;
  try {
    const answer = await fetch("/env_state", { method: "POST", body: "{}" });
    if (answer.ok) offline.click();
  } catch {
    // Still away.
  }
}

window.setInterval(reconnect, 1000 * SECONDS_BETWEEN_TRIALS);
