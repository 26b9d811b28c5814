// Axes and colour bar of a spectrum; the rules are those of viz/spectrum_axes.py.

const MARGIN_EMS = { left: 4.5, top: 0.8, right: 6.5, bottom: 3.2 }; // around the spectrum
const BAR_EMS = 1; // width of the colour bar
const LINE_EMS = 1.2;

// The part of an area inside the axes.
export function innerArea(area, em) {
  return {
    left: area.left + MARGIN_EMS.left * em,
    top: area.top + MARGIN_EMS.top * em,
    right: area.right - MARGIN_EMS.right * em,
    bottom: area.bottom - MARGIN_EMS.bottom * em,
  };
}

// Draw axes at the edges of a spectrum, and a colour bar to the right.
//   area: where the spectrum is shown, see `innerArea`; whole: place of the whole spectrum, which
//   may be larger than the area; size: its width and height in samples.
export function drawAxes(context, axes, size, area, whole, em, ink) {
  const left = Math.max(area.left, whole.left);
  const top = Math.max(area.top, whole.top);
  const right = Math.min(area.right, whole.left + whole.width);
  const bottom = Math.min(area.bottom, whole.top + whole.height);
  if (right <= left || bottom <= top) return;
  context.font = `${em}px Roboto, system-ui, sans-serif`;
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = Math.max(Math.round(em / 15), 1);
  context.strokeRect(left - 0.5, top - 0.5, right - left + 1, bottom - top + 1);
  const labelWidth = Math.max(context.measureText(short(axes.highest)).width, em);
  const step = tickStep(axes.highest, whole.width / (2.2 * labelWidth));
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const [frequency, x] of ticks(axes.highest, step, size[0], whole.left, whole.width)) {
    if (x < left || x > right) continue;
    drawLine(context, x, bottom, x, bottom + 0.3 * em);
    context.fillText(short(frequency), x, bottom + 0.4 * em);
  }
  context.fillText(axes.title, (left + right) / 2, bottom + (0.4 + LINE_EMS) * em);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [frequency, y] of ticks(axes.highest, step, size[1], whole.top, whole.height)) {
    if (y < top || y > bottom) continue;
    drawLine(context, left - 0.3 * em, y, left, y);
    context.fillText(short(-frequency), left - 0.5 * em, y); // positive ones are above zero
  }
  drawBar(context, axes, right + em, top, bottom, em);
}

// The colour bar, in dB.
function drawBar(context, { colors, lowDb, highDb }, left, top, bottom, em) {
  const right = left + BAR_EMS * em;
  const ink = context.fillStyle;
  const count = colors.length / 6;
  const gradient = context.createLinearGradient(0, bottom, 0, top);
  for (let idx = 0; idx < count; idx++) {
    const color = `#${colors.slice(6 * idx, 6 * idx + 6)}`;
    gradient.addColorStop(count > 1 ? idx / (count - 1) : 0, color);
  }
  context.fillStyle = gradient;
  context.fillRect(left, top, right - left, bottom - top);
  context.strokeRect(left, top, right - left, bottom - top);
  context.fillStyle = ink;
  context.textAlign = "left";
  const step = tickStep((highDb - lowDb) / 2, (bottom - top) / (2.5 * LINE_EMS * em));
  for (let number = Math.ceil(lowDb / step); number * step <= highDb; number++) {
    const y = bottom - ((number * step - lowDb) / (highDb - lowDb)) * (bottom - top);
    context.fillText(`${short(number * step)} dB`, right + 0.3 * em, y);
  }
}

// Frequencies from -highest to highest, and their positions, in the middle of samples. An even
// width has one more sample below zero than above.
export function ticks(highest, step, numSamples, low, length) {
  const last = Math.floor(highest / step);
  const shift = numSamples % 2 === 0 ? 0.5 / numSamples : 0;
  const found = [];
  for (let number = -last; number <= last; number++) {
    const frequency = number * step;
    found.push([frequency, low + ((frequency / highest + 1) / 2 + shift) * length]);
  }
  return found;
}

// A round step, so that about `most` multiples of it lie from -highest to highest.
export function tickStep(highest, most) {
  const rough = (2 * highest) / Math.max(most, 2);
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
}

function short(number) {
  return String(+number.toPrecision(4) || 0);
}

function drawLine(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
