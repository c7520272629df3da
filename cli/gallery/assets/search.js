"use strict";
// A file that is dropped on any page, or chosen, is sent to this machine's gallery.
(() => {
  const state = document.getElementById("search-state");
  const chooser = document.getElementById("file");

  async function send(file) {
    state.textContent = "Searching…";
    const answer = await fetch("/drop?name=" + encodeURIComponent(file.name), {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    let told = {};
    try { told = await answer.json(); } catch { told = { error: "The file is too large." }; }
    if (told.address) location.assign(told.address);
    else state.textContent = told.error || "That did not work.";
  }

  chooser.addEventListener("change", () => chooser.files.length && send(chooser.files[0]));
  chooser.parentElement.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); chooser.click(); }
  });
  document.getElementById("search").addEventListener("submit", () => { state.textContent = "Searching…"; });
  let depth = 0;
  const holdsFile = (event) => [...event.dataTransfer.types].includes("Files");
  addEventListener("dragenter", (event) => { if (holdsFile(event)) { depth += 1; document.body.classList.add("dropping"); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) document.body.classList.remove("dropping"); });
  addEventListener("dragover", (event) => { if (holdsFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
  addEventListener("pageshow", () => { state.textContent = ""; });
})();
