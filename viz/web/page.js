// Loaded once in each page: files may be dropped anywhere, and a new link in the address bar counts.

const isFiles = (event) => [...event.dataTransfer.types].includes("Files");

function mark(event, isOver) {
  if (!isFiles(event)) return;
  event.preventDefault();
  document.body.classList.toggle("viewer-drop", isOver);
}

addEventListener("dragover", (event) => mark(event, true));
addEventListener("dragleave", (event) => mark(event, false));
addEventListener("drop", (event) => {
  mark(event, false);
  const input = document.querySelector(".viewer-upload input[type=file]");
  if (!input || !event.dataTransfer.files.length) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change"));
});
addEventListener("hashchange", () => emitEvent("link", location.hash));
