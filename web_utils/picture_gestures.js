// The mouse and fingers on a picture: zoom and pan here, all else is reported.

import { FITTED, panned, place, zoomedBySteps, zoomedTo } from "picture_placement";

const NOTCH_PIXELS = 100; // of scrolling that are one step of the wheel
const WHEEL_PIXELS = 40; // events of so much come from a wheel: each is a step at least
const LINE_PIXELS = 33; // some browsers count in lines
const PINCH_FACTOR = 10; // pinching on a touch pad comes as a little scrolling with Ctrl
const GRIP_EMS = 0.8; // distance at which the mouse takes hold of a point
const TAP_PIXELS = 12; // a finger that moves less may still belong to a tap or a pinch
const DOUBLE_TAP_MS = 350;

export class Gestures {
  // `pane` has the canvas, the zoom, em, density (pixels of the display for one of the page), the
  // mode, shown() (size and area of the image, or null), report(event) and zoomTo(zoom).
  constructor(pane) {
    this.pane = pane;
    this.pointers = new Map(); // positions on the display of all that are down, by their numbers
    this.doing = null; // "pan", "pinch", "drag", "points", or "touch": not clear yet
    this.scrolled = 0; // parts of a step of the wheel
    this.lastTap = { ms: -Infinity, at: [0, 0] };
    const listen = (name, react) => pane.canvas.addEventListener(name, react, { passive: false });
    listen("wheel", (event) => this.onWheel(event));
    listen("pointerdown", (event) => this.onDown(event));
    listen("pointermove", (event) => this.onMove(event));
    listen("pointerup", (event) => this.onUp(event));
    listen("pointercancel", (event) => this.onUp(event));
    listen("lostpointercapture", (event) => this.onUp(event));
    listen("dblclick", () => pane.zoomTo(FITTED));
    listen("contextmenu", (event) => event.preventDefault());
  }

  onWheel(event) {
    event.preventDefault();
    const shown = this.pane.shown();
    if (!shown) return;
    const unit = [1, LINE_PIXELS, 10 * LINE_PIXELS][event.deltaMode];
    const pixels = -event.deltaY * unit * (event.ctrlKey ? PINCH_FACTOR : 1);
    let steps = pixels / NOTCH_PIXELS;
    if (Math.abs(pixels) >= WHEEL_PIXELS) {
      steps = Math.sign(steps) * Math.max(Math.round(Math.abs(steps)), 1);
      this.scrolled = 0;
    } else {
      this.scrolled += steps;
      steps = Math.trunc(this.scrolled);
      this.scrolled -= steps;
    }
    if (steps === 0) return;
    const { zoom } = this.pane;
    this.pane.zoomTo(zoomedBySteps(zoom, steps, this.position(event), shown.size, shown.area));
  }

  onDown(event) {
    event.preventDefault();
    document.activeElement?.blur?.(); // keys are for the picture now, not for an input
    this.pane.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.position(event));
    if (this.pointers.size === 2) this.beginPinch();
    if (this.pointers.size > 1) return;
    if (event.pointerType === "touch") {
      this.doing = "touch";
      this.start = this.position(event);
    } else if (event.button === 0) {
      this.begin(this.position(event));
    } else {
      this.doing = "pan";
    }
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.position(event);
    if (this.doing === "touch") {
      if (distance(now, this.start) < TAP_PIXELS * this.pane.density) return;
      this.begin(this.start);
    }
    this.pointers.set(event.pointerId, now);
    if (this.doing === "pan") this.pan(now[0] - before[0], now[1] - before[1]);
    else if (this.doing === "pinch") this.pinch();
    else if (this.doing === "points") this.reportPointer(now, false, true);
    else if (this.doing === "drag") {
      const { em } = this.pane;
      this.pane.report(["drag", (now[0] - before[0]) / em, (now[1] - before[1]) / em]);
    }
  }

  onUp(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    this.pointers.delete(event.pointerId);
    if (this.doing === "pinch" || this.pointers.size > 0) {
      // The other finger does nothing more.
      if (this.pointers.size === 0) this.doing = null;
      return;
    }
    if (this.doing === "touch") {
      this.begin(this.start); // a tap is a press and a release
      this.noteTap(event.timeStamp);
    }
    if (this.doing === "points") this.reportPointer(last, false, false);
    this.doing = null;
  }

  // Begin what is reported.
  begin(position) {
    this.doing = this.pane.mode;
    if (this.doing !== "points") return;
    if (this.isOnImage(position)) this.reportPointer(position, true, true);
    else this.doing = null;
  }

  noteTap(ms) {
    const isDouble =
      ms - this.lastTap.ms < DOUBLE_TAP_MS &&
      distance(this.start, this.lastTap.at) < 2 * TAP_PIXELS * this.pane.density;
    this.lastTap = { ms: isDouble ? -Infinity : ms, at: this.start };
    if (isDouble) this.pane.zoomTo(FITTED);
  }

  pan(dx, dy) {
    const shown = this.pane.shown();
    if (shown) this.pane.zoomTo(panned(this.pane.zoom, dx, dy, shown.size));
  }

  beginPinch() {
    if (this.doing === "points") this.reportPointer([...this.pointers.values()][0], false, false);
    this.doing = "pinch";
    const shown = this.pane.shown();
    const { middle, span } = this.fingers();
    const scale = shown ? place(shown.size, shown.area, this.pane.zoom).scale : 1;
    this.pinched = { middle, span: Math.max(span, 1), scale };
  }

  pinch() {
    const shown = this.pane.shown();
    if (!shown || this.pointers.size < 2) return;
    const { middle, span } = this.fingers();
    const { scale, span: before, middle: [x, y] } = this.pinched;
    this.pan(middle[0] - x, middle[1] - y);
    this.pinched.middle = middle;
    const wanted = (scale * span) / before;
    this.pane.zoomTo(zoomedTo(this.pane.zoom, wanted, middle, shown.size, shown.area));
  }

  fingers() {
    const [[x0, y0], [x1, y1]] = this.pointers.values();
    return { middle: [(x0 + x1) / 2, (y0 + y1) / 2], span: Math.hypot(x1 - x0, y1 - y0) };
  }

  reportPointer([x, y], isPressed, isHeld) {
    const shown = this.pane.shown();
    if (!shown) return;
    const { left, top, scale } = place(shown.size, shown.area, this.pane.zoom);
    const inside = (value, limit) => Math.min(Math.max(value / scale, 0), limit);
    const position = [inside(x - left, shown.size[0]), inside(y - top, shown.size[1])];
    const reach = (GRIP_EMS * this.pane.em) / scale;
    this.pane.report(["pointer", ...position, reach, isPressed, isHeld]);
  }

  isOnImage([x, y]) {
    const shown = this.pane.shown();
    if (!shown) return false;
    const { area } = shown;
    const { left, top, width, height } = place(shown.size, area, this.pane.zoom);
    const isIn = (value, low, high) => value >= low && value < high;
    return (
      isIn(x, left, left + width) && isIn(y, top, top + height) &&
      isIn(x, area.left, area.right) && isIn(y, area.top, area.bottom)
    );
  }

  // Place of an event on the canvas, in pixels of the display.
  position(event) {
    const { left, top } = this.pane.canvas.getBoundingClientRect();
    const { density } = this.pane;
    return [(event.clientX - left) * density, (event.clientY - top) * density];
  }
}

function distance([x0, y0], [x1, y1]) {
  return Math.hypot(x1 - x0, y1 - y0);
}
