// Text on a canvas. Sizes are in pixels of the display.

export const ERROR_COLOR = "rgb(255, 115, 102)";

export function setFont(context, em) {
  context.font = `${em}px Roboto, system-ui, sans-serif`;
}

// Draw wrapped text in the middle of an area, on a rounded rectangle if it has a background.
export function drawCentered(context, message, area, em, color, background = null) {
  setFont(context, em);
  const line = 1.35 * em;
  const room = Math.min(area.right - area.left - 2 * em, 40 * em);
  const lines = wrapped(context, message, room);
  const width = Math.max(...lines.map((text) => context.measureText(text).width));
  const [x, y] = [(area.left + area.right) / 2, (area.top + area.bottom) / 2];
  const top = Math.max(y - (line * lines.length) / 2, area.top);
  if (background) {
    context.fillStyle = background;
    context.beginPath();
    context.roundRect(x - width / 2 - em / 2, top - em / 2, width + em, line * lines.length + em, em / 2);
    context.fill();
  }
  context.fillStyle = color;
  context.textAlign = "center";
  context.textBaseline = "middle";
  lines.forEach((text, idx) => context.fillText(text, x, top + line * (idx + 0.5)));
}

// Break text at spaces, and words that are too long, such as paths, anywhere.
function wrapped(context, message, width) {
  const fits = (text) => context.measureText(text).width <= width;
  const lines = [];
  for (const paragraph of message.split("\n")) {
    let line = "";
    for (let word of paragraph.split(" ")) {
      const longer = line ? `${line} ${word}` : word;
      if (fits(longer)) {
        line = longer;
        continue;
      }
      if (line) lines.push(line);
      while (!fits(word) && word.length > 1) {
        let count = word.length - 1;
        while (count > 1 && !fits(word.slice(0, count))) count--;
        lines.push(word.slice(0, count));
        word = word.slice(count);
      }
      line = word;
    }
    lines.push(line);
  }
  return lines;
}
