// Place of a picture in an area: fitted, or enlarged around a point. The rules are those of
// gui_utils/placement.py: a picture is reduced by any factor, but enlarged by whole factors.
//
// All positions are in pixels of the display. A zoom is {scale, x, y}: pixels of the display for
// one of the picture, or null to fit the picture; and the point of the picture in the middle of
// the area, in fractions of its width and height. An area is {left, top, right, bottom}.

export const FITTED = { scale: null, x: 0.5, y: 0.5 };
const STEP = 1.25; // factor for one step of the mouse wheel
const MAX_SCALE = 64;

// Place of the whole picture, {left, top, width, height, scale}; parts may lie outside the area.
export function place([columns, rows], area, zoom) {
  const scale = zoom.scale ?? fitting([columns, rows], area);
  const [width, height] = [columns, rows].map((length) => Math.max(Math.round(length * scale), 1));
  const [x, y] = middle(area);
  const [left, top] = zoom.scale === null
    ? [Math.trunc(x - width / 2), Math.trunc(y - height / 2)]
    : [Math.round(x - zoom.x * width), Math.round(y - zoom.y * height)];
  return { left, top, width, height, scale };
}

// Enlarge (steps above 0) or reduce around a point of the area, which stays where it is.
export function zoomedBySteps(zoom, steps, point, size, area) {
  const old = zoom.scale ?? fitting(size, area);
  let scale = old * STEP ** steps;
  if (steps > 0 && scale >= 1) scale = Math.max(Math.floor(scale), Math.floor(old) + 1);
  if (steps < 0 && old > 1) scale = Math.min(Math.ceil(scale), Math.ceil(old) - 1);
  return zoomedTo(zoom, scale, point, size, area);
}

// Show a picture at a scale, so that the same pixel stays at a point of the area.
export function zoomedTo(zoom, scale, point, size, area) {
  const fit = fitting(size, area);
  const limited = Math.min(scale, Math.max(MAX_SCALE, fit));
  const whole = limited > 1 ? Math.round(limited) : limited;
  if (whole <= fit) return FITTED;
  const before = place(size, area, zoom);
  const [x, y] = middle(area);
  return keptInside({
    scale: whole,
    x: (point[0] - before.left) / before.width - (point[0] - x) / (size[0] * whole),
    y: (point[1] - before.top) / before.height - (point[1] - y) / (size[1] * whole),
  });
}

// Move an enlarged picture by so many pixels of the display.
export function panned(zoom, dx, dy, size) {
  if (zoom.scale === null) return zoom;
  const [width, height] = size.map((length) => length * zoom.scale);
  return keptInside({ scale: zoom.scale, x: zoom.x - dx / width, y: zoom.y - dy / height });
}

// Keep a part of the picture in the middle of the area.
function keptInside({ scale, x, y }) {
  return { scale, x: Math.min(Math.max(x, 0), 1), y: Math.min(Math.max(y, 0), 1) };
}

function middle(area) {
  return [(area.left + area.right) / 2, (area.top + area.bottom) / 2];
}

function fitting([columns, rows], area) {
  const [width, height] = [area.right - area.left, area.bottom - area.top];
  const scale = Math.max(Math.min(width / columns, height / rows), 1e-3);
  return scale > 1 ? Math.floor(scale) : scale;
}
