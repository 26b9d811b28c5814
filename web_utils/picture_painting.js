// Draws a picture and all that belongs to it, except texts, on a canvas. Lengths are in pixels of the display.

import { place } from "picture_placement";
import { drawAxes, innerArea } from "picture_axes";

const [POINT, TARGET] = ["rgb(242, 64, 51)", "rgb(64, 140, 255)"];
const [WAY, EDGE] = ["rgba(255, 255, 255, 0.9)", "rgba(0, 0, 0, 0.8)"];
const RADIUS_EMS = 0.32; // of points
const GAP_EMS = 0.4; // between the other picture and the image

// Where the image may be drawn: beside the other picture, inside the axes.
export function imageArea(canvas, header, em) {
  const area = wholeArea(canvas);
  const { axes } = header.overlay;
  if (header.has.includes("target")) area.left = (area.right + GAP_EMS * em) / 2;
  return axes ? innerArea(area, em) : area;
}

// Draw a frame {header, bitmaps}, with axes in the colour of the ink.
export function paint(canvas, frame, zoom, em, ink) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { header, bitmaps } = frame;
  if (header.overlay.message) return; // it stands in place of the picture
  if (bitmaps.target) {
    const left = { ...wholeArea(canvas), right: (canvas.width - GAP_EMS * em) / 2 };
    const { width, height } = bitmaps.target;
    drawBitmap(context, bitmaps.target, place([width, height], left, { scale: null }));
  }
  if (bitmaps.image) drawImage(context, frame, imageArea(canvas, header, em), zoom, em, ink);
}

function drawImage(context, { header, bitmaps }, area, zoom, em, ink) {
  const { size, overlay } = header;
  const whole = place(size, area, zoom);
  context.save();
  context.beginPath();
  context.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
  context.clip();
  drawBitmap(context, bitmaps.image, whole);
  if (bitmaps.mask) drawBitmap(context, bitmaps.mask, whole);
  drawPoints(context, overlay, size, whole, em);
  context.restore();
  if (overlay.axes) drawAxes(context, overlay.axes, size, area, whole, em, ink);
}

// Enlarged pixels are sharp squares. A reduced picture is smooth, and so is one that was sent
// smaller than it is.
function drawBitmap(context, bitmap, { left, top, width, height, scale }) {
  context.imageSmoothingEnabled = scale < 1 || width !== bitmap.width * scale;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, width, height);
}

function drawPoints(context, { points, targets }, size, whole, em) {
  const onScreen = ([x, y]) => [
    whole.left + (x / size[0]) * whole.width,
    whole.top + (y / size[1]) * whole.height,
  ];
  points.forEach((point, idx) => {
    const [here, there] = [onScreen(point), onScreen(targets[idx])];
    for (const [color, thickness] of [[EDGE, 0.22], [WAY, 0.1]]) {
      context.strokeStyle = color;
      context.lineWidth = thickness * em;
      context.beginPath();
      context.moveTo(...here);
      context.lineTo(...there);
      context.stroke();
    }
    for (const [middle, color] of [[there, TARGET], [here, POINT]]) {
      drawDisc(context, middle, 1.3 * RADIUS_EMS * em, EDGE);
      drawDisc(context, middle, RADIUS_EMS * em, color);
    }
  });
}

function drawDisc(context, [x, y], radius, color) {
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function wholeArea(canvas) {
  return { left: 0, top: 0, right: canvas.width, bottom: canvas.height };
}
