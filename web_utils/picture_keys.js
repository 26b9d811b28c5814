// Keys of the page, by the user's own keyboard layout; names are those of gui_utils/keys.py.

const NAMES = { Escape: "Esc", " ": "Space" };
const ALONE = ["Control", "Shift", "Meta", "CapsLock", "Dead", "Process", "Unidentified"];
const TYPED = "input, textarea, select, [contenteditable=''], [contenteditable='true']";
const IS_MAC = navigator.platform.startsWith("Mac");

// The event of a key, ["key", name, ctrl, shift, isRepeat], or null if the key is for an input.
export function readKey(event) {
  if (event.defaultPrevented || event.altKey || event.isComposing || ALONE.includes(event.key)) return null;
  const element = event.target instanceof Element ? event.target : null;
  if (element?.closest(TYPED)) return null;
  if (element?.closest("button, [role=button], a") && ["Enter", " "].includes(event.key)) return null;
  const ctrl = event.ctrlKey || (IS_MAC && event.metaKey);
  return ["key", nameOf(event), ctrl, event.shiftKey, event.repeat];
}

// A key as in "Ctrl+Shift+C".
export function chord([, name, ctrl, shift]) {
  return `${ctrl ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${name}`;
}

function nameOf({ key, code }) {
  if (NAMES[key]) return NAMES[key];
  if (key.length > 1) return key;
  const isLetter = /^Key[A-Z]$/.test(code);
  return isLetter && key.charCodeAt(0) > 127 ? code.slice(3) : key.toUpperCase();
}
