// Loaded once in each page: files may be dropped anywhere, a new link in the address bar counts, and
// the server is told whether the mouse is held, and when the page goes.

const isFiles = (event) => [...event.dataTransfer.types].includes("Files");

const uploader = () => document.querySelector(".viewer-upload input[type=file]");

function mark(event, isOver) {
  if (!isFiles(event) || !uploader()) return;
  event.preventDefault();
  document.body.classList.toggle("viewer-drop", isOver);
}

addEventListener("dragover", (event) => mark(event, true));
addEventListener("dragleave", (event) => mark(event, false));
addEventListener("drop", (event) => {
  mark(event, false);
  const input = uploader();
  if (!input || !event.dataTransfer.files.length) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change"));
});
addEventListener("hashchange", () => emitEvent("link", location.hash));

let isHeld = false;
function hold(isDown) {
  if (isDown !== isHeld) emitEvent("held", (isHeld = isDown));
}
addEventListener("pointerdown", () => hold(true), true);
for (const name of ["pointerup", "pointercancel", "blur"]) addEventListener(name, () => hold(false), true);

addEventListener("pagehide", () => emitEvent("leave"));
// A page that comes back from the browser's memory has no session any more.
addEventListener("pageshow", (event) => event.persisted && location.reload());
